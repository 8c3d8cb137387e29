package driver

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

// pool is what all connections made from one Config have in common: the way in to the cluster, and the mounts, by the
// number that their address carries.
//
// It holds on to its cluster while anything holds on to it: an open Connector, or a connection. The last to let go stops
// the cluster's monitor, so that nothing is left behind a closed sql.DB.
type pool struct {
	cfg     *Config
	login   *backend.Login
	metrics *metrics

	modes  modes
	ids    atomic.Uint64
	mounts sync.Map // uint64 -> *mount

	mu      sync.Mutex
	holders int
	leave   func() // lets go of the cluster
}

func newPool(cfg *Config) (*pool, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.Copy()
	m, err := newMetrics(cfg)
	if err != nil {
		return nil, err
	}
	upstream := cfg.Conn.Config.Copy()
	if cfg.DialFunc != nil {
		upstream.DialFunc = cfg.DialFunc
	}
	if cfg.Resolver != nil {
		upstream.LookupFunc = cfg.Resolver.LookupHost
	}
	want, validate := cfg.TargetSessionAttrs.want()
	return &pool{cfg: cfg, login: backend.NewLogin(upstream, want, validate), metrics: m}, nil
}

// want is what the attributes ask of an instance, and how a connection that no topology vouches for is asked.
func (a TargetSessionAttrs) want() (topology.Want, pgconn.ValidateConnectFunc) {
	switch a {
	case AttrsAny:
		return topology.WantAny, nil
	case AttrsReadOnly:
		return topology.WantReader, pgconn.ValidateConnectTargetSessionAttrsReadOnly
	case AttrsStandby:
		return topology.WantReader, pgconn.ValidateConnectTargetSessionAttrsStandby
	case AttrsPreferStandby:
		return topology.PreferReader, pgconn.ValidateConnectTargetSessionAttrsPreferStandby
	case AttrsPrimary:
		return topology.WantWriter, pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	return topology.WantWriter, pgconn.ValidateConnectTargetSessionAttrsReadWrite
}

// hold keeps the cluster watched until release.
func (p *pool) hold() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders == 0 {
		shared, leave, err := clusters.join(p)
		if err != nil {
			return err
		}
		p.login.Cluster, p.login.Registry, p.leave = shared.cluster, shared.registry, leave
	}
	p.holders++
	return nil
}

func (p *pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders--; p.holders == 0 {
		p.login.Rest()
		p.leave()
		p.leave = nil
	}
}

// dial is the DialFunc that pgx is given: it logs in to an instance before it returns, so that the first Write finds an
// upstream. A CancelRequest comes over a connection of its own, to the address that the mount gave as its peer's.
func (p *pool) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if network == mountNetwork {
		return p.dialCancel(addr)
	}
	if err := p.hold(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.FailoverTimeout, errTimeout)
	defer cancel()
	m := newMount(p, p.ids.Add(1))
	_, _ = rand.Read(m.key[:]) // never fails
	_, _ = rand.Read(m.uuid[:])
	up, err := p.connect(ctx, m)
	if err != nil {
		p.release()
		return nil, err
	}
	m.up, m.pid = up, up.PID
	p.mounts.Store(m.id, m)
	p.metrics.sessions(1)
	return m, nil
}

// connect logs in for a new mount.
func (p *pool) connect(ctx context.Context, m *mount) (*backend.Upstream, error) {
	var after topology.Ticket
	for {
		up, err := p.login.Connect(ctx, after, &m.mu)
		if err != nil {
			return nil, err
		}
		mode, err := p.commitMode(ctx, up)
		if err == nil {
			m.s.Decidable(mode, m.uuid)
			return up, nil
		}
		up.Close(true)
		var refused *refusal
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, err
		}
		after = p.login.Cluster.Suspect(up.Instance.ID, err)
	}
}

// left is the end of a mount.
func (p *pool) left(m *mount) {
	p.mounts.Delete(m.id)
	p.metrics.sessions(-1)
	p.release()
}

// connConfig is what pgx is to connect with: everything that is between the client and the application stays as the
// user set it, everything between the client and the server is the mount's affair.
func (p *pool) connConfig() *pgx.ConnConfig {
	c := p.cfg.Conn.Copy()
	c.DialFunc = p.dial
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.TLSConfig, c.Fallbacks = nil, nil
	c.SSLNegotiation, c.SSLCertMode, c.RequireAuth, c.ChannelBinding = "", "", "", ""
	c.MinProtocolVersion, c.MaxProtocolVersion = "3.0", "3.0"
	c.ValidateConnect, c.AfterNetConnect = nil, nil
	c.Tracer = heedWithoutReplay(c.Tracer)
	c.ConnectTimeout = p.cfg.FailoverTimeout + time.Second // the mount's own timeout comes first, and says more
	return c
}

func (c *Config) mode() session.Mode {
	switch c.Continuity {
	case ContinuityOff:
		return session.Off
	case ContinuityRead:
		return session.Read
	}
	return session.Full
}
