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
		"app.cluster-xyz.eusc-de-east-1.rds.amazonaws.eu":   "eusc-de-east-1",
		"app.cluster-xyz.rds.us-iso-west-1.c2s.ic.gov":      "us-iso-west-1",
		"inst.xyz.us-isob-east-1.rds.sc2s.sgov.gov":         "us-isob-east-1",
		"localhost": "",
		"10.0.0.1":  "",
	} {
		if got := Region(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestRegionsTellTheirPartition(t *testing.T) {
	for region, want := range map[string][2]string{
		"eu-west-1": {"aws", "amazonaws.com"}, "mx-central-1": {"aws", "amazonaws.com"}, "us-gov-west-1": {"aws-us-gov", "amazonaws.com"}, "cn-north-1": {"aws-cn", "amazonaws.com.cn"},
		"eusc-de-east-1": {"aws-eusc", "amazonaws.eu"}, "us-iso-east-1": {"aws-iso", "c2s.ic.gov"}, "us-isob-east-1": {"aws-iso-b", "sc2s.sgov.gov"},
		"eu-isoe-west-1": {"aws-iso-e", "cloud.adc-e.uk"}, "us-isof-south-1": {"aws-iso-f", "csp.hci.ic.gov"}, "": {"aws", "amazonaws.com"},
	} {
		if p := PartitionOf(region); p.ID != want[0] || p.Suffix != want[1] {
			t.Errorf("%s: %s, %s", region, p.ID, p.Suffix)
		}
	}
	for host, want := range map[string]bool{
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com": true, "g.global-xyz.global.rds.amazonaws.com": true, "inst.xyz.rds.cn-northwest-1.amazonaws.com.cn": true,
		"app.cluster-xyz.us-iso-east-1.rds.c2s.ic.gov": false, "app.cluster-xyz.eusc-de-east-1.rds.amazonaws.eu": false, "db.example.com": false,
	} {
		if got := Bundled(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
