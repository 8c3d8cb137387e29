package pooler_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/pooler"
)

const sound = `
listeners:
  - address: 127.0.0.1:6432
clusters:
  main:
    dsn: postgres://app:s3same@db.example.com/app
    pool_size: 7
    connection_borrow_timeout: 5
    server_lifetime: 2h
users:
  alice:
    password: wonderland
max_client_conn: 50
`

func TestAConfigurationFileSaysWhoReadsVerifiers(t *testing.T) {
	text := strings.Replace(sound, "pool_size: 7", "auth_query: default\n    auth_dsn: postgres://auth:s3same@db.example.com/app", 1)
	cfg, err := pooler.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if k := cfg.Clusters["main"]; k.AuthQuery != pooler.DefaultAuthQuery || k.AuthDatabase.Conn.User != "auth" {
		t.Errorf("%+v", k)
	}
	if _, err := pooler.New(cfg); err != nil {
		t.Error(err)
	}
}

// What looks like a variable and is none is taken as it stands, and so is a text behind a byte order mark.
func TestAConfigurationFileIsTakenAsItStands(t *testing.T) {
	for _, password := range []string{"pa$$word", "$", "${", "$lower", "a$PASSWORD", "{PASSWORD}", "$(x)", "${}", "${1}"} {
		cfg, err := pooler.ParseConfig([]byte("\ufeff" + strings.Replace(sound, "wonderland", "'"+password+"'", 1)))
		if err != nil || cfg.Users["alice"].Password != password {
			t.Errorf("%s: %q, %v", password, cfg.Users["alice"].Password, err)
		}
	}
	cfg, err := pooler.ParseConfig([]byte(strings.Replace(sound, "password: wonderland", "password_file: "+fileOf(t, "\ufeffpw\r\n"), 1)))
	if err != nil || cfg.Users["alice"].Password != "pw" {
		t.Errorf("from a file: %q, %v", cfg.Users["alice"].Password, err)
	}
}

func TestAConfigurationFileSaysWhatIsSet(t *testing.T) {
	cfg, err := pooler.ParseConfig([]byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	k := cfg.Clusters["main"]
	if k.PoolSize != 7 || k.BorrowTimeout != 5*time.Second || k.ServerLifetime != 2*time.Hour || cfg.MaxClients != 50 ||
		cfg.Users["alice"].Password != "wonderland" || k.Database.Conn.Host != "db.example.com" || cfg.Listeners[0].Address != "127.0.0.1:6432" {
		t.Errorf("%+v", cfg)
	}
	if _, err := pooler.New(cfg); err != nil {
		t.Error(err)
	}
}

func TestAConfigurationThatMakesNoSenseIsRefusedWithItsPlace(t *testing.T) {
	for name, c := range map[string]struct{ change, to, want string }{
		"an unknown key":           {"  pool_size: 7", "  pol_size: 7", "[7:5] this key is not known: did you mean pool_size?"},
		"a number that is none":    {"pool_size: 7", "pool_size: many", "[7:16]"},
		"a variable":               {"wonderland", "${PASSWORD}", "[12:15] variables of the environment are not put in"},
		"a variable with default":  {"wonderland", "pre-${PASSWORD:-x}", "[12:15] variables of the environment"},
		"a variable in a DSN":      {"s3same", "${DB_PASSWORD}", "[6:10] variables of the environment"},
		"a variable in quotes":     {"wonderland", `"${PASSWORD}"`, "[12:15] variables of the environment"},
		"a variable in a block":    {"wonderland", "|\n      ${PASSWORD}", "variables of the environment"},
		"a shell's variable":       {"wonderland", "$PASSWORD", "[12:15] variables of the environment"},
		"a variable for a key":     {"alice", "${USER}", "[11:3] variables of the environment"},
		"a variable for a number":  {"pool_size: 7", "pool_size: ${SIZE}", "[7:16] variables of the environment"},
		"UTF-16":                   {"\nlisteners", "\xff\xfelisteners", "UTF-16"},
		"Latin-1":                  {"wonderland", "w\xf6nderland", "[12:16] it is not in UTF-8"},
		"another mark":             {"wonderland", "*wonderland", "[12:16] it is no YAML here: a value that begins with * or &"},
		"two documents":            {"users:", "---\nusers:", "a second document"},
		"pgxpool's parameter":      {"example.com/app", "example.com/app?pool_max_conns=5", "dsn: parameter pool_max_conns is for pgx in an application, and not for a pooler: set pool_size"},
		"pgx's parameter":          {"example.com/app", "example.com/app?default_query_exec_mode=exec", "parameter default_query_exec_mode is for pgx"},
		"pgx's cache":              {"example.com/app", "example.com/app?statement_cache_capacity=5", "set max_prepared_statements"},
		"pgx's other cache":        {"example.com/app", "example.com/app?description_cache_capacity=5", "parameter description_cache_capacity"},
		"pgxpool's health":         {"example.com/app", "example.com/app?pool_health_check_period=5s", "pool_health_check_period"},
		"no duration":              {"server_lifetime: 2h", "server_lifetime: long", "no duration"},
		"a mistyped DSN":           {"postgres://app", "postgres:/app", "clusters.main.dsn"},
		"a mode that is not there": {"127.0.0.1:6432", "127.0.0.1:6432\n    mode: query", "mode is not known"},
		"everybody may come in":    {"127.0.0.1:6432", "0.0.0.0:6432\n    login: trust", "trust would let in everybody"},
		"no address":               {"127.0.0.1:6432", "6432", "host:port"},
		"a pool of nothing":        {"pool_size: 7", "pool_size: -1", "at least 1"},
		"no such cluster":          {"127.0.0.1:6432", "127.0.0.1:6432\n    cluster: other", "not one of clusters"},
		"no such role":             {"127.0.0.1:6432", "127.0.0.1:6432\n    target_role: WRITE", "READ_WRITE and READ_ONLY are"},
		"fewer than none":          {"pool_size: 7", "max_server_connections: -1", "max_server_connections -1: 1 or more"},
		"idle ones of nothing":     {"pool_size: 7", "max_idle_connections_percent: 5", "max_connections_percent, 0"},
		"an endless init_query":    {"pool_size: 7", "init_query: set work_mem = '1MB'; begin", "nobody would end it"},
		"an unknown filter":        {"pool_size: 7", "session_pinning_filters: [ALL]", "EXCLUDE_VARIABLE_SETS is"},
		"a query for nobody":       {"pool_size: 7", "auth_query: select 1", "[7:17] auth_query: one statement"},
		"nothing to ask":           {"pool_size: 7", "auth_dsn: postgres://auth:s3same@db.example.com/app", "auth_dsn without auth_query"},
		"two passwords":            {"password: wonderland", "password: wonderland\n    secret_id: prod/alice", "a password and a secret"},
		"no such secret's ARN":     {"password: wonderland", "secret_id: arn:aws:iam::1:role/x", "[12:16] no name of a secret"},
		"tokens perhaps":           {"127.0.0.1:6432", "127.0.0.1:6432\n    iam_auth: maybe", "[4:15] iam_auth is not known"},
		"tokens in the clear":      {"127.0.0.1:6432", "127.0.0.1:6432\n    iam_auth: required", "TLS and Unix sockets only"},
		"tokens for everybody":     {"127.0.0.1:6432", "/run/x\n    login: trust\n    iam_auth: required", "a token is given as a password"},
		"tokens for no TLS":        {"127.0.0.1:6432", "/run/x\n    iam_auth: required", "sslmode=verify-full in its DSN"},
		"no role":                  {"pool_size: 7", "iam_roles:\n      role/app: [alice]", "[8:7] no ARN"},
		"a role as nobody":         {"pool_size: 7", "iam_audience: x\n    iam_roles:\n      arn:aws:iam::1:role/app: []", "the users are missing"},
		"a role without audience":  {"pool_size: 7", "iam_roles:\n      arn:aws:iam::1:role/app: [alice]", "iam_roles need one"},
		"an audience of two":       {"pool_size: 7", "iam_audience: a b", "[7:19] not a name"},
		"an audience for nothing":  {"pool_size: 7", "iam_audience: x", "there are none"},
		"no region":                {"pool_size: 7", "iam_audience: x\n    iam_roles:\n      arn:aws:iam::1:role/app: [alice]", "sts_endpoint is needed"},
		"STS in the clear":         {"pool_size: 7", "sts_endpoint: http://sts.eu-west-1.amazonaws.com", "[7:19] sts_endpoint"},
		"a broken verifier":        {"wonderland", "SCRAM-SHA-256$4096:x", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(sound, c.change, c.to, 1)
			if name == "tokens for no TLS" {
				text = strings.Replace(text, "/app\n", "/app?sslmode=disable\n", 1)
			}
			cfg, err := pooler.ParseConfig([]byte(text))
			if err == nil {
				_, err = pooler.New(cfg)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something about %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3same") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

// TestTheDocumentsFileIsSound has who changes the format see that the document has to change too.
func TestTheDocumentsFileIsSound(t *testing.T) {
	text, err := os.ReadFile("../docs/pooler.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "## The file\n\n```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("there is no example")
	}
	example = strings.NewReplacer(
		"dsn_file: /etc/fairlead/dsn ", "dsn: postgres://app@orders.example.com/app ", "    require_tls: true\n", "",
		"    tls_cert_file: /etc/fairlead/server.crt\n", "", "    tls_key_file: /etc/fairlead/server.key\n", "", "SCRAM-SHA-256$4096:…", "wonderland",
	).Replace(example)
	cfg, err := pooler.ParseConfig([]byte(example))
	if err == nil {
		_, err = pooler.New(cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := cfg.Clusters["orders"]
	if cfg.Clusters["reports"].MaxServerConnections != 30 || k.MaxConnectionsPercent != 60 || k.MaxIdleConnectionsPercent != 20 || k.Databases["audit"].PoolSize != 3 || len(k.PinningFilters) != 1 ||
		cfg.Listeners[1].TargetRole != pooler.ReadOnly || cfg.Users["alice"].MaxClients != 100 || cfg.Admin != "127.0.0.1:9127" ||
		cfg.QueryTimeout != time.Minute || cfg.IdleTransactionTimeout != 5*time.Minute {
		t.Errorf("%+v %+v", cfg, k)
	}
}

func TestAUsersPasswordIsNotPrinted(t *testing.T) {
	cfg, err := pooler.ParseConfig([]byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("it", "user", cfg.Users["alice"])
	for _, text := range []string{fmt.Sprintf("%v", cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), fmt.Sprint(cfg.Users["alice"]), log.String()} {
		if strings.Contains(text, "wonderland") || strings.Contains(text, "s3same") {
			t.Errorf("it is in %s", text)
		}
	}
}
