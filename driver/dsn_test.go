package driver

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// quietEnv hides the environment of whoever runs the tests.
func quietEnv(t testing.TB) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "FAIRLEAD_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
}

func mustParse(t testing.TB, dsn string) *Config {
	t.Helper()
	c, err := ParseConfig(dsn)
	if err != nil {
		t.Fatalf("%s: %v", dsn, err)
	}
	return c
}

// ours is what the table says of a Config.
func ours(c *Config) map[string]string {
	m := make(map[string]string)
	for _, p := range params {
		m[p.name] = p.get(c)
	}
	return m
}

func TestDefaults(t *testing.T) {
	quietEnv(t)
	c := mustParse(t, "host=db.example.com user=u")
	want := map[string]string{
		"topology": "auto", "instance_host_pattern": "", "target_session_attrs": "read-write", "continuity": "full",
		"failover_timeout": "60s", "probe_timeout": "500ms", "topology_refresh_interval": "30s",
		"commit_resolution": "auto", "journal_limit": "256kB", "replay_locks": "replay", "continuity_notices": "off",
		"auth": "password", "secret_id": "", "aws_region": "", "aws_profile": "", "iam_host": "", "iam_audience": "", "iam_login_rate": "150",
		"session_state": "strict", "track_settings": "", "reader_fallback": "off",
		"keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "0",
		"pool_mode": "session", "max_upstreams": "20", "connection_borrow_timeout": "120s",
	}
	if got := ours(c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := c.validate(); err != nil {
		t.Errorf("what ParseConfig returns is refused: %v", err)
	}
}

func TestDefaultsFollowTheEndpoint(t *testing.T) {
	quietEnv(t)
	const pattern = "?.xyz.eu-west-1.rds.amazonaws.com"
	for _, c := range []struct {
		host, attrs, topology, pattern string
	}{
		{"app.cluster-xyz.eu-west-1.rds.amazonaws.com", "read-write", "auto", pattern},
		{"app.cluster-ro-xyz.eu-west-1.rds.amazonaws.com", "read-only", "auto", pattern},
		{"App.Cluster-RO-XYZ.eu-west-1.rds.amazonaws.com", "read-only", "auto", pattern},
		{"app.cluster-ro-xyz.eu-west-1.rds.amazonaws.com,app.cluster-xyz.eu-west-1.rds.amazonaws.com", "read-write", "auto", pattern},
		{"10.0.0.1,i.xyz.eu-west-1.rds.amazonaws.com", "read-write", "auto", pattern},
		{"p.proxy-xyz.eu-west-1.rds.amazonaws.com", "read-write", "none", ""},
		{"g.global-xyz.global.rds.amazonaws.com", "read-write", "auto", ""},
		{"10.0.0.1", "read-write", "auto", ""},
	} {
		for _, dsn := range []string{"host=" + c.host, "postgres://u@" + c.host + "/db"} {
			got := ours(mustParse(t, dsn))
			if got["target_session_attrs"] != c.attrs || got["topology"] != c.topology || got["instance_host_pattern"] != c.pattern {
				t.Errorf("%s: %v", dsn, got)
			}
		}
	}
}

func TestEveryParameterInBothForms(t *testing.T) {
	quietEnv(t)
	good := map[string]map[string]string{
		"topology":                  {"auto": "auto", "aurora": "aurora", "replication": "replication", "none": "none"},
		"instance_host_pattern":     {"?.db.example.com": "?.db.example.com", "db-?.example.com:6432": "db-?.example.com:6432"},
		"target_session_attrs":      {"any": "any", "read-write": "read-write", "read-only": "read-only", "primary": "primary", "standby": "standby", "prefer-standby": "prefer-standby"},
		"reader_fallback":           {"on": "on", "off": "off"},
		"keepalives":                {"1": "1", "0": "0", "5": "1"},
		"keepalives_idle":           {"60": "60", "0": "0", "-1": "0", " 7 ": "7"},
		"keepalives_interval":       {"5": "5"},
		"keepalives_count":          {"9": "9"},
		"tcp_user_timeout":          {"2500": "2500"},
		"continuity":                {"full": "full", "read": "read", "off": "off"},
		"failover_timeout":          {"1": "1s", "90": "90s", "1500ms": "1.5s", "2m": "120s", "1ms": "1ms", "9223372036": "9223372036s"},
		"probe_timeout":             {"1": "1s", "0.25s": "250ms", "1ms": "1ms"},
		"topology_refresh_interval": {"5": "5s", "10ms": "10ms", "1h": "3600s"},
		"commit_resolution":         {"auto": "auto", "marker": "marker", "lsn": "lsn", "off": "off"},
		"journal_limit":             {"1024": "1kB", "65536": "64kB", "1 MB": "1MB", "2000B": "2000B", "1GB": "1GB"},
		"replay_locks":              {"replay": "replay", "refuse": "refuse"},
		"session_state":             {"strict": "strict", "relaxed": "relaxed"},
		"track_settings":            {"app.tenant": "app.tenant", "app.tenant,work_mem": "app.tenant,work_mem"},
		"continuity_notices":        {"on": "on", "off": "off"},
		"auth":                      {"password": "password", "iam": "iam", "secret": "secret", "iam_sts": "iam_sts"},
		"secret_id":                 {"prod/app": "prod/app"},
		"aws_region":                {"eu-west-1": "eu-west-1", "us-gov-west-1": "us-gov-west-1"},
		"aws_profile":               {"dev team": "dev team"},
		"iam_audience":              {"prod-orders": "prod-orders"},
		"iam_host":                  {"db.example.com": "db.example.com", "db.example.com:6432": "db.example.com:6432"},
		"iam_login_rate":            {"0": "0", "199": "199", "100000": "100000"},
		"pool_mode":                 {"session": "session", "transaction": "transaction"},
		"max_upstreams":             {"1": "1", "10000": "10000"},
		"connection_borrow_timeout": {"5": "5s", "1ms": "1ms"},
	}
	bad := map[string]map[string]string{
		"topology":                  {"": "unknown value", "Aurora": "unknown value", "aurora ": "unknown value", "x": "unknown value"},
		"instance_host_pattern":     {"": "has no ?", "db.example.com": "has no ?", "?.?.example.com": "more than one ?", "a:?": "not in the host name", "? x": "cannot be in a host name", "?,b": "cannot be", "?.x:0": "not a port", "?.x:70000": "not a port", "?.x:": "not a port", "?.x:+5": "not a port"},
		"target_session_attrs":      {"": "unknown value", "readwrite": "unknown value", "READ-ONLY": "unknown value"},
		"reader_fallback":           {"": "unknown value", "true": "unknown value"},
		"keepalives":                {"": "not a whole number", "on": "not a whole number"},
		"keepalives_idle":           {"30s": "not a whole number", "1.5": "not a whole number"},
		"keepalives_interval":       {"": "not a whole number"},
		"keepalives_count":          {"99999999999": "too large"},
		"tcp_user_timeout":          {"1s": "not a whole number"},
		"continuity":                {"": "unknown value", "on": "unknown value"},
		"failover_timeout":          {"": "empty", "0": "too short", "-1": "negative", "-5s": "negative", "1us": "too short", "soon": "not a duration", "1.5": "not a duration", "9223372037": "too long", "99999999999999999999": "too long", "-99999999999999999999": "too long", "9999999999h": "not a duration"},
		"probe_timeout":             {"": "empty", "0": "too short", "0ms": "too short", "-1ms": "negative", "1 s": "not a duration"},
		"topology_refresh_interval": {"": "empty", "0": "too short", "9ms": "too short", "-30": "negative"},
		"commit_resolution":         {"": "unknown value", "wal": "unknown value"},
		"journal_limit":             {"": "not a size", "-1": "negative", "1023": "too small", "2GB": "too large", "99999999999GB": "too large", "1mb": "not a size"},
		"replay_locks":              {"": "unknown value", "on": "unknown value"},
		"session_state":             {"": "unknown value", "off": "unknown value"},
		"track_settings":            {"": "not the name", "a,": "not the name", "a b": "not the name", "x'": "not the name"},
		"continuity_notices":        {"": "unknown value", "true": "unknown value"},
		"auth":                      {"": "unknown value", "IAM": "unknown value"},
		"secret_id":                 {"": "empty"},
		"aws_region":                {"": "empty", "Ireland": "not the name", "eu west-1": "not the name"},
		"aws_profile":               {"": "empty"},
		"iam_host":                  {"": "empty", "a b": "not a host", "h:port": "not a host", "postgres://h": "not a host", "h:0": "not a host"},
		"iam_audience":              {"": "empty", "a b": "not a name", "é": "not a name"},
		"iam_login_rate":            {"": "not such a number", "-1": "not such a number", "100001": "not such a number", "1.5": "not such a number"},
		"pool_mode":                 {"": "unknown value", "statement": "unknown value"},
		"max_upstreams":             {"": "not a number", "0": "too small", "10001": "too large", "x": "not a number"},
		"connection_borrow_timeout": {"": "empty", "0": "too short"},
	}
	// needed has what a parameter does not go without.
	needed := map[string][][2]string{
		"aurora": {{"instance_host_pattern", "?.example.com"}}, "secret": {{"secret_id", "x"}}, "secret_id": {{"auth", "secret"}}, "iam": {{"host", "127.0.0.1"}}, "iam_host": {{"auth", "iam"}, {"host", "127.0.0.1"}},
		"iam_sts": {{"iam_audience", "x"}, {"host", "127.0.0.1"}}, "iam_audience": {{"auth", "iam_sts"}, {"host", "127.0.0.1"}},
	}
	forms := func(name, value string) []string {
		pair := prepend("", [][2]string{{name, value}})
		url := prepend("postgres://u@127.0.0.1/db", [][2]string{{name, value}})
		return []string{pair, "host=127.0.0.1 " + pair, pair + "host=127.0.0.1", url, url + "&sslmode=verify-full"}
	}
	for _, p := range params {
		if len(good[p.name]) == 0 || len(bad[p.name]) == 0 {
			t.Errorf("%s: no cases", p.name)
		}
		for value, want := range good[p.name] {
			for _, dsn := range forms(p.name, value) {
				dsn = prepend(dsn, append(needed[value], needed[p.name]...))
				if got := p.get(mustParse(t, dsn)); got != want {
					t.Errorf("%s: %q, want %q", dsn, got, want)
				}
			}
		}
		for value, why := range bad[p.name] {
			for _, dsn := range forms(p.name, value) {
				_, err := ParseConfig(dsn)
				if err == nil {
					t.Errorf("%s: accepted", dsn)
					continue
				}
				for _, part := range []string{"parameter " + p.name, why, p.allowed} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %v; without %q", dsn, err, part)
					}
				}
			}
			c := mustParse(t, "host=127.0.0.1")
			if _ = p.set(c, value); value != "" && ours(c)[p.name] == value && c.validate() == nil {
				t.Errorf("%s=%q: validate has nothing against it", p.name, value)
			}
		}
	}
}

func TestTheRestReachesPgxAsItWas(t *testing.T) {
	quietEnv(t)
	for dsn, want := range map[string]string{
		"":                                       "",
		"topology=none":                          "",
		"  host=h  topology = none  user=u ":     "  host=h  user=u ",
		"host='a b'topology='auto'user=u":        "host='a b'user=u",
		`password='it\'s topology=x' port=5`:     `password='it\'s topology=x' port=5`,
		`password=a\ topology=none\`:             `password=a\ topology=none\`,
		`topology=au\to user=u`:                  "user=u",
		"continuity=off\ncontinuity=read\tx=":    "x=",
		"postgres://h":                           "postgres://h",
		"postgres://h?topology=none":             "postgres://h",
		"postgres://h/?a.b=1&topology=none&":     "postgres://h/?a.b=1&",
		"postgres://h/?topology=none&":           "postgres://h/",
		"postgres://h/?a.b=1&":                   "postgres://h/?a.b=1&",
		"postgres://h/d?%74opology=none&a.b=%20": "postgres://h/d?a.b=%20",
		"postgresql://u:p%40@[::1]:1,b:2/d?sslmode=disable&continuity=off&a.b=c": "postgresql://u:p%40@[::1]:1,b:2/d?sslmode=disable&a.b=c",
		"postgres://u:p?continuity=x@h/d?continuity=off":                         "postgres://u:p?continuity=x@h/d",
	} {
		d, err := splitDSN(dsn)
		if err != nil || d.rest != want {
			t.Errorf("%q: rest %q, %v; want %q", dsn, d.rest, err, want)
		}
	}
}

func TestPgxSeesTheSameWithAndWithoutOurs(t *testing.T) {
	quietEnv(t)
	for plain, mixed := range map[string]string{
		"postgres://u:p%40ss@a:1,b:2/d?application_name=x%20y&search_path=s":                        "postgres://u:p%40ss@a:1,b:2/d?topology=none&application_name=x%20y&continuity=off&search_path=s&probe_timeout=1",
		`host=a,b port=1,2 user=u password='p\'q' dbname=d options='-c geqo=off' search_path=s\ t\`: `continuity=off host=a,b port=1,2 topology='none' user=u password='p\'q' dbname=d options='-c geqo=off' search_path=s\ t\`,
	} {
		want, err := pgx.ParseConfig(plain)
		if err != nil {
			t.Fatal(err)
		}
		got := mustParse(t, mixed).Conn
		if got.Host != want.Host || got.Port != want.Port || got.User != want.User || got.Password != want.Password ||
			got.Database != want.Database || len(got.Fallbacks) != len(want.Fallbacks) || !maps.Equal(got.RuntimeParams, want.RuntimeParams) {
			t.Errorf("%s: %+v, want %+v", mixed, got, want)
		}
		if got.ValidateConnect != nil {
			t.Errorf("%s: pgx asks the server itself", mixed)
		}
	}
}

func TestTheLastOfSeveralWins(t *testing.T) {
	quietEnv(t)
	for _, dsn := range []string{"probe_timeout=bad probe_timeout=2", "postgres://h?probe_timeout=bad&probe_timeout=2"} {
		if c := mustParse(t, dsn); c.ProbeTimeout != 2*time.Second {
			t.Errorf("%s: %v", dsn, c.ProbeTimeout)
		}
	}
}

func TestSourcesInTheirOrder(t *testing.T) {
	quietEnv(t)
	file := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(file, []byte("[s]\nhost=db.example.com\ncontinuity=read\ntarget_session_attrs=standby\npool_max_conns=3\n[odd]\ntopology=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(dsn string, continuity Continuity, attrs TargetSessionAttrs) {
		t.Helper()
		c := mustParse(t, dsn)
		if c.Continuity != continuity || c.TargetSessionAttrs != attrs || c.Conn.ValidateConnect != nil || c.Conn.RuntimeParams["continuity"] != "" {
			t.Errorf("%s: %s, %s, %v", dsn, c.Continuity, c.TargetSessionAttrs, c.Conn.RuntimeParams)
		}
		again := mustParse(t, c.FormatDSN())
		if !maps.Equal(ours(again), ours(c)) {
			t.Errorf("%s: formatted as %s: %v, want %v", dsn, c.FormatDSN(), ours(again), ours(c))
		}
	}
	check("", ContinuityFull, AttrsReadWrite)
	t.Setenv("PGTARGETSESSIONATTRS", "any")
	check("", ContinuityFull, AttrsAny)
	t.Setenv("FAIRLEAD_CONTINUITY", "off")
	t.Setenv("FAIRLEAD_TARGET_SESSION_ATTRS", "read-only")
	check("", ContinuityOff, AttrsReadOnly)
	t.Setenv("PGSERVICEFILE", file)
	check("service=s", ContinuityRead, AttrsStandby)
	check("service=s servicefile="+file, ContinuityRead, AttrsStandby)
	check("postgres://h?service=s&continuity=full&target_session_attrs=primary", ContinuityFull, AttrsPrimary)
	t.Setenv("PGSERVICE", "s")
	check("target_session_attrs=read-write", ContinuityRead, AttrsReadWrite)

	c := mustParse(t, "")
	if err := c.refusePoolParameters(); err == nil || c.Conn.Host != "db.example.com" || c.Pool.MaxConns != 3 {
		t.Errorf("of the service file pgx has %s and %d, and pool parameters give %v", c.Conn.Host, c.Pool.MaxConns, err)
	}
	for name, dsn := range map[string]string{"the service file": "service=odd", "FAIRLEAD_PROBE_TIMEOUT": "service=s"} {
		t.Setenv("FAIRLEAD_PROBE_TIMEOUT", "x")
		if _, err := ParseConfig(dsn); err == nil || !strings.Contains(err.Error(), "from "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServiceFileInTheHomeFolder(t *testing.T) {
	quietEnv(t)
	if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), ".pg_service.conf"), []byte("[s]\ntopology=none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := mustParse(t, "service=s"); c.Topology != TopologyNone {
		t.Error(c.Topology)
	}
}

func TestErrorsSayWhatToChange(t *testing.T) {
	quietEnv(t)
	for dsn, want := range map[string]string{
		"topology=aurora host=10.0.0.1":                              "instance_host_pattern is needed",
		"postgres://db.example.com?topology=aurora":                  "instance_host_pattern is needed",
		"host=p.proxy-x.eu-west-1.rds.amazonaws.com topology=aurora": "instance_host_pattern is needed",
		"topologie=auto":                "did you mean topology?",
		"postgres://h?CONTINUITY=off":   "did you mean continuity?",
		"probe-timeout=1":               "did you mean probe_timeout?",
		"probe_timoeut=1":               "did you mean probe_timeout?",
		"target_session_attr=any":       "did you mean target_session_attrs?",
		"host=h user":                   "parameter 2 is not of the form key=value",
		"=x":                            "parameter 1 is not of the form key=value",
		"host=h password='x":            "parameter 2: the closing quote is missing",
		`host='x\`:                      "parameter 1: the closing quote is missing",
		"postgres://h?a.b=1&x":          "parameter 2 after the ? is not of the form key=value",
		"postgres://h?a.b=1&&x=1":       "parameter 2 after the ?",
		"postgres://h?topology=a=b":     "parameter 1 after the ?",
		"postgres://h?topology=%zz":     "percent-encoded",
		"postgres://h?topology=no%00ne": "percent-encoded",
		"postgres://h?topology=no ne":   "percent-encoded",
		"host=h\x00":                    "NUL",
		"host=h sslmode=x":              "sslmode is invalid",
		"host=h port=x":                 "invalid port",
		"host=h pool_max_conns=x":       "cannot parse pool_max_conns",
		"service=nowhere":               "failed to read service",
	} {
		c, err := ParseConfig(dsn)
		if err == nil || c != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", dsn, c, err, want)
		}
	}
}

func TestServerSettingsAreNotTakenForMisspeltParameters(t *testing.T) {
	quietEnv(t)
	for _, key := range []string{"lock_timeout", "statement_timeout", "search_path", "geqo", "app.topology", "topology.x", "ccontinuityyy", "idle_session_timeout"} {
		if c := mustParse(t, key+"=1"); c.Conn.RuntimeParams[key] != "1" {
			t.Errorf("%s: %v", key, c.Conn.RuntimeParams)
		}
	}
}

const secret = "s3cr3t-pw"

func TestPasswordsAreNotInErrors(t *testing.T) {
	quietEnv(t)
	for _, dsn := range []string{
		"postgres://u:" + secret + "@h?sslmode=x",
		"postgres://u:" + secret + "@h?topology=x",
		"postgres://u:" + secret + "@h:port/d",
		"postgres://u:" + secret + "@h?connect_timeout=" + secret,
		"postgres://u:" + secret + "%zz@h",
		"postgres://u:" + secret + "@[h",
		"postgres://u:a" + secret + "/b@h",
		"postgres://u:a/" + secret + "?x@h",
		"postgres://u:a/b?" + secret + "@h",
		"postgres://h?password=" + secret + "&sslmode=x",
		"postgres://h?pass%77ord=" + secret + "&sslmode=x",
		"password=" + secret + " topology=x",
		"host=h password = '" + secret + "' sslmode=x",
		"host=h password='a b\\'" + secret + "' sslmode=x",
		"password=my " + secret + " host=h",
		"password=my " + secret,
		"password='" + secret,
		"host=h sslpassword=" + secret + " sslmode=x",
		"channel_binding=" + secret + " password=" + secret,
		"\x00password=" + secret,
	} {
		_, err := ParseConfig(dsn)
		if err == nil {
			t.Errorf("%q: accepted", dsn)
			continue
		}
		for e := err; e != nil; {
			if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, secret) {
				t.Errorf("%q: %s", dsn, text)
			}
			u, ok := e.(interface{ Unwrap() error })
			if !ok {
				break
			}
			e = u.Unwrap()
		}
	}
}

func TestErrorsDoNotCarryTheDSN(t *testing.T) {
	quietEnv(t)
	for _, dsn := range []string{"host=h password=abc sslmode=x", "postgres://u:abc@h/?sslmode=x", "host=h password=abc pool_max_conns=x"} {
		_, err := ParseConfig(dsn)
		var parse *pgconn.ParseConfigError
		if !errors.As(err, &parse) || parse.ConnString != "" || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: %v, with %+v", dsn, err, parse)
		}
	}
}

func TestPasswordsAreNotInDescriptions(t *testing.T) {
	quietEnv(t)
	c := mustParse(t, "postgres://u:"+secret+"@a:1,b:2/d?continuity=off")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c)
	for _, text := range []string{c.String(), fmt.Sprintf("%v %+v %#v %s", c, c, c, c), log.String()} {
		if strings.Contains(text, secret) || !strings.Contains(text, "host=a,b") || !strings.Contains(text, "continuity=off") {
			t.Error(text)
		}
	}
	if !strings.Contains(c.FormatDSN(), secret) {
		t.Error("FormatDSN has no password")
	}
}
