package rdsname

import "testing"

func TestEndpointsTellTheirKindAndTheirInstances(t *testing.T) {
	for host, want := range map[string]Name{
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com":        {Cluster, "?.xyz.eu-west-1.rds.amazonaws.com"},
		"app.cluster-ro-xyz.eu-west-1.rds.amazonaws.com":     {Reader, "?.xyz.eu-west-1.rds.amazonaws.com"},
		"any.cluster-custom-xyz.eu-west-1.rds.amazonaws.com": {Custom, "?.xyz.eu-west-1.rds.amazonaws.com"},
		"inst-1.xyz.us-gov-west-1.rds.amazonaws.com":         {Instance, "?.xyz.us-gov-west-1.rds.amazonaws.com"},
		"Inst-1.XYZ.EU-West-1.rds.amazonaws.COM.":            {Instance, "?.xyz.eu-west-1.rds.amazonaws.com"},
		"app.cluster-xyz.cn-north-1.rds.amazonaws.com.cn":    {Cluster, "?.xyz.cn-north-1.rds.amazonaws.com.cn"},
		"app.cluster-ro-xyz.rds.cn-north-1.amazonaws.com.cn": {Reader, "?.xyz.rds.cn-north-1.amazonaws.com.cn"},
		"inst.xyz.rds.cn-northwest-1.amazonaws.com.cn":       {Instance, "?.xyz.rds.cn-northwest-1.amazonaws.com.cn"},
		"p.proxy-xyz.eu-west-1.rds.amazonaws.com":            {Proxy, ""},
		"ro.endpoint.proxy-xyz.eu-west-1.rds.amazonaws.com":  {Proxy, ""},
		"p.proxy-xyz.rds.cn-north-1.amazonaws.com.cn":        {Proxy, ""},
		"g.global-xyz.global.rds.amazonaws.com":              {Global, ""},
		"app.cluster-xyz.eusc-de-east-1.rds.amazonaws.eu":    {Cluster, "?.xyz.eusc-de-east-1.rds.amazonaws.eu"},
		"app.cluster-ro-xyz.us-iso-east-1.rds.c2s.ic.gov":    {Reader, "?.xyz.us-iso-east-1.rds.c2s.ic.gov"},
		"app.cluster-xyz.rds.us-iso-west-1.c2s.ic.gov":       {Cluster, "?.xyz.rds.us-iso-west-1.c2s.ic.gov"},
		"inst.xyz.us-isob-east-1.rds.sc2s.sgov.gov":          {Instance, "?.xyz.us-isob-east-1.rds.sc2s.sgov.gov"},
		"app.cluster-xyz.eu-isoe-west-1.rds.cloud.adc-e.uk":  {Cluster, "?.xyz.eu-isoe-west-1.rds.cloud.adc-e.uk"},
		"app.cluster-xyz.us-isof-south-1.rds.csp.hci.ic.gov": {Cluster, "?.xyz.us-isof-south-1.rds.csp.hci.ic.gov"},
		"app.cluster-xyz.rds.us-gov-west-1.amazonaws.com":    {Cluster, "?.xyz.rds.us-gov-west-1.amazonaws.com"},
		"p.proxy-xyz.eusc-de-east-1.rds.amazonaws.eu":        {Proxy, ""},
		"app.cluster-xyz.eu-west-1.rds.amazonaws.eu":         {},
		"app.cluster-xyz.eusc-de-east-1.rds.c2s.ic.gov":      {},
		"app.xyz.rds.s3.amazonaws.com":                       {},
		"app.cluster-xyz.us-iso-east-1.rds.ic.gov":           {},
		"": {}, "localhost": {}, "/var/run/postgresql": {}, "10.0.0.1": {}, "fe80::1": {}, "db.example.com": {},
		"xyz.eu-west-1.rds.amazonaws.com":                       {},
		"a.b.xyz.eu-west-1.rds.amazonaws.com":                   {},
		"app.cluster-.eu-west-1.rds.amazonaws.com":              {},
		".cluster-xyz.eu-west-1.rds.amazonaws.com":              {},
		"app.cluster-xyz.eu-west-1.rds.example.com":             {},
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com.evil.com":  {},
		"app.cluster-xyz.eu-west-1.notrds.amazonaws.com":        {},
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com.xn":        {},
		"app.cluster-xyz.eu-west-1.ec2.cn-north.amazonaws.com":  {},
		"g.global-xyz.eu-west-1.rds.amazonaws.com":              {},
		"app.cluster-xyz.notrds.cn-north-1.amazonaws.com.cn":    {},
		"app.cluster-xyz.x.rds.cn-north-1.amazonaws.com.cn":     {},
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com:5432":      {},
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com,b.example": {},
	} {
		if got := Parse(host); got != want {
			t.Errorf("%q: %+v, want %+v", host, got, want)
		}
	}
}
