package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
)

// grace is how long operations may go on after the load was told to stop.
const grace = time.Second

// Run starts a cluster, races the contestants on it, and takes the cluster down again. It returns early, with nothing left
// behind, when ctx ends.
func Run(ctx context.Context, cfg Config, obs Observer) (*Result, error) {
	begin := time.Now()
	r := &run{cfg: cfg.withDefaults(), obs: &oneAtATime{obs: obs}}
	r.step("starting PostgreSQL: one writer and two readers")
	cluster, err := rdstest.New(ctx, r.cfg.cluster())
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	r.cluster = cluster
	result, err := r.race(ctx)
	if closeErr := cluster.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("demo: stop the cluster: %w", closeErr))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	result.Took = time.Since(begin)
	return result, nil
}

type run struct {
	cfg      Config
	obs      Observer
	cluster  *rdstest.Cluster
	loads    []*load
	began    time.Time
	failures []Failure
}

func (r *run) race(ctx context.Context) (*Result, error) {
	r.step("ready: %s is the writer, %s", r.cluster.Writer().ID(), readers(r.cluster))
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	err := r.underLoad(ctx)
	closeErr := r.closeAll()
	if err := errors.Join(err, closeErr); err != nil {
		return nil, err
	}
	r.step("comparing what the callers were told with what is in the tables")
	return r.judge(ctx)
}

// prepare makes the tables and opens the contestants.
func (r *run) prepare(ctx context.Context) error {
	conn, err := connect(ctx, r.cluster, r.cluster.Writer())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// The markers are for fairlead; the others do not know of them.
	for _, stmt := range slices.Concat(schema, []string{commit.Migration()}) {
		if _, err := conn.Exec(ctx, stmt); err != nil {
			return fmt.Errorf("demo: prepare the tables: %w", err)
		}
	}
	for _, e := range entries {
		if _, err := conn.Exec(ctx, addCounters, e.name, r.cfg.Workers); err != nil {
			return fmt.Errorf("demo: prepare the tables: %w", err)
		}
		db, err := e.open(r.cluster)
		if err != nil {
			return errors.Join(err, r.closeAll())
		}
		db.SetMaxOpenConns(r.cfg.Workers)
		db.SetMaxIdleConns(r.cfg.Workers)
		l := &load{entry: e, db: db, workers: r.cfg.Workers, pace: r.cfg.Pace, opTimeout: r.cfg.OpTimeout}
		l.meter.init(r.cfg.Workers)
		r.loads = append(r.loads, l)
		if err := db.PingContext(ctx); err != nil {
			return errors.Join(fmt.Errorf("demo: %s cannot connect: %w", e.name, err), r.closeAll())
		}
	}
	return nil
}

// underLoad runs all loads from before the first failure to after the last.
func (r *run) underLoad(ctx context.Context) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	var loads, sampler sync.WaitGroup
	r.began = time.Now()
	for _, l := range r.loads {
		l.began = r.began
		loads.Go(func() { l.run(loadCtx, stop) })
	}
	sampler.Go(func() { r.sample(stop) })
	r.step("load: %d drivers, %d workers each, one operation each %s", len(r.loads), r.cfg.Workers, r.cfg.Pace)

	err := r.failTwice(ctx)
	close(stop)
	timer := time.AfterFunc(grace, cancel)
	loads.Wait()
	timer.Stop()
	sampler.Wait()
	return err
}

func (r *run) failTwice(ctx context.Context) error {
	if err := wait(ctx, r.cfg.Settle); err != nil {
		return err
	}
	if err := r.fail(ctx, "killed", "killing %s, the writer: SIGKILL to all its processes", r.cluster.Crash); err != nil {
		return err
	}
	if err := r.cluster.WaitSettled(ctx); err != nil {
		return fmt.Errorf("demo: wait for the readers: %w", err)
	}
	return r.fail(ctx, "frozen", "freezing %s, the writer: its connections stay open, and nothing comes", r.cluster.Freeze)
}

// fail takes the writer away, has the next one take over, and waits until the contestants have recovered.
func (r *run) fail(ctx context.Context, name, text string, act func(context.Context, *rdstest.Instance) error) error {
	old := r.cluster.Writer()
	r.step(text, old.ID())
	f := Failure{Name: name, At: time.Since(r.began), Old: old.ID()}
	if err := act(ctx, old); err != nil {
		return fmt.Errorf("demo: the writer is to be %s: %w", name, err)
	}
	f.Gone = time.Since(r.began)
	now, err := r.cluster.Failover(ctx)
	if err != nil {
		return fmt.Errorf("demo: failover after the writer was %s: %w", name, err)
	}
	f.Accepting, f.New = time.Since(r.began), now.ID()
	r.failures = append(r.failures, f)
	r.step("%s takes writes, %s after %s was %s", now.ID(), short(f.Accepting-f.At), old.ID(), name)
	if err := r.recovery(ctx, f); err != nil {
		return err
	}
	return wait(ctx, r.cfg.Settle)
}

// recovery returns when every worker has written again, or patience is at its end.
func (r *run) recovery(ctx context.Context, f Failure) error {
	deadline := time.Now().Add(r.cfg.patience())
	back := make([]bool, len(r.loads))
	for left := len(r.loads); left > 0 && time.Now().Before(deadline); {
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return err
		}
		for i, l := range r.loads {
			if !back[i] && l.meter.back(f.Gone) {
				back[i] = true
				left--
				r.step("%s: all workers write again, after %s", l.name, short(time.Since(r.began)-f.At))
			}
		}
	}
	for i, l := range r.loads {
		if !back[i] {
			r.step("%s: not all workers write again; going on", l.name)
		}
	}
	return nil
}

func (r *run) sample(stop <-chan struct{}) {
	tick := time.NewTicker(SampleInterval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		s := Sample{At: time.Since(r.began)}
		for _, l := range r.loads {
			s.Contestants = append(s.Contestants, l.meter.standing(l.name, s.At))
		}
		r.obs.Sample(s)
	}
}

// closeAll closes at the same time, since a pool whose connections hang takes seconds.
func (r *run) closeAll() error {
	errs := make([]error, len(r.loads))
	var wg sync.WaitGroup
	for i, l := range r.loads {
		wg.Go(func() {
			if err := l.db.Close(); err != nil {
				errs[i] = fmt.Errorf("demo: close %s: %w", l.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// judge reads the tables and fills in the result.
func (r *run) judge(ctx context.Context) (*Result, error) {
	conn, err := connect(ctx, r.cluster, r.cluster.Writer())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if err := endOthers(ctx, conn); err != nil {
		return nil, err
	}
	result := &Result{
		Failures: r.failures, Workers: r.cfg.Workers, StaleDNS: r.cfg.StaleDNS, OpTimeout: r.cfg.OpTimeout,
	}
	all := make([][]Op, len(r.loads))
	for i, l := range r.loads {
		all[i] = l.ops()
		stored, err := readStored(ctx, conn, l.name)
		if err != nil {
			return nil, err
		}
		tally, err := Audit(all[i], stored)
		if err != nil {
			return nil, fmt.Errorf("%w (driver %s)", err, l.name)
		}
		result.Contestants = append(result.Contestants, Contestant{
			Name: l.name, What: l.what, Tally: tally, Latency: measureLatency(all[i]), Causes: l.causes(),
		})
	}
	result.addOutages(all, endOf(all))
	return result, nil
}

// endOthers waits until no other session of ours is left, and ends those that stay: what they were sent must have happened
// or not before it is counted.
func endOthers(ctx context.Context, conn *pgx.Conn) error {
	const others = `from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()`
	for i := 0; ; i++ {
		what := "count(*)"
		if i > 100 {
			what = "count(pg_terminate_backend(pid))"
		}
		var n int
		if err := conn.QueryRow(ctx, "select "+what+" "+others).Scan(&n); err != nil {
			return fmt.Errorf("demo: wait for the end of all sessions: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func readStored(ctx context.Context, conn *pgx.Conn, name string) (Stored, error) {
	s := Stored{Rows: make(map[ID]int), Counters: make(map[int]int)}
	var id ID
	var n int
	rows, err := conn.Query(ctx, readWrites, name)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&id.Worker, &id.Seq, &n}, func() error { s.Rows[id] = n; return nil })
	}
	if err != nil {
		return s, fmt.Errorf("demo: read the writes of %s: %w", name, err)
	}
	rows, err = conn.Query(ctx, readCounters, name)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&id.Worker, &n}, func() error { s.Counters[id.Worker] = n; return nil })
	}
	if err != nil {
		return s, fmt.Errorf("demo: read the counters of %s: %w", name, err)
	}
	return s, nil
}

func (r *run) step(format string, args ...any) { r.obs.Step(fmt.Sprintf(format, args...)) }

func readers(c *rdstest.Cluster) string {
	var ids []string
	for _, in := range c.Readers() {
		ids = append(ids, in.ID())
	}
	return strings.Join(ids, " and ") + " are readers"
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// oneAtATime keeps the promise of Observer.
type oneAtATime struct {
	mu  sync.Mutex
	obs Observer
}

func (o *oneAtATime) Step(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.obs.Step(text)
}

func (o *oneAtATime) Sample(s Sample) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.obs.Sample(s)
}
