package pooler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fairlead-go/fairlead/internal/mount"
)

// Server is a pooler. It comes from New.
type Server struct {
	cfg      atomic.Pointer[Config]
	accounts atomic.Pointer[accounts]
	log      *slog.Logger
	pools    pools

	mu       sync.Mutex
	clients  map[*client]struct{}
	draining bool
	running  bool
	drained  chan struct{} // closed when draining and there is no client any more

	listeners []net.Listener
	up        chan struct{}        // closed once clients can come
	ending    chan context.Context // of Shutdown; capacity 1
	over      chan struct{}        // closed when Run has returned
}

// New returns a Server that does nothing yet.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	a, err := newAccounts(cfg.Users)
	if err != nil {
		return nil, err
	}
	s := &Server{
		log: cfg.Logger, clients: make(map[*client]struct{}), drained: make(chan struct{}), up: make(chan struct{}),
		ending: make(chan context.Context, 1), over: make(chan struct{}),
		pools: pools{open: make(map[string]*shared)},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.cfg.Store(&cfg)
	s.accounts.Store(a)
	return s, nil
}

// Listen opens the addresses at which clients come in; they wait until Run. Run does it too, if nobody has.
func (s *Server) Listen(ctx context.Context) error {
	for _, l := range s.cfg.Load().Listeners {
		ln, err := listen(ctx, l)
		if err != nil {
			s.unlisten()
			return err
		}
		s.listeners = append(s.listeners, ln)
	}
	close(s.up)
	return nil
}

func (s *Server) unlisten() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// Run serves clients until ctx ends, or Shutdown is called. Then nobody is let in any more; Run returns when the
// transactions that are open are over, or after DrainTimeout. It is called once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.over)
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	cfg := s.cfg.Load()
	own, err := s.pools.take(cfg, cfg.Cluster.Database.Conn.Database)
	if err != nil {
		return err
	}
	defer s.pools.leave(own)
	defer s.unlisten()
	if s.listeners == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var accepting sync.WaitGroup
	for i, ln := range s.listeners {
		accepting.Go(func() { s.accept(ctx, ln, &cfg.Listeners[i]) })
		s.log.Info("listening", "address", ln.Addr().String(), "login", string(cfg.Listeners[i].Login), "mode", string(cfg.Cluster.Mode),
			"pool_size", cfg.Cluster.PoolSize)
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(ctx)
	}()
	var until context.Context
	select {
	case until = <-s.ending:
	case <-ctx.Done():
		var over context.CancelFunc
		until, over = context.WithTimeout(context.Background(), cfg.DrainTimeout)
		defer over()
	}
	cancel()
	s.unlisten()
	accepting.Wait()
	s.drain(until)
	<-watched
	return nil
}

// Shutdown has Run end, and waits for that. Transactions that are open when ctx ends are cut off. Without Run it closes
// what Listen has opened.
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
	<-s.over
}

// Addrs are the addresses at which clients come in, in the order of the Config's listeners. It waits until they do, or ctx
// ends.
func (s *Server) Addrs(ctx context.Context) ([]net.Addr, error) {
	select {
	case <-s.up:
		addrs := make([]net.Addr, len(s.listeners))
		for i, l := range s.listeners {
			addrs[i] = l.Addr()
		}
		return addrs, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Stats is how a Server is doing.
type Stats struct {
	// Clients are those that are connected.
	Clients int
	// Busy are those of them that log in, have something in flight or a transaction open, and LastUse is when one of them
	// last began to wait, for its server or its client; the zero time if there is none.
	Busy    int
	LastUse time.Time
	// Open server connections, those of them that nobody uses, and the sessions that wait for one.
	Open, Idle, Waiting int
	// Borrowed counts how often a session was given a connection, Timeouts how often none became free in time, and Unclean the
	// connections that VerifyClean has found wanting.
	Borrowed, Timeouts, Unclean uint64
}

// Stats is a look at the Server.
func (s *Server) Stats() Stats {
	var st Stats
	for _, c := range s.all() {
		st.Clients++
		since := c.waiting.Load()
		if since >= 0 || !c.mount.Idle() {
			st.Busy++
		}
		if at := time.Unix(0, max(since, -since)); since != 0 && at.After(st.LastUse) {
			st.LastUse = at
		}
	}
	s.pools.mu.Lock()
	defer s.pools.mu.Unlock()
	for _, p := range s.pools.open {
		l := p.pool.Stats()
		st.Open += l.Open
		st.Idle += l.Idle
		st.Waiting += l.Waiting
		st.Borrowed += l.Borrowed
		st.Timeouts += l.Timeouts
		st.Unclean += l.Unclean
	}
	return st
}

// Warm has a connection ready for the first client that comes for the cluster's own database. It makes sense while Run runs.
func (s *Server) Warm(ctx context.Context) error {
	return s.warm(ctx, (*mount.Pool).Warm)
}

// WarmCredentials has the secret or the token ready that the first connection is logged in with, and opens no connection.
func (s *Server) WarmCredentials(ctx context.Context) error {
	return s.warm(ctx, (*mount.Pool).WarmCredentials)
}

func (s *Server) warm(ctx context.Context, how func(*mount.Pool, context.Context) error) error {
	cfg := s.cfg.Load()
	own, err := s.pools.take(cfg, cfg.Cluster.Database.Conn.Database)
	if err != nil {
		return err
	}
	defer s.pools.leave(own)
	if err := how(own.pool, ctx); err != nil {
		return fmt.Errorf("pooler: warm up: %w", err)
	}
	return nil
}

// Rest closes the connections that no session uses. Of a cluster that has no others, nothing is watched either until a session
// needs it. Clients stay.
func (s *Server) Rest() {
	for _, p := range s.pools.all() {
		p.Rest()
	}
}

// Tidy looks at the connections that no session uses, without a word to their servers, and closes those that have ended. It is
// done once a second; who knows that much can have happened at once, such as in a freeze, has it done at once.
func (s *Server) Tidy() {
	for _, p := range s.pools.all() {
		p.Tidy()
	}
}

func listen(ctx context.Context, l Listener) (net.Listener, error) {
	network := "tcp"
	if l.unix() {
		network = "unix"
		if err := clearSocket(l.Address); err != nil {
			return nil, err
		}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, network, l.Address)
	if err != nil {
		return nil, fmt.Errorf("pooler: listen on %s: %w", l.Address, err)
	}
	return ln, nil
}

// clearSocket takes away a socket that a process has left behind that is gone.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil // what is not a socket, listening says
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("pooler: listen on %s: another process does already", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pooler: listen on %s: %w", path, err)
	}
	return nil
}

// accept lets clients in until the listener is closed. What keeps it from that for a while, such as a lack of file
// descriptors, those do not notice who are in.
func (s *Server) accept(ctx context.Context, ln net.Listener, l *Listener) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(0))
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause.Reset()
			c := &client{server: s, listener: l, conn: conn, raw: conn}
			if s.enter(c) {
				go c.serve()
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.log.Warn("no client can be let in", "address", ln.Addr().String(), "error", err)
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// enter counts a client in, if it may come in.
func (s *Server) enter(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		_ = c.conn.Close()
		return false
	}
	c.crowded = len(s.clients) >= s.cfg.Load().MaxClients
	s.clients[c] = struct{}{}
	return true
}

func (s *Server) left(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	if s.draining && len(s.clients) == 0 {
		close(s.drained)
	}
}

// drain ends clients as they become idle, and at the end of ctx all of them.
func (s *Server) drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	if len(s.clients) == 0 {
		close(s.drained)
	}
	s.mu.Unlock()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var leaving sync.WaitGroup
		for _, c := range s.all() {
			c.leaveIfIdle("terminating connection: the pooler is shutting down")
			if c.waiting.Load() > 0 {
				leaving.Go(func() { c.leaveIfGone(0) })
			}
		}
		leaving.Wait()
		select {
		case <-s.drained:
			return
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	rest := s.all()
	s.log.Warn("clients are cut off: their transactions are not over", "clients", len(rest))
	var cutting sync.WaitGroup
	for _, c := range rest {
		cutting.Go(c.abandon)
	}
	cutting.Wait()
	<-s.drained
}

func (s *Server) all() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		list = append(list, c)
	}
	return list
}

// watchInterval is how often clients are looked after.
const watchInterval = time.Second

// watch ends clients that are idle for too long, and work whose client is gone.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			limit := s.cfg.Load().IdleClientTimeout
			for _, c := range s.all() {
				c.look(now, limit)
			}
		}
	}
}

// pools are those of a Server, by database.
type pools struct {
	mu   sync.Mutex
	open map[string]*shared
}

// shared is a pool with those who use it.
type shared struct {
	database string
	pool     *mount.Pool
	users    int
}

func (p *pools) all() []*mount.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*mount.Pool, 0, len(p.open))
	for _, s := range p.open {
		list = append(list, s.pool)
	}
	return list
}

// take returns the pool of a database, which is there until the last one leaves it.
func (p *pools) take(cfg *Config, database string) (*shared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.open[database]; s != nil {
		s.users++
		return s, nil
	}
	m, err := cfg.mount(database)
	if err != nil {
		return nil, err
	}
	pool, err := mount.NewPool(m)
	if err != nil {
		return nil, fmt.Errorf("pooler: pool of %s: %w", database, err)
	}
	if err := pool.Hold(); err != nil {
		return nil, fmt.Errorf("pooler: pool of %s: %w", database, err)
	}
	s := &shared{database: database, pool: pool, users: 1}
	p.open[database] = s
	return s, nil
}

func (p *pools) leave(s *shared) {
	p.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		delete(p.open, s.database)
	}
	p.mu.Unlock()
	if last {
		s.pool.Release()
	}
}

// mount is what sessions with a database need.
func (c *Config) mount(database string) (mount.Config, error) {
	d := c.Cluster.Database.Copy()
	d.Conn.Database = database
	if d.Logger == nil {
		d.Logger = c.Logger
	}
	if d.MeterProvider == nil {
		d.MeterProvider = c.MeterProvider
	}
	m, err := d.Mount()
	if err != nil {
		return m, fmt.Errorf("pooler: %w", err)
	}
	k := c.Cluster
	m.Lending = &mount.Lending{
		Until: k.WaitUntil, Lazy: k.Watch == WatchUsed,
		Max: k.PoolSize, MinIdle: k.MinPoolSize, BorrowTimeout: k.BorrowTimeout, Lifetime: max(0, k.ServerLifetime),
		IdleTimeout: max(0, k.ServerIdleTimeout), Statements: k.Statements, Whole: k.Mode == Session, Verify: k.VerifyClean == VerifyOn,
	}
	return m, nil
}

// Reload takes over what can change while clients are served: users, limits and timeouts of clients. What is about listeners
// and the cluster stays as it was until the next start.
func (s *Server) Reload(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	a, err := newAccounts(cfg.Users)
	if err != nil {
		return err
	}
	now := *s.cfg.Load()
	now.Users, now.MaxClients = cfg.Users, cfg.MaxClients
	now.IdleClientTimeout, now.LoginTimeout = cfg.IdleClientTimeout, cfg.LoginTimeout
	s.accounts.Store(a)
	s.cfg.Store(&now)
	return nil
}
