package commit_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/topology"
)

// doubt is a transaction that was lost on its way into a commit, with both kinds of evidence for it.
type doubt struct {
	marker, lsn commit.Evidence
	value       string
}

var doubts int

// begin runs a transaction up to its commit.
func (c *conn) begin() doubt {
	c.w.t.Helper()
	doubts++
	d := doubt{value: fmt.Sprint("doubt ", doubts)}
	c.run("begin; insert into t values ('" + d.value + "')")
	d.lsn = c.inject(commit.LSN, commit.Key{})
	d.marker = c.inject(commit.Marker, newKey())
	return d
}

// happened tells whether the transaction's work is there.
func (d *doubt) happened(c *conn) bool {
	return c.run("select count(*) from t where v = '"+d.value+"'") == "1"
}

// isolate makes the writer lose what it commits from now on: its readers get nothing more, and it waits for none of them.
func (w *world) isolate() {
	w.t.Helper()
	w.readers()
	w.admin(w.Writer()).run("alter system set synchronous_standby_names = ''")
	w.must(w.Partition(w.ctx, w.Writer()))
	w.admin(w.Writer()).run("select pg_reload_conf()")
}

// useUp gives out and commits transaction ids until the given one is among them.
func (c *conn) useUp(xid uint64) {
	c.w.t.Helper()
	for {
		n, err := strconv.ParseUint(c.run("begin; insert into t values ('other'); select pg_current_xact_id(); commit"), 10, 64)
		c.w.must(err)
		if n >= xid {
			return
		}
	}
}

// status is what the server says of a transaction id, whose ever it is.
func (c *conn) status(d *doubt) string {
	return c.run(fmt.Sprintf("select pg_xact_status('%d'::xid8)", d.lsn.XID))
}

func TestAPromotedServerGivesTransactionIDsOutAgain(t *testing.T) {
	w := plain(t, 2)
	old := w.reign()
	a := w.app(w.Writer())
	reached := a.begin()
	a.run("commit")
	rolledBack := a.begin()
	a.run("rollback")
	open := w.app(w.Writer())
	inFlight := open.begin()
	a.run("insert into t values ('flushes what is before it')")

	w.isolate()
	local := w.as(w.Writer(), "app")
	gone := local.begin()
	local.run("commit")
	reign := w.failover()
	if reign.Origin != topology.OriginPromoted || reign.Timeline != old.Timeline+1 || reign.Before != old.Boot || reign.End == 0 {
		t.Fatalf("reign %+v after %+v", reign, old)
	}
	b := w.app(w.Writer())
	if end := b.position("pg_last_wal_replay_lsn()"); end != reign.End {
		t.Errorf("the recovery ended at %x, observed %x", end, reign.End)
	}
	b.useUp(gone.lsn.XID)
	if s := b.status(&gone); s != "committed" || gone.happened(b) {
		t.Fatalf("the id of the lost transaction is %s, its work there: %v: nothing is tested here", s, gone.happened(b))
	}
	for _, d := range []*doubt{&reached, &rolledBack, &inFlight, &gone} {
		want := commit.Aborted
		if d == &reached {
			want = commit.Committed
		}
		if d.happened(b) != (d == &reached) {
			t.Fatalf("%s: %v", d.value, !(d == &reached))
		}
		w.expect(want, d.lsn, reign)
		w.expect(want, d.marker, reign)
	}

	t.Run("by a monitor that came later", func(t *testing.T) {
		late := w.reignOf(w.watch())
		if late.Origin != topology.OriginUnknown {
			t.Errorf("%+v", late)
		}
		w.expect(commit.Unknown, reached.lsn, late)
		w.expect(commit.Unknown, gone.lsn, late)
		w.expect(commit.Committed, reached.marker, late)
		w.expect(commit.Aborted, gone.marker, late)
	})
	t.Run("on the old writer", func(t *testing.T) {
		zombie := w.as(w.Readers()[0], "app")
		for _, e := range []commit.Evidence{reached.lsn, gone.lsn, reached.marker, gone.marker} {
			if o, err := commit.Decide(w.ctx, zombie, e, reign); o != commit.Unknown || err == nil {
				t.Errorf("%v: %v, %v", e.Mode, o, err)
			}
		}
	})
	t.Run("after a crash of the new writer", func(t *testing.T) {
		w.must(w.Heal(w.ctx, w.Readers()[0]))
		w.crashRecovery()
		again := w.reign()
		if again.Origin != topology.OriginRecovered || again.Before != reign.Boot || again.End <= reign.End || again.Timeline != reign.Timeline {
			t.Fatalf("%+v after %+v", again, reign)
		}
		if s := w.app(w.Writer()).status(&gone); s != "committed" || gone.lsn.LSN >= again.End {
			t.Fatalf("%s, position %x, recovery until %x: nothing is tested here", s, gone.lsn.LSN, again.End)
		}
		w.expect(commit.Unknown, reached.lsn, again)
		w.expect(commit.Unknown, gone.lsn, again)
		w.expect(commit.Committed, reached.marker, again)
		w.expect(commit.Aborted, gone.marker, again)
	})
}

func TestASecondFailoverLeavesThePositionWithoutMeaning(t *testing.T) {
	w := plain(t, 2)
	a := w.app(w.Writer())
	reached := a.begin()
	a.run("commit")
	w.isolate()
	local := w.as(w.Writer(), "app")
	gone := local.begin()
	local.run("commit")
	w.failover()
	b := w.app(w.Writer())
	b.useUp(gone.lsn.XID)
	for b.position("pg_current_wal_flush_lsn()") <= gone.lsn.LSN {
		b.run("insert into t select repeat('x', 1000) from generate_series(1, 100)")
	}
	w.must(w.Heal(w.ctx, w.Readers()[0]))
	w.readers()
	reign := w.failover()

	c := w.app(w.Writer())
	if s := c.status(&gone); s != "committed" || gone.happened(c) || gone.lsn.LSN >= reign.End {
		t.Fatalf("the id is %s, position %x, recovery until %x: nothing is tested here", s, gone.lsn.LSN, reign.End)
	}
	w.expect(commit.Unknown, gone.lsn, reign)
	w.expect(commit.Unknown, reached.lsn, reign)
	w.expect(commit.Aborted, gone.marker, reign)
	w.expect(commit.Committed, reached.marker, reign)
}

// crashRecovery lets a server process of the writer crash, and waits until the server takes connections again.
func (w *world) crashRecovery() {
	w.t.Helper()
	before := w.reign()
	victim := w.admin(w.Writer())
	w.must(w.CrashBackend(w.ctx, w.Writer(), int(victim.PID())))
	for w.reign().Boot == before.Boot {
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAServerThatRecoversFromACrashGivesTransactionIDsOutAgain(t *testing.T) {
	w := plain(t, -1)
	admin := w.admin(w.Writer())
	// What is not waited for stays in memory for a while.
	admin.run("alter system set wal_writer_delay = '10s'")
	admin.run("alter system set wal_writer_flush_after = 0")
	admin.run("select pg_reload_conf()")
	time.Sleep(300 * time.Millisecond) // the WAL writer's old pause

	var reached, rolledBack, gone doubt
	var reign topology.Reign
	var c *conn
	for tries := 5; ; tries-- {
		c = w.app(w.Writer())
		reached = c.begin()
		c.run("commit")
		rolledBack = c.begin()
		c.run("rollback")
		c.run("insert into t values ('flushes what is before it')")
		before := w.reign()
		c.run("set synchronous_commit = off")
		gone = c.begin()
		c.run("commit")
		w.crashRecovery()
		reign = w.reign()
		if reign.Origin != topology.OriginRecovered || reign.Before != before.Boot || reign.Timeline != before.Timeline {
			t.Fatalf("%+v after %+v", reign, before)
		}
		if c = w.app(w.Writer()); !gone.happened(c) {
			break
		}
		if tries == 0 {
			t.Fatal("commits that nobody waits for are flushed before each crash: nothing is tested here")
		}
	}
	c.useUp(gone.lsn.XID)
	if s := c.status(&gone); s != "committed" {
		t.Fatalf("the id of the lost transaction is %s: nothing is tested here", s)
	}
	w.expect(commit.Committed, reached.lsn, reign)
	w.expect(commit.Aborted, rolledBack.lsn, reign)
	w.expect(commit.Aborted, gone.lsn, reign)
	w.expect(commit.Committed, reached.marker, reign)
	w.expect(commit.Aborted, gone.marker, reign)

	t.Run("a second crash", func(t *testing.T) {
		w.crashRecovery()
		again := w.reign()
		w.expect(commit.Unknown, gone.lsn, again)
		w.expect(commit.Unknown, reached.lsn, again)
		w.expect(commit.Aborted, gone.marker, again)
	})
}

func TestAServerThatOnlyRestartedRemembersEverything(t *testing.T) {
	w := plain(t, -1)
	c := w.app(w.Writer())
	happened := c.begin()
	c.run("commit")
	inFlight := c.begin()
	before := w.reign()
	w.must(w.Restart(w.ctx, w.Writer()))
	reign := w.reign()
	if reign.Origin != topology.OriginRestarted || reign.Before != before.Boot || reign.End != 0 {
		t.Fatalf("%+v after %+v", reign, before)
	}
	w.expect(commit.Committed, happened.lsn, reign)
	w.expect(commit.Aborted, inFlight.lsn, reign)
}

func TestAResetOfStatisticsIsNoRecovery(t *testing.T) {
	w := plain(t, -1)
	w.crashRecovery() // there is an old end of recovery
	recovered := w.reign()
	c := w.app(w.Writer())
	happened := c.begin()
	c.run("commit")
	rolledBack := c.begin()
	c.run("rollback")
	if happened.lsn.LSN <= recovered.End {
		t.Fatal("nothing is tested here")
	}
	w.admin(w.Writer()).run("select pg_stat_reset_shared('bgwriter')")
	// The monitor learns of it at its next login.
	w.admin(w.Writer()).run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
	reign := w.reign()
	for reign.Boot == recovered.Boot {
		time.Sleep(10 * time.Millisecond)
		reign = w.reign()
	}
	if reign.Origin != topology.OriginRestarted {
		t.Fatalf("%+v after %+v", reign, recovered)
	}
	w.expect(commit.Committed, happened.lsn, reign)
	w.expect(commit.Aborted, rolledBack.lsn, reign)
}

func TestALostConnectionIsDecidedByTheServerItself(t *testing.T) {
	w := shared(t)
	c := w.app(w.Writer())
	reign := w.reign()
	happened := c.begin()
	c.run("commit")
	rolledBack := c.begin()
	c.run("rollback")
	w.expect(commit.Committed, happened.lsn, reign)
	w.expect(commit.Aborted, rolledBack.lsn, reign)

	for _, end := range []string{"commit", "rollback"} {
		inFlight := c.begin()
		q := w.app(w.Writer())
		done := make(chan commit.Outcome, 1)
		go func() {
			o, _ := commit.Decide(w.ctx, q, inFlight.lsn, reign)
			done <- o
		}()
		time.Sleep(50 * time.Millisecond)
		select {
		case o := <-done:
			t.Fatalf("%v while it is in progress", o)
		default:
		}
		c.run(end)
		want := commit.Committed
		if end == "rollback" {
			want = commit.Aborted
		}
		if o := <-done; o != want {
			t.Errorf("%v after %s", o, end)
		}
	}
	future := happened.lsn
	future.XID += 1000000
	w.expect(commit.Unknown, future, reign)
	other := happened.lsn
	other.System = "1"
	w.expect(commit.Unknown, other, reign)
	none := happened.lsn
	none.XID = 0
	w.expect(commit.Unknown, none, reign)
}

func TestAConnectionToARunThatNobodyObservedDecidesNothing(t *testing.T) {
	w := plain(t, -1)
	c := w.app(w.Writer())
	happened := c.begin()
	c.run("commit")
	stale := w.reign()
	w.crashRecovery()
	if o, err := commit.Decide(w.ctx, w.app(w.Writer()), happened.lsn, stale); o != commit.Unknown || err == nil {
		t.Errorf("%v, %v", o, err)
	}
}

func TestCommittedMeansDurable(t *testing.T) {
	w := shared(t)
	admin := w.admin(w.Writer())
	admin.run("truncate fairlead.commits")
	reign := w.reign()
	t.Cleanup(func() {
		admin.run("alter system reset synchronous_standby_names")
		admin.run("select pg_reload_conf()")
	})
	admin.run("alter system set synchronous_standby_names = 'nobody'")
	admin.run("select pg_reload_conf()")
	for admin.run("show synchronous_standby_names") != "nobody" {
		time.Sleep(5 * time.Millisecond)
	}
	lost := w.app(w.Writer())
	d := lost.begin()
	done := lost.start("commit")
	for admin.run(fmt.Sprintf("select count(*) from pg_stat_activity where pid = %d and wait_event = 'SyncRep'", lost.PID())) != "1" {
		time.Sleep(5 * time.Millisecond)
	}
	admin.run(fmt.Sprintf("select pg_terminate_backend(%d, 10000)", lost.PID()))
	if err := <-done; err == nil {
		t.Fatal("the commit was answered")
	}
	if !d.happened(admin) {
		t.Fatal("the commit is not visible: nothing is tested here")
	}
	type result struct {
		o   commit.Outcome
		err error
	}
	results := make(chan result, 2)
	for _, e := range []commit.Evidence{d.lsn, d.marker} {
		q := w.app(w.Writer())
		go func() {
			o, err := commit.Decide(w.ctx, q, e, reign)
			results <- result{o, err}
		}()
	}
	for admin.run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'") != "2" {
		select {
		case r := <-results:
			t.Fatalf("%v, %v before the standby has it", r.o, r.err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	admin.run("alter system set synchronous_standby_names = ''")
	admin.run("select pg_reload_conf()")
	for range 2 {
		if r := <-results; r.o != commit.Committed || r.err != nil {
			t.Errorf("%v, %v", r.o, r.err)
		}
	}
	if n := admin.run("select count(*) from fairlead.commits where void"); n != "0" {
		t.Errorf("barriers left %s rows", n)
	}
}

func TestMarkersDecideOnAurora(t *testing.T) {
	w := start(t, rdstest.Config{Readers: 2})
	w.migrate()
	w.admin(w.Writer()).run("create table t (v text); grant all on t to public")
	a := w.app(w.Writer())
	a.run("begin; insert into t values ('x')")
	happened := a.inject(commit.Marker, newKey())
	a.run("commit")
	a.run("begin; insert into t values ('y')")
	inFlight := a.inject(commit.Marker, newKey())
	reign := w.failover()
	if reign.Origin != topology.OriginUnknown {
		t.Errorf("%+v", reign)
	}
	w.expect(commit.Committed, happened, reign)
	w.expect(commit.Aborted, inFlight, reign)
}
