package rdstest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// inFlight sends a statement and returns where its outcome will be.
func inFlight(conn *pgx.Conn, sql string) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), sql)
		result <- err
	}()
	return result
}

// outcome waits for a statement's.
func outcome(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		t.Fatal("a statement hangs")
		return nil
	}
}

// silent checks that nothing comes.
func silent(t *testing.T, what string, result <-chan error) {
	t.Helper()
	select {
	case err := <-result:
		t.Errorf("%s: %v, want silence", what, err)
	case <-time.After(100 * time.Millisecond):
	}
}

// hangs checks that a login is not answered.
func hangs(t *testing.T, c *rdstest.Cluster, in *rdstest.Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := dial(ctx, c, c.InstanceDSN(in)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a login to %s (%s): %v, want silence", in.ID(), in.State(), err)
	}
}

// refusesTLS checks that not even the question for TLS is answered.
func refusesTLS(t *testing.T, in *rdstest.Instance) {
	t.Helper()
	conn, err := net.Dial("tcp", in.Addr().String())
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // SSLRequest
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s answers with %d bytes, %v", in.ID(), n, err)
	}
}

func TestACrashIsSeenAtOnce(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	ctx := testContext(t)
	w := c.Writer()
	conn := connect(t, c, c.DSN())
	execute(t, conn, "create table t as select 1 as a")
	waiting := inFlight(conn, "select pg_sleep(100)")
	must(t, c.Crash(ctx, w))
	if err := outcome(t, waiting); err == nil || code(err) != "" {
		t.Errorf("a statement in flight: %v", err)
	}
	if _, err := net.Dial("tcp", w.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	if w.State() != rdstest.Down || w.Role() != rdstest.Writer {
		t.Errorf("it is %s and %s", w.Role(), w.State())
	}
	// The same instance comes back, with what was committed.
	must(t, c.Restart(ctx, w))
	must(t, c.WaitSettled(ctx))
	if got := ask(t, connect(t, c, c.DSN()), "select a from t"); got != "1" {
		t.Errorf("after the restart the table has %s", got)
	}
}

func TestAShutdownTellsItsClients(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	ctx := testContext(t)
	w, r := c.Writer(), c.Readers()[0]
	for _, m := range []struct {
		mode rdstest.ShutdownMode
		want string
	}{{rdstest.Fast, "57P01"}, {rdstest.Immediate, "57P02"}} {
		waiting := inFlight(connect(t, c, c.DSN()), "select pg_sleep(100)")
		eventually(t, "the statement runs", func() bool {
			return ask(t, admin(t, c, w), "select count(*) from pg_stat_activity where query like 'select pg_sleep%'") == "1"
		})
		must(t, c.Shutdown(ctx, w, m.mode))
		// An immediate shutdown says so in a notice, if it comes to that.
		if err := outcome(t, waiting); err == nil || m.mode == rdstest.Fast && code(err) != m.want {
			t.Errorf("%s: a statement in flight gets %v, want %s", m.mode, err, m.want)
		}
		must(t, c.Restart(ctx, w))
	}
	must(t, c.WaitSettled(ctx))
	// A frozen reader does not keep a writer from a clean end.
	must(t, c.Freeze(ctx, r))
	short, cancel := context.WithTimeout(ctx, 40*time.Second) // PostgreSQL itself would wait for a minute
	defer cancel()
	must(t, c.Shutdown(short, w, rdstest.Fast))
}

func TestTheCrashOfABackendEndsAllSessionsAndNotTheServer(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	w := c.Writer()
	victim, bystander := connect(t, c, c.DSN()), connect(t, c, c.DSN())
	started := ask(t, bystander, "select pg_postmaster_start_time()::text")
	waiting := inFlight(bystander, "select pg_sleep(100)")
	must(t, c.CrashBackend(testContext(t), w, int(victim.PgConn().PID())))
	if err := outcome(t, waiting); err == nil {
		t.Error("another session goes on")
	}
	var conn *pgx.Conn
	eventually(t, "the server is back", func() (ok bool) {
		var err error
		conn, err = dial(testContext(t), c, c.DSN())
		return err == nil
	})
	defer conn.Close(context.Background())
	if got := ask(t, conn, "select pg_postmaster_start_time()::text"); got != started {
		t.Errorf("the server started at %s, and at %s before", got, started)
	}
	if err := c.CrashBackend(testContext(t), w, 1); !errors.Is(err, rdstest.ErrNoBackend) {
		t.Errorf("to kill a process of somebody else's: %v", err)
	}
}

func TestAFrozenInstanceNeitherAnswersNorCloses(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	ctx := testContext(t)
	w := c.Writer()
	conn := connect(t, c, c.DSN())
	must(t, c.Freeze(ctx, w))
	if w.State() != rdstest.Frozen {
		t.Errorf("it is %s", w.State())
	}
	waiting := inFlight(conn, "select 1")
	silent(t, "a statement", waiting)
	hangs(t, c, w)
	refusesTLS(t, w)
	must(t, c.Thaw(ctx, w))
	if err := outcome(t, waiting); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
	must(t, c.WaitSettled(ctx))

	// Commits wait for a reader, and not for one that is frozen.
	must(t, c.Freeze(ctx, c.Readers()[0]))
	execute(t, conn, "create table t as select 1 as a")
	must(t, c.Thaw(ctx, c.Readers()[0]))
	must(t, c.WaitSettled(ctx))
	if got := ask(t, connect(t, c, c.InstanceDSN(c.Readers()[0])), "select a from t"); got != "1" {
		t.Errorf("the reader has %s", got)
	}
	if got := ask(t, conn, "show synchronous_standby_names"); !strings.Contains(got, c.Readers()[0].ID()) {
		t.Errorf("commits wait for %q", got)
	}
}

func TestAnOldWriterBelievesInItselfForAWhile(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1, RejoinDelay: time.Hour})
	ctx := testContext(t)
	old := c.Writer()
	conn := connect(t, c, c.DSN())
	execute(t, conn, "create table t (a int)")
	must(t, c.Freeze(ctx, old))
	next, err := c.Failover(ctx)
	must(t, err)
	if next == old || c.Writer() != next || old.Role() != rdstest.Reader {
		t.Fatalf("%s took over from %s, which is a %s", next, old, old.Role())
	}
	must(t, c.Thaw(ctx, old))
	if old.State() != rdstest.Deposed {
		t.Errorf("the old writer is %s", old.State())
	}
	const sees = "select pg_is_in_recovery() || ' ' || server_id from aurora_replica_status() where session_id = 'MASTER_SESSION_ID'"
	if got, want := ask(t, conn, sees), "false "+old.ID(); got != want {
		t.Errorf("the old writer says %q, want %q", got, want)
	}
	if got, want := ask(t, connect(t, c, c.InstanceDSN(next)), sees), "false "+next.ID(); got != want {
		t.Errorf("the new writer says %q, want %q", got, want)
	}
	// It can acknowledge nothing: nobody follows it.
	waiting := inFlight(conn, "insert into t values (1)")
	silent(t, "a commit on the old writer", waiting)
	must(t, c.Close())
	if err := outcome(t, waiting); err == nil {
		t.Error("a commit was acknowledged in the end")
	}
}

func TestAPartitionIsSilence(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 2, Flavor: rdstest.Replication})
	ctx := testContext(t)
	w := c.Writer()
	for _, how := range []front.Silence{front.Swallow, front.Hold} {
		conn := connect(t, c, c.DSN())
		must(t, c.PartitionAs(ctx, w, how))
		if w.State() != rdstest.Partitioned {
			t.Errorf("it is %s", w.State())
		}
		waiting := inFlight(conn, "select 1")
		silent(t, "a statement", waiting)
		hangs(t, c, w)
		if got := ask(t, admin(t, c, w), "select 1"); got != "1" {
			t.Errorf("the administrator gets %s", got)
		}
		must(t, c.Heal(ctx, w))
		if err := outcome(t, waiting); (err == nil) != (how == front.Hold) {
			t.Errorf("%v: after it was healed, the statement gets %v", how, err)
		}
		must(t, c.WaitSettled(ctx))
	}

	// A partition keeps the WAL from the readers, and a reader from the WAL.
	conn := admin(t, c, w)
	execute(t, conn, "create table t (a int)")
	must(t, c.WaitSettled(ctx))
	r := c.Readers()[0]
	must(t, c.Partition(ctx, r))
	execute(t, conn, "insert into t values (1)") // the other reader has it
	if got := ask(t, admin(t, c, r), "select count(*) from t"); got != "0" {
		t.Errorf("a reader that is cut off has %s rows", got)
	}
	must(t, c.Heal(ctx, r))
	must(t, c.WaitSettled(ctx))
	must(t, c.Partition(ctx, w))
	waiting := inFlight(conn, "insert into t values (2)")
	silent(t, "a commit that no reader can get", waiting)
	next, err := c.Failover(ctx)
	must(t, err)
	must(t, c.Heal(ctx, w))
	must(t, c.WaitSettled(ctx))
	if err := outcome(t, waiting); err == nil {
		t.Error("the old writer has acknowledged a commit")
	}
	if got := ask(t, admin(t, c, next), "select string_agg(a::text, ',') from t"); got != "1" {
		t.Errorf("the new writer has %s", got)
	}
}

func TestTheFrontOfAnInstanceCanCutAtAMessage(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	conn := connect(t, c, c.DSN())
	execute(t, conn, "create table t (a int)")
	cut := c.Writer().Front().Cut(front.Cut{
		From: front.Client, When: front.After, Match: func(m front.Message) bool { return m.Type == 'Q' },
	})
	_, err := conn.Exec(testContext(t), "insert into t values (1)", pgx.QueryExecModeSimpleProtocol)
	if err == nil || code(err) != "" {
		t.Errorf("the client gets %v", err)
	}
	<-cut.Done()
	eventually(t, "the server has done it", func() bool {
		return ask(t, connect(t, c, c.DSN()), "select count(*) from t") == "1"
	})
}

func TestActsSayWhyTheyCannotBeDone(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1, RejoinDelay: time.Hour, Flavor: rdstest.Replication})
	ctx := testContext(t)
	w, r := c.Writer(), c.Readers()[0]
	wants := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "rdstest: ") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	wants(c.Thaw(ctx, r), "thaw app-2: it is not frozen")
	wants(c.Heal(ctx, r), "heal app-2: it is not partitioned")
	wants(c.Shutdown(ctx, r, "slow"), `mode "slow"`)
	wants(c.PartitionAs(ctx, r, 0), "no kind of silence")
	must(t, c.Freeze(ctx, r))
	wants(c.Freeze(ctx, r), "it is frozen already")
	wants(c.Shutdown(ctx, r, rdstest.Fast), "it is frozen")
	wants(c.Restart(ctx, r), "it is frozen")
	_, err := c.Switchover(ctx)
	wants(err, "no reader is in a state to take over")
	must(t, c.Thaw(ctx, r))
	must(t, c.WaitSettled(ctx))
	must(t, c.Crash(ctx, w))
	wants(c.Crash(ctx, w), "crash app-1: it is down")
	_, err = c.Switchover(ctx)
	wants(err, "the writer app-1 is down")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	wants(c.WaitSettled(short), "the writer app-1 is down")
	_, err = c.Failover(ctx)
	must(t, err)
	wants(c.Restart(ctx, w), "comes back as a reader")
	// A context that has ended changes nothing.
	ended, end := context.WithCancel(ctx)
	end()
	_, err = c.Failover(ended)
	wants(err, "canceled")
	if c.Writer() != r {
		t.Errorf("the writer is %s", c.Writer())
	}
}
