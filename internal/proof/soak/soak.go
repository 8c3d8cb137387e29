package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
)

// Config says what Run does. The zero value of each field stands for its default.
type Config struct {
	// Duration is how long the attacks go on. Default 10 s.
	Duration time.Duration
	// Honest is the number of honest clients. Default 6.
	Honest int
	// Attackers is the number of attackers for each kind of attack. Default 2.
	Attackers int
	// Attacks are the kinds of attack by name. Default: all of Attacks.
	Attacks []string
	// PoolSize is the pooler's number of server connections. Default 30.
	PoolSize int
	// Seed repeats the choices of another run. Default: of the time.
	Seed uint64
	// Progress gets a line now and then; nil: nothing.
	Progress io.Writer
	// Logger gets the pooler's log; nil: nothing.
	Logger *slog.Logger
	// Serve is the command line that runs Serve in a process of its own.
	Serve []string
}

func (cfg Config) withDefaults() Config {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	if cfg.Duration == 0 {
		cfg.Duration = 10 * time.Second
	}
	set(&cfg.Honest, 6)
	set(&cfg.Attackers, 2)
	set(&cfg.PoolSize, 30)
	if cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	if len(cfg.Attacks) == 0 {
		cfg.Attacks = Attacks()
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	return cfg
}

// Timeouts of the pooler that is attacked. They are short, so that a run of seconds meets them many times.
const (
	idleTransaction = 2 * time.Second
	queryTimeout    = 2 * time.Second
	loginTimeout    = 2 * time.Second
	borrowTimeout   = 60 * time.Second
)

// settle bounds how long the pooler may take to be as it was before the attacks.
const settle = 30 * time.Second

// run is a Run in progress.
type run struct {
	cfg     Config
	cluster *rdstest.Cluster
	pooler  *process
	began   time.Time
	over    chan struct{} // closed when the attacks are to end

	attacks map[string]*atomic.Uint64 // attempts, by kind
	ops     atomic.Uint64
	mu      sync.Mutex
	failed  []string // what honest clients saw that they must not
	slowest time.Duration
	samples []Sample
}

// Run attacks a pooler and returns what came of it. The error says why there is no result, not what is wrong with it: see
// Result.Problems.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg = cfg.withDefaults()
	cluster, err := rdstest.New(ctx, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	if err != nil {
		return nil, fmt.Errorf("soak: %w", err)
	}
	r := &run{cfg: cfg, cluster: cluster, over: make(chan struct{}), attacks: make(map[string]*atomic.Uint64)}
	for _, name := range cfg.Attacks {
		if attacks[name] == nil {
			return nil, errors.Join(fmt.Errorf("soak: unknown attack %q", name), cluster.Close())
		}
		r.attacks[name] = new(atomic.Uint64)
	}
	result, err := r.run(ctx)
	return result, errors.Join(err, cluster.Close())
}

func (r *run) run(ctx context.Context) (result *Result, err error) {
	if err := r.schema(ctx); err != nil {
		return nil, err
	}
	r.pooler, err = startProcess(ctx, r.cfg, r.cluster.AddressDSN())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.pooler.stop()) }()
	r.began = time.Now()
	honest, stopHonest := r.start(ctx)
	sampling := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		r.sample(ctx, sampling)
	}()
	before, err := r.quiet(ctx)
	if err == nil {
		r.attack(ctx)
	}
	after, err2 := r.quiet(ctx)
	stopHonest()
	honest.Wait()
	close(sampling)
	<-sampled
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	return r.result(before, after), nil
}

// schema makes what the clients work on.
func (r *run) schema(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, r.cluster.AddressDSN())
	if err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, `
		create table account (id int primary key, owner int not null, amount bigint not null);
		insert into account select n, n / 2, 1000 from generate_series(0, 63) n;
		create table heap (id bigserial primary key, note text);
		create table loot (t text)`)
	if err != nil {
		return fmt.Errorf("soak: create the schema: %w", err)
	}
	return nil
}

// start begins the honest clients; they work until stop.
func (r *run) start(ctx context.Context) (clients *sync.WaitGroup, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	clients = new(sync.WaitGroup)
	for i := range r.cfg.Honest {
		clients.Go(func() { r.honest(ctx, i) })
	}
	return clients, stop
}

// attack runs all attackers for as long as the Config says, and waits until they have left.
func (r *run) attack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Duration)
	defer cancel()
	var attackers sync.WaitGroup
	for k, name := range r.cfg.Attacks {
		for i := range r.cfg.Attackers {
			a := &attacker{run: r, address: r.pooler.address, random: rand.New(rand.NewPCG(r.cfg.Seed, uint64(k)<<32|uint64(i)))}
			attackers.Go(func() {
				for ctx.Err() == nil {
					a.once(ctx, attacks[name])
					r.attacks[name].Add(1)
				}
			})
		}
	}
	attackers.Wait()
}

// quiet waits until the pooler serves honest clients alone, and returns what its process holds then.
func (r *run) quiet(ctx context.Context) (Sample, error) {
	deadline := time.Now().Add(settle)
	for {
		s, err := r.pooler.look(ctx, true)
		if err != nil {
			return s, err
		}
		if s.Clients <= r.cfg.Honest && s.Waiting == 0 && s.Open <= r.cfg.PoolSize {
			return s, nil
		}
		if time.Now().After(deadline) {
			r.wrong("%d clients of %d honest ones, %d waiting and %d connections %s after the attacks", s.Clients, r.cfg.Honest, s.Waiting, s.Open, settle)
			return s, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sample looks at the pooler's process until done is closed.
func (r *run) sample(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(max(r.cfg.Duration/600, 100*time.Millisecond))
	defer tick.Stop()
	last, said := uint64(0), time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		s, err := r.pooler.look(ctx, false)
		if err != nil {
			r.wrong("the pooler does not say how it is: %v", err)
			continue
		}
		s.At = time.Since(r.began)
		ops := r.ops.Load()
		s.Ops, last = ops-last, ops
		r.mu.Lock()
		s.Slowest, r.slowest = r.slowest, 0
		s.Failed = len(r.failed)
		r.samples = append(r.samples, s)
		r.mu.Unlock()
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			fmt.Fprintf(r.cfg.Progress, "%5.0f s  %d operations, %d failed; %d clients, %d of them waiting, %d server connections, %d of them pinned, %d goroutines, RSS %d MB\n",
				s.At.Seconds(), ops, s.Failed, s.Clients, s.Waiting, s.Open, s.Pinned, s.Goroutines, s.RSS>>20)
		}
	}
}

// wrong notes what must not have happened.
func (r *run) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf("%.1f s: ", time.Since(r.began).Seconds())+fmt.Sprintf(format, args...))
}
