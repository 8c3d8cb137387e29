package pooler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/mount"
)

// Server is a pooler. It comes from New.
type Server struct {
	cfg    atomic.Pointer[Config]
	logins atomic.Pointer[logins]
	// generation counts the reloads that hold: a client that has seen the same one twice was not met by one between.
	generation atomic.Uint64
	loginKey   []byte // of logins
	log        *slog.Logger
	pools      *pools

	changing  sync.Mutex           // held by who changes what follows
	endpoints []*endpoint          // in the order of the Config's listeners; also guarded by mu; nil: not open yet
	own       []*shared            // pools that are kept for the databases of the clusters' DSNs
	serve     func(*endpoint)      // lets clients in; nil: Run does not
	admin     *admin               // nil: there is none
	retiring  sync.WaitGroup       // admins that are given up
	stopping  chan struct{}        // closed when Run is about to end
	up        chan struct{}        // closed once clients can come
	ending    chan context.Context // of Shutdown; capacity 1
	hurry     chan struct{}        // closed when open transactions are not waited for any more
	hurried   sync.Once            // closes it
	over      chan struct{}        // closed when Run has returned

	leaving sync.WaitGroup // those who end clients

	panics atomic.Uint64 // that were contained
	begun  time.Time
	beaten atomic.Int64 // when the watch last began to go round, since begun; 0: it does not

	mu       sync.Mutex
	clients  map[*client]struct{}
	counts   map[bounded]int // clients
	draining bool
	running  bool
	drained  chan struct{} // closed when draining and there is no client any more
}

// New returns a Server that does nothing yet.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		log: cfg.Logger, clients: make(map[*client]struct{}), counts: make(map[bounded]int), drained: make(chan struct{}),
		up: make(chan struct{}), ending: make(chan context.Context, 1), hurry: make(chan struct{}), over: make(chan struct{}), stopping: make(chan struct{}),
		pools: newPools(&cfg), loginKey: make([]byte, 32), begun: time.Now(),
	}
	s.pools.onPanic = func() { s.panics.Add(1) }
	_, _ = rand.Read(s.loginKey) // never fails
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	l, err := newLogins(&cfg, s.loginKey, s.log)
	if err != nil {
		return nil, err
	}
	s.cfg.Store(&cfg)
	s.logins.Store(l)
	return s, nil
}

// Listen opens the addresses at which clients come in; they wait until Run. Run does it too, if nobody has.
func (s *Server) Listen(ctx context.Context) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.listen(ctx)
}

// listen is Listen. changing is held.
func (s *Server) listen(ctx context.Context) error {
	list, _, err := openFor(ctx, s.cfg.Load(), nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.endpoints = list
	s.mu.Unlock()
	close(s.up)
	return nil
}

// Run serves clients until ctx ends, or Shutdown is called. Then nobody is let in any more; Run returns when the
// transactions that are open are over, or after DrainTimeout. It is called once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.over)
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	var accepting sync.WaitGroup
	defer s.end()
	if err := s.begin(serving, &accepting); err != nil {
		return err
	}
	unmeter, err := s.meter()
	if err != nil {
		return err
	}
	defer unmeter()
	watched := make(chan struct{})
	s.beat()
	go func() {
		defer close(watched)
		defer s.beaten.Store(0)
		contain.Keep(s.log, "watch", func() { s.watch(serving) })
	}()
	var until context.Context
	select {
	case until = <-s.ending:
	case <-ctx.Done():
		var over context.CancelFunc
		until, over = context.WithTimeout(context.Background(), s.cfg.Load().DrainTimeout)
		defer over()
	}
	ending := time.Now()
	bound := "none"
	if at, ok := until.Deadline(); ok {
		bound = time.Until(at).Round(time.Millisecond).String()
	}
	s.log.Info("the pooler shuts down: no client is let in any more, and open transactions are waited for", "clients", len(s.all()), "drain_timeout", bound)
	close(s.stopping)
	cancel()
	s.unlisten()
	accepting.Wait()
	s.drain(until)
	<-watched
	within(cutTime, &s.leaving)
	s.log.Info("the pooler has shut down", "took", time.Since(ending).Round(time.Millisecond))
	return nil
}

// begin lets clients in.
func (s *Server) begin(ctx context.Context, accepting *sync.WaitGroup) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	cfg := s.cfg.Load()
	var err error
	if s.own, err = s.hold(cfg); err != nil {
		return err
	}
	if s.admin, err = s.openAdmin(ctx, cfg.Admin); err != nil {
		return err
	}
	if s.endpoints == nil {
		if err := s.listen(ctx); err != nil {
			return err
		}
	}
	s.serve = func(e *endpoint) {
		l := e.settings.Load()
		s.log.Info("listening", "address", e.Addr().String(), "login", string(l.Login), "mode", string(l.Mode), "cluster", l.Cluster,
			"target_role", string(l.TargetRole))
		accepting.Go(func() { s.accept(ctx, e) })
	}
	for _, e := range s.endpoints {
		s.serve(e)
	}
	return nil
}

// hold takes the pools of the clusters' own databases, so that the clusters are watched though no client is there.
func (s *Server) hold(cfg *Config) (own []*shared, err error) {
	held := make(map[poolKey]bool)
	for i := range cfg.Listeners {
		key := cfg.ownKey(&cfg.Listeners[i])
		if held[key] {
			continue
		}
		held[key] = true
		p, err := s.pools.take(key)
		if err != nil {
			s.leave(own)
			return nil, err
		}
		own = append(own, p)
	}
	return own, nil
}

func (s *Server) leave(own []*shared) {
	for _, p := range own {
		s.pools.leave(p)
	}
}

// unlisten lets nobody in any more.
func (s *Server) unlisten() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.serve = nil
	closeAll(s.endpoints)
}

// end is the rest of unlisten, once the clients are gone.
func (s *Server) end() {
	s.unlisten()
	s.changing.Lock()
	defer s.changing.Unlock()
	s.leave(s.own)
	s.own = nil
	s.logins.Load().leave()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.admin.close(ctx)
	s.admin = nil
	s.retiring.Wait()
}

// Shutdown has Run end, and waits for that. Transactions that are open when ctx ends are cut off, also if Run ends already: a second
// Shutdown, with a context that has ended, ends the wait for them at once. Without Run it closes what Listen has opened.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if !running {
		s.unlisten()
		return
	}
	select {
	case s.ending <- ctx:
	default: // it ends already
	}
	select {
	case <-s.over:
	case <-ctx.Done():
		s.hurried.Do(func() { close(s.hurry) })
		<-s.over
	}
}

// Addrs are the addresses at which clients come in, in the order of the Config's listeners. It waits until they do, or ctx
// ends.
func (s *Server) Addrs(ctx context.Context) ([]net.Addr, error) {
	select {
	case <-s.up:
		s.mu.Lock()
		defer s.mu.Unlock()
		addrs := make([]net.Addr, len(s.endpoints))
		for i, e := range s.endpoints {
			addrs[i] = e.Addr()
		}
		return addrs, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Warm has a connection ready for the first client of each listener that comes for its cluster's own database. It makes sense
// while Run runs.
func (s *Server) Warm(ctx context.Context) error {
	return s.warm(ctx, (*mount.Pool).Warm)
}

// WarmCredentials has the secret or the token ready that the first connection is logged in with, and opens no connection.
func (s *Server) WarmCredentials(ctx context.Context) error {
	return s.warm(ctx, (*mount.Pool).WarmCredentials)
}

func (s *Server) warm(ctx context.Context, how func(*mount.Pool, context.Context) error) error {
	own, err := s.hold(s.cfg.Load())
	if err != nil {
		return err
	}
	defer s.leave(own)
	var errs []error
	for _, p := range own {
		if err := how(p.pool, ctx); err != nil {
			errs = append(errs, fmt.Errorf("pooler: warm up %s: %w", p.key.cluster, err))
		}
	}
	return errors.Join(errs...)
}

// Rest closes the connections that no session uses. Of a cluster that has no others, nothing is watched either until a session
// needs it. Clients stay.
func (s *Server) Rest() {
	for _, p := range s.pools.list() {
		p.pool.Rest()
	}
}

// Tidy looks at the connections that no session uses, without a word to their servers, and closes those that have ended. It is
// done once a second; who knows that much can have happened at once, such as in a freeze, has it done at once. Those that are left are
// asked whether they are there before they are used again.
func (s *Server) Tidy() {
	for _, p := range s.pools.list() {
		p.pool.Tidy()
		p.pool.Recheck()
	}
}
