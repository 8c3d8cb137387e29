package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where a Front listens and what is behind it. Network, Address and Dial are required.
type Config struct {
	// Network and Address are where clients find the front: "tcp" and "127.3.1.2:5440", or "unix" and a path. Port 0
	// takes a free one, and keeps it while connections are refused.
	Network, Address string

	// Dial reaches the server. It is called once for each client, and its context ends when that connection does. It
	// should give a bare socket, which knows resets and half-closes; TLS does not survive that a silence interrupts it.
	Dial func(ctx context.Context) (net.Conn, error)

	// TLS is what clients that ask for TLS are served with; it ends in the front, which is how a cut sees messages. Direct
	// TLS (sslnegotiation=direct) is accepted as well. With nil, a request for TLS is answered with 'N'.
	TLS *tls.Config

	// Guard says who authenticates a client; nil: always the server.
	Guard Guard

	// Logger is told at level Debug what the front does to its connections. Nil: none.
	Logger *slog.Logger
}

// Front relays connections until Close. It is safe for concurrent use.
type Front struct {
	cfg    Config
	log    *slog.Logger
	tls    *tls.Config     // nil: clients get none
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // one for each link

	// op is held by whoever changes what the network does, so that such changes come one after the other.
	op   sync.Mutex
	door *door // guarded by op

	weather atomic.Pointer[weather]
	delay   atomic.Int64 // a time.Duration
	cuts    cuts

	mu     sync.Mutex
	links  map[*link]struct{}
	nextID int
	closed bool
}

// Listen starts a front in its normal state: everything passes.
func Listen(cfg Config) (*Front, error) {
	if cfg.Dial == nil {
		return nil, errors.New("front: Config.Dial is nil")
	}
	f := &Front{cfg: cfg, log: cfg.Logger, tls: serverTLS(cfg.TLS), links: make(map[*link]struct{})}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.weather.Store(newWeather(0))
	d, err := openDoor(cfg.Network, cfg.Address, f.admit)
	if err != nil {
		return nil, fmt.Errorf("front: listen on %s %s: %w", cfg.Network, cfg.Address, err)
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.door = d
	d.start()
	return f, nil
}

// Addr is where the front listens, also while it refuses connections.
func (f *Front) Addr() net.Addr { return f.door.addr }

// Conns is the number of open connections, as clients would count them: one that a cut has ended is not among them.
func (f *Front) Conns() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for l := range f.links {
		if !l.gone.Load() {
			n++
		}
	}
	return n
}

// Close stops listening, resets all connections and waits for all goroutines of the front. Cuts that have not fired are
// taken back.
func (f *Front) Close() error {
	f.op.Lock()
	defer f.op.Unlock()
	f.mu.Lock()
	again := f.closed
	f.closed = true
	f.mu.Unlock()
	if again {
		return nil
	}
	f.cancel()
	f.cuts.clear()
	err := f.door.close()
	for _, l := range f.open() {
		l.abort()
	}
	f.wg.Wait()
	if err != nil {
		return fmt.Errorf("front: close %s: %w", f.door.addr, err)
	}
	return nil
}

// admit takes an accepted connection over.
func (f *Front) admit(conn net.Conn) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		reset(conn)
		return
	}
	f.nextID++
	l := newLink(f, f.nextID, conn)
	f.links[l] = struct{}{}
	f.wg.Add(1)
	f.mu.Unlock()
	go func() {
		defer f.wg.Done()
		defer f.forget(l)
		l.run()
	}()
}

func (f *Front) forget(l *link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.links, l)
}

// open lists the links of this moment.
func (f *Front) open() []*link {
	f.mu.Lock()
	defer f.mu.Unlock()
	links := make([]*link, 0, len(f.links))
	for l := range f.links {
		links = append(links, l)
	}
	return links
}

// pace is the delay of this moment.
func (f *Front) pace() time.Duration { return time.Duration(f.delay.Load()) }
