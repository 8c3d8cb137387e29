package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a scripted cluster behind a Prober.
type world struct {
	mu      sync.Mutex
	servers map[string]*server
	latency time.Duration
	refuse  error // what logins get, if set
	open    int
	opened  int
	probes  int
}

type server struct {
	Report
	id     string
	down   bool
	frozen chan struct{} // closed at the thaw; nil: not frozen
	deny   error         // what its logins get, if set
	run    int           // connections of an older run are dead
}

func newWorld(servers ...*server) *world {
	w := &world{servers: make(map[string]*server), latency: time.Millisecond}
	for _, s := range servers {
		w.servers[s.id] = s
	}
	return w
}

// plain makes n servers of streaming replication, the first of them the writer.
func plain(n int) *world {
	var all []*server
	for i := range n {
		s := &server{id: fmt.Sprintf("10.0.0.%d:5432", i+1)}
		s.Report = Report{Kind: KindReplication, Boot: fmt.Sprint("boot-", i+1), SystemID: "sys", InRecovery: i > 0}
		if i == 0 {
			s.Timeline = 1
		}
		all = append(all, s)
	}
	return newWorld(all...)
}

func (w *world) seeds() (eps []Endpoint) {
	for i := range len(w.servers) {
		eps = append(eps, Endpoint{Host: fmt.Sprintf("10.0.0.%d", i+1), Port: 5432})
	}
	return eps
}

// id names the n-th server, from 1.
func (w *world) id(n int) string { return fmt.Sprintf("10.0.0.%d:5432", n) }

func (w *world) change(n int, f func(*server)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.servers[w.id(n)])
}

func (w *world) crash(n int) { w.change(n, func(s *server) { s.down = true; s.run++ }) }

func (w *world) restart(n int) {
	w.change(n, func(s *server) { s.down = false; s.run++; s.Boot += "+" })
}

func (w *world) freeze(n int) { w.change(n, func(s *server) { s.frozen = make(chan struct{}) }) }

func (w *world) thaw(n int) { w.change(n, func(s *server) { close(s.frozen); s.frozen = nil }) }

func (w *world) promote(n int, timeline uint32) {
	w.change(n, func(s *server) { s.InRecovery, s.Timeline = false, timeline })
}

// reach waits for the latency, and while the server is frozen.
func (w *world) reach(ctx context.Context, s *server, run int) error {
	for _, wait := range []bool{true, false} {
		w.mu.Lock()
		frozen, down, old, latency := s.frozen, s.down, run >= 0 && run != s.run, w.latency
		w.mu.Unlock()
		switch {
		case down:
			return fmt.Errorf("dial %s: %w", s.id, syscall.ECONNREFUSED)
		case old:
			return fmt.Errorf("read from %s: %w", s.id, syscall.ECONNRESET)
		case frozen != nil:
			select {
			case <-frozen:
			case <-ctx.Done():
				return ctx.Err()
			}
		case wait:
			select {
			case <-time.After(latency):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (w *world) Open(ctx context.Context, ep Endpoint, _ []netip.Addr) (Session, error) {
	w.mu.Lock()
	s := w.servers[ep.String()]
	w.opened++
	w.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("dial %v: %w", ep, syscall.EHOSTUNREACH)
	}
	if err := w.reach(ctx, s, -1); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.deny != nil {
		return nil, s.deny
	}
	if w.refuse != nil {
		return nil, &LoginRefusedError{Err: w.refuse}
	}
	w.open++
	return &conn{w: w, s: s, run: s.run}, nil
}

type conn struct {
	w   *world
	s   *server
	run int
}

func (c *conn) Probe(ctx context.Context) (Report, error) {
	if err := c.w.reach(ctx, c.s, c.run); err != nil {
		return Report{}, err
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.probes++
	return c.s.Report, nil
}

func (c *conn) Close() error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.open--
	return nil
}

func (w *world) counts() (open, opened, probes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open, w.opened, w.probes
}

// watch makes a cluster of a world and attaches to it until the test's end.
func watch(t *testing.T, w *world, change func(*Config)) *Cluster {
	t.Helper()
	cfg := Config{Name: "app", Seeds: w.seeds(), Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Attach(w))
	return c
}

// pick fails the test if there is no such instance within a time.
func pick(t *testing.T, c *Cluster, want Want, after Ticket, within time.Duration) (Instance, *Snapshot) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	in, s, err := c.Pick(ctx, want, after)
	if err != nil {
		t.Fatal(err)
	}
	return in, s
}

// bubble runs a test whose clock goes on by itself.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// logbook keeps what is logged.
type logbook struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) count(s string) int { return strings.Count(l.String(), s) }

var errGone = errors.New("connection reset")
