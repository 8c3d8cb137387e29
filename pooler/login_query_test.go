package pooler_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// logTo has a pooler's log in a buffer too.
func logTo(c *pooler.Config) *printed.Buffer {
	b := new(printed.Buffer)
	c.Logger = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return b
}

// psql is the answer to a query, asked by libpq's own client.
func psql(t testing.TB, conninfo, query string, env ...string) (string, error) {
	t.Helper()
	program, err := osexec.LookPath("psql")
	if err != nil {
		where, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql") // as Debian has it, whose wrapper may not be installed
		if len(where) == 0 {
			t.Fatal("there is no psql: install PostgreSQL's client programs")
		}
		program = where[len(where)-1]
	}
	cmd := osexec.CommandContext(testContext(t), program, "-XAtw", "-c", query, conninfo)
	cmd.Env = append(os.Environ(), append(env, "LC_ALL=C")...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// asSuperuser runs statements on the writer, past the pooler.
func asSuperuser(t testing.TB, c *rdstest.Cluster, statements ...string) {
	t.Helper()
	conn, err := c.AdminConn(testContext(t), c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, sql := range statements {
		if _, err := conn.Exec(testContext(t), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// role makes a role for a test, and drops it with the test.
func role(t testing.TB, name, rest string) {
	t.Helper()
	asSuperuser(t, shared, fmt.Sprintf("create role %s login %s", name, rest))
	t.Cleanup(func() { asSuperuser(t, shared, "drop owned by "+name, "drop role "+name) })
}

// withAuthQuery has verifiers read by a role of its own.
func withAuthQuery(t testing.TB, query string) func(*pooler.Config) {
	t.Helper()
	role(t, "auth_reader", "password 'reader'")
	asSuperuser(t, shared, "grant select on pg_authid to auth_reader", "grant select on pg_shadow to auth_reader")
	auth, err := driver.ParseConfig(shared.UserDSN("auth_reader", "reader"))
	if err != nil {
		t.Fatal(err)
	}
	auth.Resolver = shared.Resolver()
	return func(c *pooler.Config) {
		c.Clusters["main"].AuthQuery, c.Clusters["main"].AuthDatabase = query, auth
	}
}

func loginAs(t testing.TB, addr net.Addr, user, password, rest string) error {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), fmt.Sprintf("host=127.0.0.1 port=%d user='%s' password='%s' dbname=app %s", addr.(*net.TCPAddr).Port, user, password, rest))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	return conn.QueryRow(testContext(t), "select current_user").Scan(new(string))
}

func TestTheDatabaseSaysWhoMayComeIn(t *testing.T) {
	change := withAuthQuery(t, pooler.DefaultAuthQuery)
	role(t, "dbalice", "password 'wonder land' in role app")
	role(t, "expired", "password 'pw' valid until '2001-01-01' in role app")
	role(t, "never", "password 'pw' valid until '-infinity' in role app")
	role(t, "always", "password 'pw' valid until 'infinity' in role app")
	role(t, "nologin", "password 'pw' in role app")
	role(t, "stranger", "password 'pw'")
	role(t, "empty", "in role app")
	asSuperuser(t, shared, "alter role nologin nologin", "set password_encryption = md5", "create role oldfashioned login password 'pw' in role app")
	t.Cleanup(func() { asSuperuser(t, shared, "drop role oldfashioned") })
	long := strings.Repeat("l", 63)
	role(t, long, "password 'pw' in role app")
	var log *printed.Buffer
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		change(c)
		log = logTo(c)
		c.Users = map[string]pooler.User{"listed": {Password: "pw"}}
	})
	for _, c := range []struct{ user, password, code, reason string }{
		{"dbalice", "wonder land", "", ""},
		{"always", "pw", "", ""},
		{"listed", "pw", "", ""},
		{long, "pw", "", ""},
		{"dbalice", "wonderland", "28P01", "the password is wrong"},
		{"mallory", "pw", "28P01", "does not find"},
		{"expired", "pw", "28P01", "has expired"},
		{"never", "pw", "28P01", "has expired"},
		{"nologin", "pw", "28P01", "may not log in"},
		{"stranger", "pw", "28P01", "GRANT app TO it"},
		{"empty", "", "28P01", "has no password"},
		{"oldfashioned", "pw", "28P01", "kept as MD5"},
		{long + "x", "pw", "28P01", "does not find"},
		{"x' or '1'='1", "pw", "28P01", "does not find"},
	} {
		t.Run(c.user+" "+c.password, func(t *testing.T) {
			before := len(log.String())
			err := loginAs(t, addr, strings.ReplaceAll(c.user, "'", `\'`), c.password, "sslmode=disable")
			if code(err) != c.code || c.code == "" && err != nil {
				t.Errorf("%v, want %q", err, c.code)
			}
			if c.code != "" && !strings.Contains(err.Error(), "password authentication failed for user") {
				t.Errorf("the client learns %v", err)
			}
			eventually(t, "the log does not say why", func() bool { return strings.Contains(log.String()[before:], c.reason) })
		})
	}
	for _, secret := range []string{"SCRAM-SHA-256$", "wonder", "'pw'"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=dbalice dbname=app", addr.(*net.TCPAddr).Port)
	if got, err := psql(t, conninfo, "select current_user", "PGPASSWORD=wonder land"); err != nil || got != "app" {
		t.Errorf("psql: %s, %v", got, err)
	}
	if got, err := psql(t, conninfo, "select 1", "PGPASSWORD=wrong"); err == nil || !strings.Contains(got, "password authentication failed") {
		t.Errorf("psql with a wrong password: %s, %v", got, err)
	}
}

func TestANewPasswordOfTheDatabaseIsFollowed(t *testing.T) {
	change := withAuthQuery(t, "SELECT usename, passwd FROM pg_shadow WHERE usename=$1")
	role(t, "changing", "password 'first' in role app")
	_, addr := start(t, shared, shared.DSN(), change)
	plain := "sslmode=disable"
	if err := loginAs(t, addr, "changing", "first", plain); err != nil {
		t.Fatal(err)
	}
	asSuperuser(t, shared, "alter role changing password 'second'")
	eventually(t, "the new password is not taken", func() bool { return loginAs(t, addr, "changing", "second", plain) == nil })
	if err := loginAs(t, addr, "changing", "first", plain); code(err) != "28P01" {
		t.Errorf("the old password: %v", err)
	}
	asSuperuser(t, shared, fmt.Sprintf("alter role changing valid until '%s'", time.Now().Add(-time.Minute).Format(time.RFC3339)))
	eventually(t, "an expired password is taken", func() bool { return code(loginAs(t, addr, "changing", "second", plain)) == "28P01" })
}

// What a client says, and what a role's owner has set for it, decides nothing of where the query looks.
func TestTheQueryLooksInTheServersOwnCatalog(t *testing.T) {
	change := withAuthQuery(t, "SELECT usename, passwd FROM pg_shadow WHERE usename=$1")
	asSuperuser(t, shared, "create schema evil", "create table evil.pg_shadow (usename text, passwd text)",
		"create table evil.pg_roles (rolname text)", "insert into evil.pg_shadow values ('mallory', 'pw')", "grant usage on schema evil to public",
		"grant select on all tables in schema evil to public", "alter role auth_reader set search_path = evil, pg_catalog")
	t.Cleanup(func() { asSuperuser(t, shared, "drop schema evil cascade") })
	_, addr := start(t, shared, shared.DSN(), change)
	for _, rest := range []string{"", "search_path=evil,pg_catalog", "options='-c search_path=evil,pg_catalog'"} {
		if err := loginAs(t, addr, "mallory", "pw", "sslmode=disable "+rest); code(err) != "28P01" {
			t.Errorf("with %q: %v", rest, err)
		}
	}
}

func TestALoginThatCannotBeCheckedIsToldApart(t *testing.T) {
	unreachable, err := driver.ParseConfig("postgres://reader:confidential@127.0.0.1:1/app?connect_timeout=1&failover_timeout=1s")
	if err != nil {
		t.Fatal(err)
	}
	var log *printed.Buffer
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].AuthQuery, c.Clusters["main"].AuthDatabase = pooler.DefaultAuthQuery, unreachable
		log = logTo(c)
	})
	err = loginAs(t, addr, "somebody", "pw", "sslmode=disable")
	if code(err) != "57P03" || !strings.Contains(err.Error(), "cannot be checked") || strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(log.String(), "127.0.0.1") || strings.Contains(log.String(), "confidential") {
		t.Errorf("the log has\n%s", log)
	}
}

func TestAReloadChangesWhoMayComeIn(t *testing.T) {
	s, addr, cfg := reloadable(t, func(c *pooler.Config) { c.Users = map[string]pooler.User{"listed": {Password: "pw"}} })
	if err := loginAs(t, addr, "listed", "pw", "sslmode=disable"); err != nil {
		t.Fatal(err)
	}
	role(t, "reloaded", "password 'pw' in role app")
	withAuthQuery(t, pooler.DefaultAuthQuery)(&cfg)
	for range 3 {
		if err := s.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if err := loginAs(t, addr, "reloaded", "pw", "sslmode=disable"); err != nil {
			t.Error(err)
		}
	}
}
