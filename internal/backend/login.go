package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/topology"
)

// DefaultConnectTimeout bounds one login when connect_timeout does not say otherwise.
const DefaultConnectTimeout = 5 * time.Second

// maxGreeting bounds a message of a server's in a login, or in answer to a probe of the topology's, in bytes.
const maxGreeting = 1 << 20

// Login is one pool's way in to a cluster.
type Login struct {
	Cluster  *topology.Cluster
	Registry *Registry
	Want     topology.Want
	// Credentials has what to log in with; nil: what pgx parsed. HostPattern says which hosts beside those of the DSN may be
	// given it.
	Credentials credentials.Provider
	HostPattern string
	// ReadOnly has the server keep transactions read-only that do not say otherwise: a reader may be promoted, and sessions stay
	// on it until they are idle.
	ReadOnly bool
	// Keepalive is for all connections; nil: they are as they were dialled.
	Keepalive *Keepalive

	// Logger is given a warning while a first login waits; nil: slog's default, so that the wait is seen.
	Logger *slog.Logger

	base     *pgconn.Config
	hosts    []host
	validate pgconn.ValidateConnectFunc
	timeout  bool         // the DSN has a connect_timeout
	reached  atomic.Bool  // a login has succeeded
	warnAt   atomic.Int64 // when the next warning of a wait may be given, in Unix nanoseconds
	ahead    ahead
}

// host is how one host of the DSN is to be reached: in several ways for sslmode=prefer and allow.
type host struct {
	endpoint topology.Endpoint
	ways     []int // positions in what waysOf returns for base
}

// waysOf returns the TLS configurations of cfg and its fallbacks, in their order. They must be taken from the very Config that is connected with:
// pgconn keeps the files of client certificates by the address of the tls.Config, which Config.Copy carries over and nothing else does.
func waysOf(cfg *pgconn.Config) []*tls.Config {
	ways := make([]*tls.Config, 0, 1+len(cfg.Fallbacks))
	ways = append(ways, cfg.TLSConfig)
	for _, f := range cfg.Fallbacks {
		ways = append(ways, f.TLSConfig)
	}
	return ways
}

// NewLogin makes a Login from what pgx parsed. The hooks of cfg that belong to the client's side (AfterConnect,
// OnNotice and the like) are not called for upstreams. Where the topology cannot tell what an instance is, validate
// says after the login whether it will do; nil takes any.
func NewLogin(cfg *pgconn.Config, want topology.Want, validate pgconn.ValidateConnectFunc) *Login {
	base := cfg.Copy()
	base.AfterConnect, base.ValidateConnect = nil, nil
	base.OnNotice, base.OnNotification = nil, nil
	base.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: pg.Conn()}
	}
	base.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		fe := pgproto3.NewFrontend(&loginReader{r: r}, w)
		fe.SetMaxBodyLen(maxGreeting)
		return fe
	}
	timeout := base.ConnectTimeout > 0
	if !timeout {
		base.ConnectTimeout = DefaultConnectTimeout
	}
	if base.RuntimeParams == nil {
		base.RuntimeParams = make(map[string]string)
	}
	l := &Login{Want: want, base: base, validate: validate, timeout: timeout}
	l.ahead.login = l
	cache := tls.NewLRUClientSessionCache(sessions)
	for _, t := range waysOf(base) {
		harden(t, cache)
	}
	add := func(h string, port uint16, way int) {
		ep := topology.Endpoint{Host: h, Port: port}
		for i := range l.hosts {
			if l.hosts[i].endpoint == ep {
				l.hosts[i].ways = append(l.hosts[i].ways, way)
				return
			}
		}
		l.hosts = append(l.hosts, host{endpoint: ep, ways: []int{way}})
	}
	add(base.Host, base.Port, 0)
	for i, f := range base.Fallbacks {
		add(f.Host, f.Port, i+1)
	}
	return l
}

// Seeds are the hosts of the DSN.
func (l *Login) Seeds() []topology.Endpoint {
	seeds := make([]topology.Endpoint, len(l.hosts))
	for i, h := range l.hosts {
		seeds[i] = h.endpoint
	}
	return seeds
}

// config is pgconn's for one instance. TLS is that of the same host in the DSN, else the first host's with the
// instance's own name to verify.
func (l *Login) config(ep topology.Endpoint, addrs []netip.Addr) *pgconn.Config {
	cfg := l.base.Copy()
	from := l.hosts[0]
	for _, h := range l.hosts {
		if h.endpoint == ep {
			from = h
		}
	}
	ways := waysOf(cfg)
	cfg.Host, cfg.Port = ep.Host, ep.Port
	cfg.Fallbacks = nil
	for i, way := range from.ways {
		t := ways[way]
		if t != nil && t.ServerName != "" && from.endpoint.Host != ep.Host {
			t.ServerName = ep.Host
		}
		if i == 0 {
			cfg.TLSConfig = t
		} else {
			cfg.Fallbacks = append(cfg.Fallbacks, &pgconn.FallbackConfig{Host: ep.Host, Port: ep.Port, TLSConfig: t})
		}
	}
	if len(addrs) > 0 {
		names := make([]string, len(addrs))
		for i, a := range addrs {
			names[i] = a.String()
		}
		cfg.LookupFunc = func(context.Context, string) ([]string, error) { return names, nil }
	}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			if network := (net.Error)(nil); !errors.As(err, &network) {
				err = &net.OpError{Op: "dial", Net: "tcp", Err: err} // a user's DialFunc may return any
			}
			return nil, err
		}
		if l.Keepalive != nil {
			l.Keepalive.apply(conn)
		}
		return &countedConn{Conn: conn}, nil
	}
	return cfg
}

// Probe logs in for the topology's own questions; its name is in pg_stat_activity. To have nothing to
// log in with is no sign that the instance is gone.
func (l *Login) Probe(ctx context.Context, ep topology.Endpoint, addrs []netip.Addr) (*pgconn.PgConn, error) {
	cfg := l.config(ep, addrs)
	own := cfg.RuntimeParams
	cfg.RuntimeParams = map[string]string{"application_name": "fairlead-topology"}
	// The server is to end this one too when its process stands still.
	if timeout, ok := own["idle_session_timeout"]; ok {
		cfg.RuntimeParams["idle_session_timeout"] = timeout
	}
	pg, err := l.enter(ctx, cfg)
	switch e, passes := lacking(err); {
	case passes:
		return nil, &topology.BusyError{Err: e}
	case e != nil:
		return nil, &topology.LoginRefusedError{Err: e}
	}
	return pg, err
}

// Connect logs in to an instance of the wanted kind, one proven after the ticket, and goes on until ctx ends: an
// instance that fails during the login is suspected, and the next proof awaited. What will not change by itself (a wrong
// password, an unknown database, a certificate that does not verify) ends it at once. A cluster of which no writer was ever seen is waited for as
// long as a host may begin to serve, see patience. owner is the lock under which the upstream's Begin, Heard and Stale will be called.
func (l *Login) Connect(ctx context.Context, after topology.Ticket, owner sync.Locker) (*Upstream, error) {
	pause, busy := newPause(2*time.Millisecond, 250*time.Millisecond), newPause(100*time.Millisecond, time.Second)
	w := l.newWait()
	for {
		in, snap, err := w.pick(ctx, after)
		if err != nil {
			return nil, w.gaveUp(ctx, err)
		}
		up, err := w.connect(ctx, in, snap, owner)
		if err == nil {
			l.reached.Store(true)
			return up, nil
		}
		if ctx.Err() != nil {
			w.failed.interrupted(in.ID, err)
			return nil, w.gaveUp(ctx, context.Cause(ctx))
		}
		if e, passes := lacking(err); e != nil && !passes {
			return nil, err
		}
		if misfit := (*misfitError)(nil); topology.RefusesLogin(err) && !errors.As(err, &misfit) {
			return nil, err
		}
		if w.over {
			w.failed.interrupted(in.ID, err)
		} else {
			w.failed[in.ID] = err
		}
		if e, _ := lacking(err); e == nil {
			after = l.Cluster.Suspect(in.ID, err)
		}
		next := pause
		if isFull(err) {
			next = busy // each try costs the server a process
		}
		timer := time.NewTimer(next.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func newPause(first, last time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMaxInterval(last), backoff.WithMaxElapsedTime(0))
}

// pick waits for an instance of the wanted kind, and has logins made ahead while that is the writer and there is none.
func (l *Login) pick(ctx context.Context, after topology.Ticket) (topology.Instance, *topology.Snapshot, error) {
	if l.Want == topology.WantWriter && after > 0 {
		defer l.ahead.wait()()
	}
	return l.Cluster.Pick(ctx, l.Want, after)
}

// failures are the last ones of each instance.
type failures map[string]error

// interrupted notes a login that was given up: what the instance said before counts for more.
func (f failures) interrupted(id string, err error) {
	if timeout := (net.Error)(nil); f[id] == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
		f[id] = err
	}
}

func (f failures) join() error { return errors.Join(f.list()...) }

// list returns them in the order of the instances' IDs.
func (f failures) list() []error {
	all := make([]error, 0, len(f))
	for _, id := range slices.Sorted(maps.Keys(f)) {
		all = append(all, f[id])
	}
	return all
}

// readOnlyDefault is the setting that makes transactions read-only which do not say what they are.
const readOnlyDefault = "default_transaction_read_only"

// misfitError is an instance that is not of the wanted kind, found out after the login.
type misfitError struct{ error }

func (e *misfitError) Unwrap() error { return e.error }

// endWith closes a connection when ctx ends, until it is undone: behind a ReadyForQuery that came too early, pgconn reads on without a
// deadline.
func endWith(ctx context.Context, pg *pgconn.PgConn) (undo func()) {
	stop := context.AfterFunc(ctx, func() { _ = pg.Conn().Close() })
	return func() { stop() }
}

func (l *Login) connectOne(ctx context.Context, in topology.Instance, snap *topology.Snapshot, owner sync.Locker) (*Upstream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{instance: in.ID, want: l.Want, cancel: cancel}
	l.Registry.mu.Lock()
	l.Registry.dialing[a] = struct{}{}
	l.Registry.mu.Unlock()
	defer func() {
		l.Registry.mu.Lock()
		delete(l.Registry.dialing, a)
		l.Registry.mu.Unlock()
	}()

	cfg := l.config(in.Endpoint, in.Addrs)
	if l.ReadOnly && snap.Kind != topology.KindNone {
		if _, set := cfg.RuntimeParams[readOnlyDefault]; !set {
			cfg.RuntimeParams[readOnlyDefault] = "on"
		}
	}
	if snap.Kind == topology.KindNone && l.validate != nil {
		cfg.ValidateConnect = func(ctx context.Context, pg *pgconn.PgConn) error {
			defer endWith(ctx, pg)()
			var err error
			if p := contain.Run(func() { err = l.validate(ctx, pg) }); p != nil {
				err = errMalformed // pgconn's own reads of an answer what it takes to be there
			}
			if err != nil {
				return &misfitError{err}
			}
			return nil
		}
	}
	var err error
	contain.Point("backend.login", nil)
	pg := l.ahead.take(ctx, in)
	if pg == nil {
		if p := contain.Run(func() { pg, err = l.enter(ctx, cfg) }); p != nil {
			p.Log(l.Registry.Logger, "login", "instance", in.ID)
			err = p
		}
	}
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, ErrKilled) {
			return nil, errors.Join(cause, err)
		}
		return nil, err
	}
	if l.Want == topology.WantWriter && pg.ParameterStatus("in_hot_standby") == "on" {
		_ = pg.Conn().Close()
		return nil, fmt.Errorf("backend: %s is a standby, not the writer", in.ID)
	}
	if err := pg.SyncConn(ctx); err != nil {
		_ = pg.Conn().Close()
		return nil, err
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, err
	}
	up := &Upstream{
		Instance: in, Epoch: snap.Epoch, PID: h.PID, Since: time.Now(), Params: maps.Clone(h.ParameterStatuses),
		conn: h.Conn, hijacked: h, registry: l.Registry, login: l, want: l.Want, owner: owner,
	}
	if c, ok := h.Conn.(*countedConn); ok {
		up.conn = c.Conn // in the clear, Write itself tells what left
	} else if t, ok := h.Conn.(*tls.Conn); ok {
		up.wire, _ = t.NetConn().(*countedConn)
	}
	up.watch()
	// The topology may have moved between the choice and the entry into the registry.
	if now := l.Cluster.Snapshot(); now != snap && now.Kind != topology.KindNone {
		why, leave := place(in, l.Want, now)
		if leave && l.Want == topology.WantReader {
			why = fmt.Errorf("%w: %s is the writer now", ErrKilled, in.ID)
		}
		if why != nil && (now.Epoch != snap.Epoch || l.Want != topology.WantWriter) {
			up.Close(true)
			return nil, why
		}
	}
	return up, nil
}

// Rest closes the logins that were made ahead. The Login can be used again.
func (l *Login) Rest() { l.ahead.rest() }

// ConnectTimeout bounds one login.
func (l *Login) ConnectTimeout() time.Duration { return l.base.ConnectTimeout }
