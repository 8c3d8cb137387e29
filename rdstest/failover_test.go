package rdstest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// load inserts rows on whatever the writer is, and remembers which were acknowledged.
type load struct {
	c     *rdstest.Cluster
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	acked atomic.Int64

	mu  sync.Mutex
	ids []string
}

func startLoad(t *testing.T, c *rdstest.Cluster, workers int) *load {
	t.Helper()
	execute(t, connect(t, c, c.DSN()), "create table t (id text primary key)")
	l := &load{c: c, stop: make(chan struct{})}
	t.Cleanup(l.end)
	for w := range workers {
		l.wg.Go(func() { l.work(w) })
	}
	return l
}

func (l *load) work(worker int) {
	for seq := 0; ; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := dial(ctx, l.c, l.c.InstanceDSN(l.c.Writer()))
		cancel()
		for err == nil {
			id := fmt.Sprintf("%d-%d", worker, seq)
			seq++
			// A statement that hangs is given up: whether it was done does not matter here.
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			if _, err = conn.Exec(ctx, "insert into t values ($1)", id); err == nil {
				l.mu.Lock()
				l.ids = append(l.ids, id)
				l.mu.Unlock()
				l.acked.Add(1)
			}
			cancel()
			select {
			case <-l.stop:
				err = context.Canceled
			default:
			}
		}
		if conn != nil {
			// pgx takes its time to leave a server that does not answer; the end of the cluster ends that too.
			_ = conn.PgConn().Conn().Close()
		}
		select {
		case <-l.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// progress waits until the load goes on.
func (l *load) progress(t *testing.T) {
	t.Helper()
	from := l.acked.Load()
	eventually(t, "the load goes on", func() bool { return l.acked.Load() > from+50 })
}

// end is not before all workers have ended.
func (l *load) end() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

// verify ends the load and looks for what was acknowledged.
func (l *load) verify(t *testing.T) {
	t.Helper()
	l.end()
	conn := connect(t, l.c, l.c.InstanceDSN(l.c.Writer()))
	var lost []string
	must(t, conn.QueryRow(testContext(t), "select array(select unnest($1::text[]) except select id from t)", l.ids).Scan(&lost))
	if len(lost) > 0 {
		t.Errorf("%d of %d acknowledged rows are lost, %s among them", len(lost), len(l.ids), lost[0])
	}
}

func TestNoAcknowledgedCommitIsLost(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication})
	ctx := testContext(t)
	l := startLoad(t, c, 4)
	acts := map[string]func(*rdstest.Instance) error{
		"crash":     func(in *rdstest.Instance) error { return c.Crash(ctx, in) },
		"freeze":    func(in *rdstest.Instance) error { return c.Freeze(ctx, in) },
		"partition": func(in *rdstest.Instance) error { return c.Partition(ctx, in) },
		"nothing":   func(in *rdstest.Instance) error { return nil },
	}
	for _, name := range []string{"crash", "freeze", "partition", "nothing"} {
		l.progress(t)
		old := c.Writer()
		must(t, acts[name](old))
		next, err := c.Failover(ctx)
		must(t, err)
		// The one that has just taken over dies too, while the first one is not back yet.
		must(t, c.Crash(ctx, next))
		last, err := c.Failover(ctx)
		must(t, err)
		if old == next || next == last || last == old {
			t.Errorf("%s: from %s to %s to %s", name, old, next, last)
		}
		l.progress(t)
		_ = c.Thaw(ctx, old)
		_ = c.Heal(ctx, old)
		must(t, c.WaitSettled(ctx))
	}
	l.progress(t)
	_, err := c.Switchover(ctx)
	must(t, err)
	l.progress(t)
	must(t, c.WaitSettled(ctx))
	l.verify(t)
}

func TestAnOldWriterComesBackAsAReader(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1})
	ctx := testContext(t)
	first := c.Writer()
	for round := range 2 {
		old := c.Writer()
		must(t, c.Crash(ctx, old))
		next, err := c.Failover(ctx)
		must(t, err)
		conn := connect(t, c, c.InstanceDSN(next))
		// There is no reader, and commits do not wait for one.
		execute(t, conn, fmt.Sprintf("create table t%d as select %d as a", round, round))
		must(t, c.WaitSettled(ctx))
		if got, want := ask(t, conn, "show synchronous_standby_names"), fmt.Sprintf(`ANY 1 ("%s")`, old.ID()); got != want {
			t.Errorf("commits wait for %s, want %s", got, want)
		}
		reader := connect(t, c, c.InstanceDSN(old))
		if got := ask(t, reader, fmt.Sprintf("select a || ' ' || pg_is_in_recovery() from t%d", round)); got != fmt.Sprintf("%d true", round) {
			t.Errorf("the old writer has %s", got)
		}
	}
	if c.Writer() != first {
		t.Errorf("after two failovers %s is the writer", c.Writer())
	}
}

func TestAWriterThatNobodyCanFollowIsRestarted(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	execute(t, connect(t, c, c.DSN()), "create table t as select 1 as a")
	for _, act := range []func() error{
		func() error { return nil },
		func() error { return c.Crash(ctx, c.Writer()) },
		func() error { return c.Freeze(ctx, c.Writer()) },
		func() error { return c.Partition(ctx, c.Writer()) },
	} {
		must(t, act())
		w, err := c.Failover(ctx)
		must(t, err)
		if got := ask(t, connect(t, c, c.InstanceDSN(w)), "select a from t"); got != "1" {
			t.Errorf("the table has %s", got)
		}
	}
	must(t, c.WaitSettled(ctx))
}

func TestAReaderThatCannotFollowIsCopiedAnew(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, RejoinDelay: -1})
	// Time enough to be taken for a good one: what it asks for of the old timeline, it gets.
	c.SetStuckAfter(3 * time.Second)
	ctx := testContext(t)
	conn := connect(t, c, c.DSN())
	execute(t, conn, "create table t (a int)")
	must(t, c.WaitSettled(ctx))
	// One reader gets ahead of the other, which the cluster does not let happen by itself, and then misses a failover.
	behind, ahead := c.Readers()[0], c.Readers()[1]
	behind.Uplink().Silence(front.Hold)
	execute(t, conn, "insert into t values (1)")
	must(t, c.Freeze(ctx, ahead))
	next, err := c.Failover(ctx)
	must(t, err)
	if next != behind {
		t.Fatalf("%s took over", next)
	}
	must(t, c.WaitSettled(ctx))
	must(t, c.Thaw(ctx, ahead))
	must(t, c.WaitSettled(ctx))
	for _, in := range c.Instances() {
		if got := ask(t, connect(t, c, c.InstanceDSN(in)), "select count(*) from t"); got != "0" {
			t.Errorf("%s has %s rows", in, got)
		}
	}
}

func TestTheReaderThatHasGotFurthestTakesOver(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication})
	ctx := testContext(t)
	conn := connect(t, c, c.DSN())
	execute(t, conn, "create table t (a int)")
	must(t, c.WaitSettled(ctx))
	behind, ahead := c.Readers()[0], c.Readers()[1]
	behind.Uplink().Silence(front.Hold)
	execute(t, conn, "insert into t values (1)")
	must(t, c.Crash(ctx, c.Writer()))
	done := make(chan error, 1)
	go func() {
		_, err := c.Failover(ctx)
		done <- err
	}()
	// It gets no further before it has another writer to follow.
	eventually(t, "there is another writer", func() bool { return c.Writer().ID() != "app-1" })
	behind.Uplink().Pass()
	must(t, <-done)
	if c.Writer() != ahead {
		t.Errorf("%s took over, and %s has got further", c.Writer(), ahead)
	}
	must(t, c.WaitSettled(ctx))
	if got := ask(t, connect(t, c, c.InstanceDSN(behind)), "select count(*) from t"); got != "1" {
		t.Errorf("%s has %s rows", behind, got)
	}
}
