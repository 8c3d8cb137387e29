package rdsname

import "testing"

func TestEndpointsTellTheirRegion(t *testing.T) {
	for host, want := range map[string]string{
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com":       "eu-west-1",
		"Inst-1.XYZ.US-GOV-West-1.rds.amazonaws.COM.":       "us-gov-west-1",
		"ro.endpoint.proxy-xyz.eu-west-1.rds.amazonaws.com": "eu-west-1",
		"app.cluster-xyz.cn-north-1.rds.amazonaws.com.cn":   "cn-north-1",
		"inst.xyz.rds.cn-northwest-1.amazonaws.com.cn":      "cn-northwest-1",
		"g.global-xyz.global.rds.amazonaws.com":             "",
		"rds.xyz.eu-west-1.rds.amazonaws.com":               "eu-west-1",
		"rds.eu-west-1.example.com":                         "",
		"localhost":                                         "",
		"10.0.0.1":                                          "",
	} {
		if got := Region(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}
