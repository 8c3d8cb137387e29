package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// marker stands in the place of something secret.
const marker = "s3cr3tMARK"

// outputOf is what a command says.
func outputOf(t *testing.T, args ...string) string {
	t.Helper()
	var out, err bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = run(ctx, args, console{in: strings.NewReader(""), out: &out, err: &err})
	if out.Len()+err.Len() == 0 {
		t.Errorf("nothing is said")
	}
	return out.String() + err.String()
}

func mustNotTell(t *testing.T, what, said string) {
	t.Helper()
	if strings.Contains(said, marker) || strings.Contains(said, marker[:7]) {
		t.Errorf("%s: it tells\n\t%s", what, said)
	}
}

// everything is a configuration with each key that there is.
const everything = `listeners:
  - address: 127.0.0.1:6432
    cluster: main
    mode: transaction
    target_role: READ_ONLY
    reader_fallback: "on"
    login: password
    iam_auth: disabled
    require_tls: false
    tls_cert_file: /nowhere/cert
    tls_key_file: /nowhere/key
    tls_client_ca_file: /nowhere/ca
    cert_map:
      - {field: cn, name: laptop, user: alice}
clusters:
  main:
    dsn: postgres://app@db.example.com/app
    auth_query: default
    auth_dsn: postgres://auth@db.example.com/app
    iam_audience: prod
    iam_roles:
      arn:aws:iam::123456789012:role/app: [alice]
    sts_endpoint: https://sts.eu-west-1.amazonaws.com
    pool_size: 7
    connection_borrow_timeout: 5
    init_query: set work_mem = '1MB'
    session_pinning_filters: [EXCLUDE_VARIABLE_SETS]
    server_lifetime: 2h
    verify_clean: false
    databases:
      audit: {pool_size: 3}
users:
  alice:
    password: wonderland
    max_client_conn: 5
  bob:
    secret_id: arn:aws:secretsmanager:eu-west-1:123456789012:secret:bob
    aws_region: eu-west-1
admin: {address: 127.0.0.1:9127}
max_client_conn: 50
idle_client_timeout: 1800
debug_logging: false
`

// wrongs are ways to write a value that is not what is expected.
var wrongs = []string{
	marker, "*" + marker, "&" + marker, "&a " + marker, "!" + marker + " x", "!!binary " + marker, "!!int " + marker, "'" + marker, `"` + marker, `"\` + marker + `"`, "[" + marker, "{" + marker, "{" + marker + "}",
	"{" + marker + ": x}", "{x: " + marker + "}", "|" + marker, ">" + marker, "%" + marker, "@" + marker, "`" + marker, "- " + marker, "? " + marker, "x: " + marker, marker + ": x", "${" + marker + "}",
	"\t" + marker, "[[" + marker + "]]", "~ " + marker, "'x' " + marker, "x # " + marker, "<<: *" + marker, "\n      " + marker, "|\n      " + marker, "postgres://app:" + marker + "@db.example.com:port/app",
	"postgres://app:" + marker + "@db.example.com/app?sslmode=" + marker, "\"postgres://app:" + marker + "@db/app", "0x" + marker, "arn:" + marker, "/" + marker + "(", "https://" + marker + "@x", "https://x/?" + marker,
	"-1" + marker, "9999999999999999999999 " + marker, "\x00" + marker, "\xff" + marker, "md5" + marker, "SCRAM-SHA-256$" + marker, "SCRAM-SHA-256$4096:" + marker + "$x:y", "'select 1'; " + marker,
}

// A value that is wrong, wherever it stands, is said by its place and not shown: it may be a secret that belongs to another key.
func TestNoConfigurationIsShownInAnError(t *testing.T) {
	dir := t.TempDir()
	check := func(what, text string) {
		t.Helper()
		file := filepath.Join(dir, "pooler.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		mustNotTell(t, what, outputOf(t, "pooler", "--check", "--config", file))
	}
	value := regexp.MustCompile(`: ?([^\s{\[][^:]*|\[.*\]|\{.*\}|[a-z].*)$`)
	lines := strings.Split(strings.TrimSuffix(everything, "\n"), "\n")
	for i, line := range lines {
		key := strings.TrimSpace(line)
		for _, w := range wrongs {
			change := func(to string) string {
				changed := append(append(append([]string(nil), lines[:i]...), to), lines[i+1:]...)
				return strings.Join(changed, "\n") + "\n"
			}
			if at := value.FindStringIndex(line); at != nil {
				check(fmt.Sprintf("%q in the place of %q", w, key), change(line[:at[0]]+": "+w))
			}
			check(fmt.Sprintf("%q behind %q", w, key), change(line+"\n"+w))
			check(fmt.Sprintf("%q as a key at %q", w, key), change(line+"\n"+line[:len(line)-len(strings.TrimLeft(line, " -"))]+"passwort: "+w))
		}
		check("without a colon at "+key, strings.Replace(everything, line, strings.Replace(line, ": ", " "+marker+" ", 1), 1))
	}
	for name, text := range map[string]string{
		"a file of another kind": "[section]\npassword = " + marker, "JSON": `{"password": "` + marker + `"`, "a DSN": "postgres://app:" + marker + "@db/app",
		"UTF-16": "\xff\xfe" + marker, "two documents": everything + "---\npassword: " + marker, "nothing but it": marker, "a list": "- " + marker,
		"a password's path": strings.Replace(everything, "password: wonderland", "password_file: "+marker, 1),
		"a DSN's path":      strings.Replace(everything, "dsn: postgres://app@db.example.com/app", "dsn_file: postgres://app:"+marker+"@db.example.com/app", 1),
	} {
		check(name, text)
	}
}

// wrongDSNs are DSNs with a secret in them in which something is wrong.
func wrongDSNs() (list []string) {
	for _, bad := range []string{
		"postgres://app:%s@db.example.com:port/app", "postgres://app:%s@db.example.com:99999/app", "postgres://app:%s/x@db.example.com/app", "postgres://app:12/%s@db.example.com/app",
		"postgres://app:x@%s@db.example.com/app?sslmode=x", "postgres://app:%s?x@db.example.com/app", "postgres://app:x?%s@db.example.com/app", "postgres://app:%s#x@db.example.com/app", "postgres://app:%%zz%s@db.example.com/app",
		"postgres://app:[%s@db.example.com/app", "postgres://app:%s x@db.example.com/app", "postgres://app:%s@[::1/app", "postgres:/app:%s@db.example.com/app", "POSTGRES://app:%s@db.example.com/app", "'postgres://app:%s@db.example.com/app'",
		"jdbc:postgresql://db.example.com/app?user=app&password=%s&sslmode=x", "postgres://db.example.com/app?password=%s&sslmode=x", "postgres://db.example.com/app?password=%s&x", "postgres://db.example.com/app?password=x=%s", "postgres://db.example.com/app?password=%%zz%s",
		"mysql://app:%s@db.example.com/app", "app:%s@db.example.com/app", "//app:%s@db.example.com", "host=x;password=%s", "Server=x;Password=%s;", "host=x password='%s", "host=x password=a %s", "host=x password=a %s=b c", "host=x password=%s sslmode=x",
		"host=x password=%s port=y", "host=x pwd=%s", "host=x passwd=%s", "host=x Password=%s", "password:%s", "password %s", "%s", "host = x password = %s failover_timeout = y", "host=x sslkey=%s sslcert=%s", "host=x password=%s service=no", "host=x sslpassword=%s sslcert=/no sslkey=/no",
		"DATABASE_URL=postgres://app:%s@db/app", "host=postgres://app:%s@db/app", "host=x dbname=postgres://app:%s@db/app",
	} {
		list = append(list, strings.ReplaceAll(strings.ReplaceAll(bad, "%s", marker), "%%", "%"))
	}
	for _, key := range []string{
		"sslmode", "sslrootcert", "sslcert", "sslkey", "sslsni", "sslnegotiation", "connect_timeout", "target_session_attrs", "channel_binding", "require_auth", "min_protocol_version", "max_protocol_version",
		"pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_health_check_period", "default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity", "service", "port",
		"auth", "topology", "continuity", "commit_resolution", "failover_timeout", "probe_timeout", "pool_mode", "max_upstreams", "instance_host_pattern", "secret_id", "iam_host", "iam_audience", "aws_region", "session_state", "track_settings",
		"max_reader_lag", "load_balance_hosts", "journal_limit", "iam_login_rate",
	} {
		list = append(list, "host=127.0.0.1 port=1 connect_timeout=1 failover_timeout=1s "+key+"="+marker, "postgres://127.0.0.1:1/app?connect_timeout=1&failover_timeout=1s&"+key+"="+marker)
	}
	return list
}

func TestNoSecretOfADSNIsTold(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for i, dsn := range wrongDSNs() {
		commands := [][]string{
			{"commits-table", dsn}, {"pooler", "--check", "--listen", "127.0.0.1:0", "--dsn", dsn}, {"pooler", "--check", "--listen", "127.0.0.1:0", "--dns=" + dsn},
			{"pooler", dsn}, {"demo", dsn}, {"local", dsn}, {"version", dsn}, {dsn}, {"--" + dsn}, {"doctor", "--timeout", dsn, "x"}, {"doctor", dsn, dsn}, {"pooler", "--config", dsn}, {"pooler", "--check", "--pool-size", dsn},
			{"pooler", "--check", "--listen", dsn, "--dsn", "host=x"}, {"pooler", "--check", "--listen", "127.0.0.1:0", "--dsn", "host=x", "--admin", dsn}, {"pooler", "--check=" + dsn},
			{"commits-table", "--aply", dsn}, {"commits-table", "-a", dsn}, {"commits-table", "-" + dsn},
		}
		if i%4 == 0 { // they take a while
			commands = append(commands, []string{"doctor", dsn}, []string{"doctor", "--json", dsn}, []string{"commits-table", "--apply", dsn})
		}
		for _, args := range commands {
			mustNotTell(t, fmt.Sprintf("%q", args), outputOf(t, args...))
		}
	}
}

func TestNoSecretOfAVariableIsTold(t *testing.T) {
	for _, name := range []string{"FAIRLEAD_CONFIG", "FAIRLEAD_DEBUG_LOGGING", "FAIRLEAD_POOL_SIZE", "FAIRLEAD_DSN", "FAIRLEAD_LISTEN", "FAIRLEAD_MODE", "FAIRLEAD_DISABLE", "FAIRLEAD_FAILOVER_TIMEOUT", "FAIRLEAD_IDLE_CLIENT_TIMEOUT",
		"FAIRLEAD_ADMIN", "FAIRLEAD_AUTH", "FAIRLEAD_PASSWORD", "PGTARGETSESSIONATTRS", "PGCONNECT_TIMEOUT", "PGSSLMODE", "PGCHANNELBINDING", "PGPORT"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, marker)
			mustNotTell(t, name, outputOf(t, "pooler", "--check", "--listen", "127.0.0.1:0", "--dsn", "host=db.example.com"))
			mustNotTell(t, name, outputOf(t, "pooler", "--check"))
			mustNotTell(t, name, outputOf(t, "commits-table", "--apply", "host=127.0.0.1 port=1 connect_timeout=1 failover_timeout=1s"))
		})
	}
}
