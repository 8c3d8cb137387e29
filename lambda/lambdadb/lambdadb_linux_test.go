package lambdadb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/lambda/lambdadb"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

// testProcess says that the test's own binary is a function.
const testProcess = "FAIRLEAD_TEST_PROCESS"

var shared *rdstest.Cluster

func TestMain(m *testing.M) {
	if os.Getenv(testProcess) == "function" {
		function()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := rdstest.New(ctx, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = c
	code := m.Run()
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

type question struct {
	Sleep float64 `json:"sleep"`
}

type reply struct {
	PID int `json:"pid"`
}

// function is the program that the tests run.
func function() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	db, err := lambdadb.Open(context.Background(), lambdadb.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fail(err)
	}
	err = db.Start(func(ctx context.Context, q question) (r reply, err error) {
		err = db.QueryRowContext(ctx, "select pg_backend_pid() from pg_sleep($1)", q.Sleep).Scan(&r.PID)
		return r, err
	})
	if err != nil {
		fail(err)
	}
}

func start(t *testing.T, cfg fakelambda.Config) *fakelambda.Sandbox {
	t.Helper()
	cfg.Function = []string{os.Args[0]}
	cfg.Env = append([]string{testProcess + "=function", "FAIRLEAD_DSN=" + dsn(t)}, cfg.Env...)
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	return fakelambda.Start(t, cfg)
}

// dsn is the cluster's, with the test's name for its connections.
func dsn(t *testing.T) string {
	separator := "?"
	if strings.Contains(shared.AddressDSN(), "?") {
		separator = "&"
	}
	return shared.AddressDSN() + separator + "application_name=" + t.Name()
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, s *fakelambda.Sandbox) (r reply) {
	t.Helper()
	answer, err := s.Invoke(testContext(t), []byte(`{}`))
	must(t, err)
	if answer.Failed {
		t.Fatalf("the function failed: %s", answer.Payload)
	}
	must(t, json.Unmarshal(answer.Payload, &r))
	return r
}

// admin runs a query with the test's name for a parameter.
func admin(t *testing.T, query string) (n int) {
	t.Helper()
	conn, err := shared.AdminConn(testContext(t), shared.Writer())
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	must(t, conn.QueryRow(testContext(t), query, t.Name()).Scan(&n))
	return n
}

func TestTheFirstConnectionIsMadeInInit(t *testing.T) {
	s := start(t, fakelambda.Config{})
	must(t, s.Init(testContext(t)))
	if admin(t, "select count(*) from pg_stat_activity where application_name = $1") == 0 {
		t.Error("nothing is connected after Init")
	}
}

func TestConnectionsOutliveInvocations(t *testing.T) {
	s := start(t, fakelambda.Config{})
	first := ask(t, s)
	for range 10 {
		if r := ask(t, s); r != first {
			t.Fatalf("another connection: %v, not %v", r, first)
		}
	}
}

func TestAFreezeInWhichTheServerEndsConnectionsIsNotSeen(t *testing.T) {
	s := start(t, fakelambda.Config{})
	first := ask(t, s)
	must(t, s.Freeze(testContext(t)))
	admin(t, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1")
	must(t, s.Thaw())
	if second := ask(t, s); second == first {
		t.Error("the connection is still there")
	}
}

func TestTheServerIsToldWhenToEndIdleConnections(t *testing.T) {
	t.Setenv("FAIRLEAD_DSN", dsn(t))
	for want, cfg := range map[string]lambdadb.Config{"1min": {}, "5s": {FreezeIdle: 5 * time.Second}, "0": {FreezeIdle: -1}} {
		db, err := lambdadb.Open(testContext(t), cfg)
		must(t, err)
		var got string
		must(t, db.QueryRowContext(testContext(t), "show idle_session_timeout").Scan(&got))
		must(t, db.Close())
		if got != want {
			t.Errorf("idle_session_timeout is %s, not %s", got, want)
		}
	}
}

func TestAQueryThatTakesTooLongLeavesTimeForAnAnswer(t *testing.T) {
	s := start(t, fakelambda.Config{Timeout: 4 * time.Second})
	must(t, s.Init(testContext(t)))
	answer, err := s.Invoke(testContext(t), []byte(`{"sleep": 3600}`))
	must(t, err)
	if !answer.Failed || !bytes.Contains(answer.Payload, []byte("deadline")) {
		t.Errorf("the function answered %s", answer.Payload)
	}
	ask(t, s)
}

func TestManyInvocationsAtOnceShareTheDatabase(t *testing.T) {
	const many = 8
	s := start(t, fakelambda.Config{
		APIConfig: fakelambda.APIConfig{Kind: fakelambda.ManagedInstances}, Env: []string{fmt.Sprint("AWS_LAMBDA_MAX_CONCURRENCY=", many)},
	})
	must(t, s.Init(testContext(t)))
	// All of them run when none has answered.
	release := s.API.Hold(fakelambda.RuntimeAnswers)
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if answer, err := s.Invoke(t.Context(), []byte(`{"sleep": 0.1}`)); err != nil || answer.Failed {
				t.Errorf("%s: %v", answer.Payload, err)
			}
		})
	}
	err := s.API.Await(testContext(t), fakelambda.RuntimeAnswers, many)
	release()
	must(t, err)
	all.Wait()
}

func TestADatabaseThatIsDownDoesNotHoldUpInit(t *testing.T) {
	s := start(t, fakelambda.Config{Env: []string{"FAIRLEAD_DSN=postgres://app:geheim@127.0.0.1:1/app?failover_timeout=300ms"}})
	must(t, s.Init(testContext(t)))
	if !strings.Contains(s.Log(), "no connection in Init") || strings.Contains(s.Log(), "geheim") {
		t.Error("the log does not say so, or says too much")
	}
}

func TestTheSameProgramAnswersAnEventOnALaptop(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), testProcess+"=function", "FAIRLEAD_DSN="+dsn(t), "AWS_LAMBDA_RUNTIME_API=")
	cmd.Stdin = strings.NewReader("{}")
	out, err := cmd.Output()
	must(t, err)
	var r reply
	if err := json.Unmarshal(out, &r); err != nil || r.PID == 0 {
		t.Errorf("it printed %q", out)
	}
}

func TestAFunctionWithoutADSNSaysWhatToDo(t *testing.T) {
	t.Setenv("FAIRLEAD_DSN", "")
	if _, err := lambdadb.Open(t.Context(), lambdadb.Config{}); err == nil || !strings.Contains(err.Error(), "set it to the database's DSN") {
		t.Errorf("error %v", err)
	}
}

func TestTheDatabaseIsClosedWhenTheSandboxEnds(t *testing.T) {
	s := start(t, fakelambda.Config{})
	ask(t, s)
	pid := s.Function()
	must(t, exec.Command("kill", "-TERM", fmt.Sprint(pid)).Run())
	ctx := testContext(t)
	for admin(t, "select count(*) from pg_stat_activity where application_name = $1") > 0 {
		if ctx.Err() != nil {
			t.Fatal("connections are open though the process was told to end")
		}
		time.Sleep(10 * time.Millisecond)
	}
	// The process is there: it is Lambda that ends it.
	if err := exec.Command("kill", "-0", fmt.Sprint(pid)).Run(); err != nil {
		t.Error(errors.New("the process has ended by itself"))
	}
}
