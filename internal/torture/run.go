package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
)

const (
	// settleTimeout is how long a cluster may take to be as it should be after a fault.
	settleTimeout = 2 * time.Minute
	// recoveryTimeout is how long every worker may take to get an operation done after that.
	recoveryTimeout = opTimeout + 15*time.Second
)

// Run starts a cluster, tortures the driver on it, and takes the cluster down again. An error is one of the run itself;
// what the driver did wrong is in the result.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := Missing(ctx, cfg.Clients...); err != nil {
		return nil, err
	}
	cluster, err := rdstest.New(ctx, rdstest.Config{Flavor: cfg.Flavor, BinDir: cfg.BinDir, Logger: cfg.Logger, RejoinDelay: 800 * time.Millisecond})
	if err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	reader := metric.NewManualReader()
	r := &run{
		meter: metric.NewMeterProvider(metric.WithReader(reader)), cfg: cfg, result: newResult(cfg),
		world: &world{Cluster: cluster, rng: rand.New(rand.NewPCG(cfg.Seed, 1))},
	}
	if r.programs, err = startPrograms(cfg.Clients); err == nil {
		err = r.rounds(ctx)
	}
	for name, p := range r.programs {
		if stopErr := p.stop(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("torture: end client %s: %w", name, stopErr))
		}
	}
	counts, meterErr := verdicts(context.WithoutCancel(ctx), reader)
	if meterErr != nil {
		err = errors.Join(err, fmt.Errorf("torture: read the driver's metrics: %w", meterErr))
	}
	r.result.Verdicts = counts
	if closeErr := cluster.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("torture: stop the cluster: %w", closeErr))
	}
	return r.result, err
}

type run struct {
	cfg      Config
	meter    *metric.MeterProvider
	world    *world
	result   *Result
	faults   atomic.Int64
	programs map[string]*program // by client
	workers  []*worker           // of the round
	deck     []fault             // what is still to come before every fault has had its turn

	mu       sync.Mutex
	believed []Problem // old writers that were taken for the writer
}

func (r *run) rounds(ctx context.Context) error {
	for r.result.Failures < r.cfg.Failures {
		if err := r.round(ctx, min(r.cfg.Round, r.cfg.Failures-r.result.Failures)); err != nil {
			return err
		}
		if r.result.Bad() && !r.cfg.KeepGoing {
			return nil
		}
	}
	return nil
}

// round runs the load under n failures, and audits it.
func (r *run) round(ctx context.Context, n int) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	all, err := openPools(ctx, r.world.Cluster, r.cfg, r.meter, r.watch)
	if err != nil {
		return err
	}
	r.hire(all)
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Go(func() { w.run(loadCtx, stop) })
	}
	err = r.failures(ctx, n)
	close(stop)
	if err != nil {
		cancel()
	}
	wg.Wait()
	for _, w := range r.workers {
		for _, l := range w.lines {
			l.close(ctx)
		}
	}
	for name, p := range r.programs {
		if p.over() {
			err = errors.Join(err, fmt.Errorf("torture: client %s has ended on its own", name))
		}
	}
	if closeErr := all.close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("torture: close the pools: %w", closeErr))
	}
	if err != nil {
		for _, w := range r.workers { // what they were told may be why
			r.result.blame(w.problems)
		}
		return err
	}
	return r.audit(ctx)
}

// watch sees whom the driver takes for the writer. One that was left behind by a failover and does not know must not be it.
func (r *run) watch(e driver.FailoverEvent) {
	for _, in := range r.world.Instances() {
		if (e.New == in.ID() || strings.HasPrefix(e.New, in.ID()+".")) && in.State() == rdstest.Deposed {
			r.mu.Lock()
			r.believed = append(r.believed, Problem{Kind: kindOther, Text: fmt.Sprintf("after fault %d, %s was taken for the writer again, which it was before %s", r.faults.Load(), e.New, e.Old)})
			r.mu.Unlock()
		}
	}
}

func (r *run) prepare(ctx context.Context) error {
	conn, err := r.world.AdminConn(ctx, r.world.Writer())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	statements := append([]string{unschema}, schema...)
	if r.cfg.Mode == driver.ResolutionMarker || r.cfg.Mode == driver.ResolutionAuto {
		statements = append([]string{commit.Migration()}, statements...)
	}
	for _, st := range statements {
		if _, err := conn.Exec(ctx, st); err != nil {
			return fmt.Errorf("torture: make the tables: %w", err)
		}
	}
	return nil
}

// hire makes the workers of a round.
func (r *run) hire(p *pools) {
	var load []operation
	for _, o := range operations {
		if slices.Contains(r.cfg.Load, o.name) {
			load = append(load, o)
		}
	}
	r.workers = nil
	for i := range r.cfg.Workers {
		lines := make(map[string]*line)
		for name, prog := range r.programs {
			lines[name] = &line{program: prog, pooler: p.pooler}
		}
		r.workers = append(r.workers, &worker{
			id: i, last: -1, pools: p, names: r.cfg.Clients, load: load, faults: &r.faults, lines: lines,
			rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(1000*(r.result.Failures+1)+i))),
		})
	}
}

func (r *run) failures(ctx context.Context, n int) error {
	if err := r.recovered(ctx); err != nil {
		return err
	}
	for range n {
		if err := r.world.pause(ctx, 400*time.Millisecond); err != nil {
			return err
		}
		f := r.draw()
		number := int(r.faults.Add(1))
		r.world.note = ""
		r.result.begin(f.name)
		begin := time.Now()
		faultCtx, cancel := context.WithTimeout(ctx, settleTimeout)
		err := f.run(faultCtx, r.world)
		took := time.Since(begin)
		if err == nil {
			err = r.recovered(ctx)
		}
		back := time.Since(begin)
		r.world.pass()
		if err == nil {
			err = r.world.WaitSettled(faultCtx)
		}
		cancel()
		if err != nil {
			return fmt.Errorf("torture: fault %d, %s %s: %w", number, f.name, r.world.note, err)
		}
		r.result.Failures++
		r.progress("%4d %-18s over after %5d ms, all workers back after %5d ms  %s", number, f.name, took.Milliseconds(), back.Milliseconds(), r.world.note)
	}
	return nil
}

// draw chooses faults at random, in a way that none is left out for long.
func (r *run) draw() fault {
	if len(r.deck) == 0 {
		for _, f := range faults {
			if slices.Contains(r.cfg.Faults, f.name) {
				r.deck = append(r.deck, f)
			}
		}
		r.world.rng.Shuffle(len(r.deck), func(i, j int) { r.deck[i], r.deck[j] = r.deck[j], r.deck[i] })
	}
	f := r.deck[0]
	r.deck = r.deck[1:]
	return f
}

// recovered returns when every worker has ended an operation that it began from now on.
func (r *run) recovered(ctx context.Context) error {
	begun := make([]int64, len(r.workers))
	for i, w := range r.workers {
		begun[i] = w.begun.Load()
	}
	deadline := time.Now().Add(recoveryTimeout)
	for i, w := range r.workers {
		for w.ended.Load() <= begun[i] {
			if time.Now().After(deadline) {
				r.stuck(w)
				return fmt.Errorf("worker %d does not go on: it is at %s", w.id, *w.current.Load())
			}
			if err := sleep(ctx, 2*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// stuck writes down where everybody is.
func (r *run) stuck(w *worker) {
	r.progress("worker %d does not go on: it is at %s. All goroutines:", w.id, *w.current.Load())
	_ = pprof.Lookup("goroutine").WriteTo(r.cfg.Progress, 1)
}

func (r *run) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	conn, err := r.world.AdminConn(ctx, r.world.Writer())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	ledgers := make([]*ledger, len(r.workers))
	for i, w := range r.workers {
		ledgers[i] = &w.ledger
	}
	problems, err := audit(ctx, conn, ledgers)
	if err != nil {
		return err
	}
	for _, l := range ledgers {
		r.result.add(l)
	}
	r.result.blame(problems)
	r.mu.Lock()
	r.result.blame(r.believed)
	r.believed = nil
	r.mu.Unlock()
	r.progress("audit: %s", strings.TrimPrefix(r.result.Line(), "torture "))
	return nil
}

func (r *run) progress(format string, args ...any) {
	fmt.Fprintf(r.cfg.Progress, format+"\n", args...)
}
