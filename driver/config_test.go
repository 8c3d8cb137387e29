package driver

import (
	"flag"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write golden files and generated sections anew")

func TestConfigsNotFromParseConfigAreRefused(t *testing.T) {
	quietEnv(t)
	noConn, noPool := mustParse(t, ""), mustParse(t, "")
	noConn.Conn, noPool.Pool = nil, nil
	for _, c := range []*Config{nil, {}, noConn, noPool, noConn.Copy(), noPool.Copy()} {
		if err := c.validate(); err == nil {
			t.Errorf("%+v: accepted", c)
		}
	}
}

func TestConfigsChangedForTheWorseAreRefused(t *testing.T) {
	quietEnv(t)
	for want, change := range map[string]func(*Config){
		"parameter topology:":             func(c *Config) { c.Topology = "" },
		`parameter continuity:`:           func(c *Config) { c.Continuity = "on" },
		"target_session_attrs":            func(c *Config) { c.TargetSessionAttrs = "writer" },
		`parameter failover_timeout:`:     func(c *Config) { c.FailoverTimeout = 0 },
		"probe_timeout":                   func(c *Config) { c.ProbeTimeout = -time.Second },
		"topology_refresh_interval":       func(c *Config) { c.TopologyRefreshInterval = 1 },
		"instance_host_pattern":           func(c *Config) { c.InstanceHostPattern = "db.example.com" },
		"instance_host_pattern is needed": func(c *Config) { c.Topology = TopologyAurora },
	} {
		c := mustParse(t, "host=127.0.0.1")
		change(c)
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestCopiesAreIndependent(t *testing.T) {
	quietEnv(t)
	c := mustParse(t, "host=h search_path=a pool_max_conns=3")
	cp := c.Copy()
	cp.Conn.RuntimeParams["search_path"], cp.Pool.MaxConns, cp.Continuity = "b", 4, ContinuityOff
	if c.Conn.RuntimeParams["search_path"] != "a" || c.Pool.MaxConns != 3 || c.Continuity != ContinuityFull {
		t.Errorf("%v, %d, %s", c.Conn.RuntimeParams, c.Pool.MaxConns, c.Continuity)
	}
	if cp.Pool.ConnConfig != cp.Conn || c.Pool.ConnConfig != c.Conn {
		t.Error("Pool and Conn are of different configurations")
	}
	if err := cp.validate(); err != nil {
		t.Error(err)
	}
}

func TestPoolParametersAreRefusedWhereThereIsNoPool(t *testing.T) {
	quietEnv(t)
	for key, value := range map[string]string{
		"pool_max_conns": "3", "pool_min_conns": "1", "pool_min_idle_conns": "1", "pool_max_conn_lifetime": "1h", "pool_max_conn_idle_time": "1m",
		"pool_max_conn_lifetime_jitter": "1s", "pool_health_check_period": "1m", "pool_ping_timeout": "1s",
	} {
		c := mustParse(t, key+"="+value)
		err := c.refusePoolParameters()
		if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), poolInstead[key]) {
			t.Errorf("%s: %v", key, err)
		}
		if len(c.Conn.RuntimeParams) != 0 {
			t.Errorf("%s: the server gets %v", key, c.Conn.RuntimeParams)
		}
	}
	if err := mustParse(t, "").refusePoolParameters(); err != nil {
		t.Error(err)
	}
}

func TestTheSwitch(t *testing.T) {
	quietEnv(t)
	for value, want := range map[string]bool{"": false, "0": false, "off": false, "No": false, "f": false, "false": false, "1": true, "TRUE": true, "on": true, "yes": true, "t": true} {
		t.Setenv("FAIRLEAD_DISABLE", value)
		if c := mustParse(t, ""); c.disabled != want || c.Copy().disabled != want {
			t.Errorf("%q: %v", value, c.disabled)
		}
	}
	for _, value := range []string{"2", "yep", " "} {
		t.Setenv("FAIRLEAD_DISABLE", value)
		if _, err := ParseConfig(""); err == nil || !strings.Contains(err.Error(), "FAIRLEAD_DISABLE") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestClusterNames(t *testing.T) {
	quietEnv(t)
	for dsn, want := range map[string]string{"host=DB.example.com,b": "db.example.com", "host=::1 port=6432": "[::1]:6432", "postgres://[::1]/": "::1"} {
		if got := mustParse(t, dsn).clusterName(); got != want {
			t.Errorf("%s: %s, want %s", dsn, got, want)
		}
	}
}

func TestFormatDSNLeavesDefaultsOut(t *testing.T) {
	quietEnv(t)
	for dsn, want := range map[string]string{
		"host=h continuity=full probe_timeout=0.5s":                                            "host=h ",
		"host=h probe_timeout=1":                                                               "probe_timeout=1s host=h ",
		"postgres://h?continuity=off&instance_host_pattern=?.x.y":                              "postgres://h?instance_host_pattern=%3F.x.y&continuity=off",
		"postgres://h/d?a.b=c&failover_timeout=2m&topology=auto":                               "postgres://h/d?failover_timeout=120s&a.b=c",
		"postgres://a.cluster-ro-x.eu-west-1.rds.amazonaws.com?target_session_attrs=read-only": "postgres://a.cluster-ro-x.eu-west-1.rds.amazonaws.com?reader_fallback=off",
		"postgres://a.cluster-ro-x.eu-west-1.rds.amazonaws.com?reader_fallback=on":             "postgres://a.cluster-ro-x.eu-west-1.rds.amazonaws.com",
	} {
		if got := mustParse(t, dsn).FormatDSN(); got != want {
			t.Errorf("%s: %s, want %s", dsn, got, want)
		}
	}
}

func TestFormattedDSNsParseToTheSame(t *testing.T) {
	quietEnv(t)
	rests := []string{
		"", "host=h", `host=h user=u password='a b\'' search_path=x\`, "host=a,b port=1,2", "host=a.cluster-ro-x.eu-west-1.rds.amazonaws.com",
		"postgres://h", "postgres://u:p%20q@h/d?a.b=c", "postgresql://a:1,[::1]:2/?sslmode=disable&", "postgres://p.proxy-x.eu-west-1.rds.amazonaws.com/d",
	}
	rapid.Check(t, func(t *rapid.T) {
		c, err := ParseConfig(rapid.SampledFrom(rests).Draw(t, "rest"))
		if err != nil {
			t.Fatal(err)
		}
		c.Topology = rapid.SampledFrom([]Topology{TopologyAuto, TopologyReplication, TopologyNone, TopologyAurora}).Draw(t, "topology")
		c.TargetSessionAttrs = rapid.SampledFrom([]TargetSessionAttrs{AttrsAny, AttrsReadWrite, AttrsReadOnly, AttrsPrimary, AttrsStandby, AttrsPreferStandby}).Draw(t, "attrs")
		c.ReaderFallback = rapid.SampledFrom([]Switch{On, Off}).Draw(t, "fallback")
		c.Continuity = rapid.SampledFrom([]Continuity{ContinuityFull, ContinuityRead, ContinuityOff}).Draw(t, "continuity")
		if rapid.Bool().Draw(t, "pattern") || c.Topology == TopologyAurora {
			c.InstanceHostPattern = rapid.StringMatching(`[a-zé%&+=;~.-]{0,9}\?[a-zé%&+=;~.-]{0,9}(:[1-9][0-9]{0,3})?`).Draw(t, "instance_host_pattern")
		}
		least := int64(10 * time.Millisecond)
		c.FailoverTimeout = time.Duration(rapid.Int64Min(least).Draw(t, "failover"))
		c.ProbeTimeout = time.Duration(rapid.Int64Min(least).Draw(t, "probe"))
		c.TopologyRefreshInterval = time.Duration(rapid.Int64Min(least).Draw(t, "refresh"))
		if err := c.validate(); err != nil {
			t.Fatal(err)
		}
		dsn := c.FormatDSN()
		again, err := ParseConfig(dsn)
		if err != nil {
			t.Fatalf("%s: %v", dsn, err)
		}
		if !maps.Equal(ours(again), ours(c)) {
			t.Fatalf("%s: %v, want %v", dsn, ours(again), ours(c))
		}
		if again.Conn.Host != c.Conn.Host || again.Conn.Password != c.Conn.Password || !maps.Equal(again.Conn.RuntimeParams, c.Conn.RuntimeParams) {
			t.Fatalf("%s: pgx reads %+v, want %+v", dsn, again.Conn, c.Conn)
		}
		if twice := again.FormatDSN(); twice != dsn {
			t.Fatalf("%s, formatted again, is %s", dsn, twice)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	quietEnv(f)
	for _, dsn := range []string{
		"", "topology=aurora", "host=h password='x y' continuity = off", `a=b\ c\`, "postgres://u:p@[::1]:1,h?topology=none&x=%20", "postgres://@/?&",
		"postgresql://h?target_session_attrs=any", "probe_timout=1", "host='", "pool_max_conns=4",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		if strings.Contains(dsn, "service") || strings.Contains(dsn, "%73") || strings.Contains(dsn, "ssl") {
			t.Skip("the service file and certificates that it names would be read, and this machine's are no part of the test")
		}
		// The same with a password put in the place where one belongs.
		for _, s := range []string{dsn, "password=" + secret + " " + dsn, "postgres://u:" + secret + "@h/?" + dsn} {
			c, err := ParseConfig(s)
			if err != nil {
				if s != dsn && strings.Contains(err.Error(), secret) {
					t.Fatalf("%q: %v", s, err)
				}
				continue
			}
			if err := c.validate(); err != nil {
				t.Fatalf("%q: accepted, then refused: %v", s, err)
			}
			again, err := ParseConfig(c.FormatDSN())
			if err != nil || !maps.Equal(ours(again), ours(c)) {
				t.Fatalf("%q: formatted as %q: %v", s, c.FormatDSN(), err)
			}
			if s != dsn && strings.Contains(c.String(), secret) {
				t.Fatalf("%q: %s", s, c)
			}
		}
	})
}

// parametersTable is the table of the README.
func parametersTable() string {
	var b strings.Builder
	b.WriteString("| Parameter | Default | Allowed | Effect |\n|---|---|---|---|\n")
	for _, p := range params {
		def := p.defaultText
		if def == "" {
			def = "`" + p.def(new(Config)) + "`"
		}
		b.WriteString("| `" + p.name + "` | " + def + " | " + p.allowed + " | " + p.effect + " |\n")
	}
	return b.String()
}

func TestTheReadmeDocumentsTheParameters(t *testing.T) {
	const file, begin, end = "../README.md", "<!-- parameters:begin -->\n", "<!-- parameters:end -->"
	text, err := os.ReadFile(file)
	before, rest, ok := strings.Cut(string(text), begin)
	section, after, ok2 := strings.Cut(rest, end)
	if err != nil || !ok || !ok2 {
		t.Skipf("%s has no section for the parameters", file)
	}
	if section == parametersTable() {
		return
	}
	if !*update {
		t.Fatalf("the parameters in %s are not those of the code: go test ./driver -run Readme -update", file)
	}
	if err := os.WriteFile(file, []byte(before+begin+parametersTable()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
