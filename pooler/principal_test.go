package pooler

import (
	"encoding/base64"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestRolesAreComparedInOneForm(t *testing.T) {
	for name, want := range map[string]string{
		"arn:aws:sts::123456789012:assumed-role/app/session": "arn:aws:iam::123456789012:role/app",
		"arn:aws:iam::123456789012:role/app":                 "arn:aws:iam::123456789012:role/app",
		"arn:aws:iam::123456789012:role/of/the/team/app":     "arn:aws:iam::123456789012:role/app",
		"arn:aws-cn:sts::123456789012:assumed-role/app/a@b":  "arn:aws-cn:iam::123456789012:role/app",
		"arn:aws-eusc:sts::123456789012:assumed-role/app/x":  "arn:aws-eusc:iam::123456789012:role/app",
		"arn:aws-iso-b:iam::123456789012:role/app":           "arn:aws-iso-b:iam::123456789012:role/app",
		"arn:aws:iam::123456789012:user/path/alice":          "arn:aws:iam::123456789012:user/path/alice",
		"arn:aws:sts::123456789012:federated-user/role/app":  "",
		"arn:aws:iam::123456789012:root":                     "",
		"arn:aws:iam::123456789012:role/":                    "",
		"arn:aws:s3:::role/app":                              "",
		"role/app":                                           "",
	} {
		if got, err := principal(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestTheEndpointSaysWhichRegionsTokensAreTaken(t *testing.T) {
	k := &Cluster{IAMAudience: "x", STSEndpoint: stsOf("eu-west-1")}
	r := newRoles(k, []byte("key"), slog.New(slog.DiscardHandler))
	defer r.flights.close()
	for _, c := range []struct{ host, region, service, why string }{
		{"sts.eu-west-1.amazonaws.com", "eu-west-1", "sts", ""},
		{"STS.eu-west-1.amazonaws.com", "eu-west-1", "sts", ""},
		{"sts.eu-west-1.amazonaws.com", "us-east-1", "sts", "region us-east-1"},
		{"sts.us-east-1.amazonaws.com", "us-east-1", "sts", "it is for sts.us-east-1"},
		{"sts.eu-west-1.amazonaws.com.evil.example", "eu-west-1", "sts", "it is for"},
		{"sts.eu-west-1.amazonaws.com:444", "eu-west-1", "sts", "it is for"},
		{"sts.eu-west-1.amazonaws.com", "eu-west-1", "rds-db", "not signed for STS"},
	} {
		at := time.Now().UTC().Format("20060102T150405Z")
		q := url.Values{
			"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Date": {at}, "X-Amz-Expires": {"60"},
			"X-Amz-SignedHeaders": {"host;x-fairlead-audience"}, "X-Amz-Signature": {"0"},
			"X-Amz-Credential": {"AKIA/" + at[:8] + "/" + c.region + "/" + c.service + "/aws4_request"},
		}
		_, _, err := r.read(base64.RawURLEncoding.EncodeToString([]byte("https://" + c.host + "/?" + q.Encode())))
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s, %s, %s: %v, want %q", c.host, c.region, c.service, err, c.why)
		}
	}
	for host, region := range map[string]string{
		"sts.eu-west-1.amazonaws.com": "eu-west-1", "vpce-1-2.sts.eu-west-1.vpce.amazonaws.com": "eu-west-1", "sts.amazonaws.com": "", "127.0.0.1": "",
	} {
		if got := regionOf(host); got != region {
			t.Errorf("%s: %q", host, got)
		}
	}
}

func TestEachPartitionHasItsSTS(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1": "https://sts.eu-west-1.amazonaws.com", "cn-north-1": "https://sts.cn-north-1.amazonaws.com.cn", "eusc-de-east-1": "https://sts.eusc-de-east-1.amazonaws.eu",
		"us-iso-east-1": "https://sts.us-iso-east-1.c2s.ic.gov", "us-isob-east-1": "https://sts.us-isob-east-1.sc2s.sgov.gov", "eu-isoe-west-1": "https://sts.eu-isoe-west-1.cloud.adc-e.uk",
		"us-isof-south-1": "https://sts.us-isof-south-1.csp.hci.ic.gov", "us-gov-west-1": "https://sts.us-gov-west-1.amazonaws.com",
	} {
		got := stsOf(region)
		if u, err := url.Parse(got); got != want || err != nil || regionOf(u.Hostname()) != region {
			t.Errorf("%s: %s", region, got)
		}
	}
}
