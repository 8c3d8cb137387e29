package topology

import (
	"strings"
	"testing"
)

func TestBadConfigurationsAreRefused(t *testing.T) {
	seeds := []Endpoint{{Host: "h", Port: 5432}}
	for want, cfg := range map[string]Config{
		"no seeds":                 {},
		`unknown kind "oracle"`:    {Seeds: seeds, Kind: "oracle"},
		`must contain one "?"`:     {Seeds: seeds, HostPattern: "x.example.com"},
		`it must contain one "?",`: {Seeds: seeds, HostPattern: "?.?.example.com"},
		`"54x" is not a port`:      {Seeds: seeds, HostPattern: "?.example.com:54x"},
		`"70000" is not a port`:    {Seeds: seeds, HostPattern: "?.example.com:70000"},
		`"-1" is not a port`:       {Seeds: seeds, HostPattern: "?.example.com:-1"},
		`"" is not a port`:         {Seeds: seeds, HostPattern: "?.example.com:"},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func TestMemberEndpoints(t *testing.T) {
	for pattern, want := range map[string]string{"?.db.example.com": "x1.db.example.com:6432", "db-?.example.com:7432": "db-x1.example.com:7432"} {
		cfg := Config{Seeds: []Endpoint{{Host: "h", Port: 6432}}, HostPattern: pattern}
		if ep, err := cfg.memberEndpoint("x1"); err != nil || ep.String() != want {
			t.Errorf("%s: %v, %v; want %s", pattern, ep, err, want)
		}
	}
}
