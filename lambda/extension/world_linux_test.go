package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

// testProcess says what a process started from the test's own binary is.
const testProcess = "FAIRLEAD_TEST_PROCESS"

var shared *rdstest.Cluster // nobody harms it

func TestMain(m *testing.M) {
	switch os.Getenv(testProcess) {
	case "extension":
		main()
		return
	case "function":
		function()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := rdstest.New(ctx, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	if err == nil {
		shared = c
		err = prepare(ctx, c)
	}
	code := 1
	if err == nil {
		code = m.Run()
	}
	if c != nil {
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// prepare makes the table that functions write to.
func prepare(ctx context.Context, c *rdstest.Cluster) error {
	conn, err := pgx.Connect(ctx, c.AddressDSN())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "create table deeds (id text primary key)")
	return err
}

// deed is what functions are asked for.
type deed struct {
	Op      string  `json:"op,omitempty"`
	ID      string  `json:"id"`
	Seconds float64 `json:"seconds,omitempty"`
}

// done is what they answer.
type done struct {
	Count int   `json:"count"`
	PID   int64 `json:"pid"`
}

// function is one in Go that works with pgx alone.
func function() {
	var conn *pgx.Conn
	lambda.Start(func(ctx context.Context, d deed) (out done, err error) {
		if d.Op == "crash" {
			os.Exit(7)
		}
		if conn == nil || conn.IsClosed() {
			if conn, err = pgx.Connect(ctx, os.Getenv("TEST_DSN")); err != nil {
				return out, err
			}
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			return out, err
		}
		defer func() { _ = tx.Rollback(ctx) }()
		if _, err := tx.Exec(ctx, "insert into deeds (id) values ($1)", d.ID); err != nil {
			return out, err
		}
		if d.Op == "sleep" {
			if _, err := tx.Exec(ctx, "select pg_sleep($1)", d.Seconds); err != nil {
				return out, err
			}
		}
		if err := tx.QueryRow(ctx, "select count(*), max(pg_backend_pid()) from deeds").Scan(&out.Count, &out.PID); err != nil {
			return out, err
		}
		return out, tx.Commit(ctx)
	})
}

// language is what a function is written in.
type language string

const (
	inGo     language = "Go"
	inPython language = "Python"
	inNode   language = "Node"
)

// command is the function's, or the test is skipped.
func (l language) command(t testing.TB) (command, env []string) {
	t.Helper()
	bootstrap, err := filepath.Abs("testdata/bootstrap." + map[language]string{inPython: "py", inNode: "cjs"}[l])
	must(t, err)
	switch l {
	case inPython:
		const python = "/usr/bin/python3" // the one that Debian's packages are for
		if err := exec.Command(python, "-c", "import psycopg").Run(); err != nil {
			t.Skipf("no psycopg for %s: install it with scripts/setup-languages", python)
		}
		return []string{python, bootstrap}, nil
	case inNode:
		modules, err := filepath.Abs("../../out/node_modules")
		must(t, err)
		if _, err := os.Stat(filepath.Join(modules, "pg")); err != nil {
			t.Skip("there is no Node.js with node-postgres in out/node_modules: make test installs it where there is npm")
		}
		return []string{"node", bootstrap}, []string{"NODE_PATH=" + modules}
	}
	return []string{os.Args[0]}, []string{testProcess + "=function"}
}

// start makes a sandbox with the extension in front of a cluster, and a function.
func start(t testing.TB, c *rdstest.Cluster, l language, cfg fakelambda.Config) *fakelambda.Sandbox {
	t.Helper()
	return startWith(t, name(c.AddressDSN(), t.Name()), l, cfg)
}

// startWith is start with a DSN.
func startWith(t testing.TB, dsn string, l language, cfg fakelambda.Config) *fakelambda.Sandbox {
	t.Helper()
	command, env := l.command(t)
	address := unused(t)
	own, err := driver.ParseConfig(dsn)
	must(t, err)
	// The two processes have the same environment in Lambda; here the shell tells them apart.
	cfg.Extension = []string{"/bin/sh", "-c", testProcess + `=extension exec "$0"`, os.Args[0]}
	cfg.Function = command
	cfg.Env = append(append(env,
		"FAIRLEAD_DSN="+dsn,
		"FAIRLEAD_LISTEN="+address,
		"FAIRLEAD_LOG_LEVEL=debug",
		fmt.Sprintf("TEST_DSN=postgres://%s@%s/%s?sslmode=disable", own.Conn.User, address, own.Conn.Database),
	), cfg.Env...)
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	return fakelambda.Start(t, cfg)
}

// name puts the name of a test into a DSN, by which its connections are found.
func name(dsn, test string) string {
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	return dsn + separator + "application_name=" + url.QueryEscape(short(test))
}

// short is a name as PostgreSQL keeps it.
func short(test string) string { return test[:min(len(test), 60)] }

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask invokes the function, which has to do what it is asked for.
func ask(t testing.TB, s *fakelambda.Sandbox, d deed) (out done) {
	t.Helper()
	answer, err := s.Invoke(testContext(t), encode(t, d))
	must(t, err)
	if answer.Failed {
		t.Fatalf("the function failed: %s", answer.Payload)
	}
	must(t, json.Unmarshal(answer.Payload, &out))
	return out
}

func encode(t testing.TB, d deed) []byte {
	t.Helper()
	text, err := json.Marshal(d)
	must(t, err)
	return text
}

// admin runs a query that returns a number, as the superuser of the writer.
func admin(t testing.TB, c *rdstest.Cluster, query string, args ...any) (n int) {
	t.Helper()
	conn, err := c.AdminConn(testContext(t), c.Writer())
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	must(t, conn.QueryRow(testContext(t), query, args...).Scan(&n))
	return n
}

// connections counts those of the test's extension, and those that watch the cluster: there is one extension at a time.
func connections(t testing.TB, c *rdstest.Cluster) int {
	t.Helper()
	return admin(t, c, "select count(*) from pg_stat_activity where application_name in ($1, 'fairlead-topology')", short(t.Name()))
}

// eventually waits for what follows by itself.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !is() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, context.Cause(ctx))
		}
	}
}

// deeds counts the rows whose ID begins in a way.
func deeds(t testing.TB, c *rdstest.Cluster, prefix string) int {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), c.AddressDSN(c.Writer()))
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	var n int
	must(t, conn.QueryRow(testContext(t), "select count(*) from deeds where starts_with(id, $1)", prefix).Scan(&n))
	return n
}

func logged(s *fakelambda.Sandbox, text string) bool { return strings.Contains(s.Log(), text) }
