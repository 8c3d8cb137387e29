package mount

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/catalog"
	"github.com/fairlead-go/fairlead/topology"
)

// Pool is what all sessions with one Config have in common: the way in to the cluster, and the mounts, by the number that
// their address carries.
//
// It holds on to its cluster while anything holds on to it: its owner, or a Conn. The last to let go stops the cluster's
// monitor, so that nothing is left running.
type Pool struct {
	catalog catalog.Cache // of the database
	cfg     Config
	login   *backend.Login
	metrics *metrics
	lender  *lender // nil: every Conn has an upstream of its own

	functions catalog.Functions // of the database, for sessions that borrow

	readBack string // the query for the settings that are tracked
	modes    modes
	prepare  atomic.Bool // the injected statement does not stay prepared
	ids      atomic.Uint64
	mounts   sync.Map // uint64 -> *Conn
	keys     sync.Map // of sessions that keep their upstream: pidAndKey -> *Conn

	mu      sync.Mutex
	holders int
	leave   func() // lets go of the cluster

	watching sync.Mutex
	unwatch  func() // ends the watch over the cluster; nil: there is none; guarded by watching
}

// NewPool returns a Pool that holds on to nothing yet.
func NewPool(cfg Config) (*Pool, error) {
	m, err := newMetrics(cfg)
	if err != nil {
		return nil, err
	}
	login := backend.NewLogin(cfg.Login, cfg.Want, cfg.Validate)
	login.Credentials, login.HostPattern, login.ReadOnly = cfg.Credentials, cfg.HostPattern, cfg.ReadOnly
	login.Logger = cfg.Logger
	p := &Pool{cfg: cfg, login: login, metrics: m, readBack: readBackQuery(cfg.TrackSettings)}
	login.Keepalive = cfg.Keepalive
	if cfg.Lending != nil {
		p.lender = newLender(p, *cfg.Lending)
	}
	return p, nil
}

// Hold keeps the cluster watched until Release.
func (p *Pool) Hold() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders == 0 {
		shared, leave, err := clusters.join(p)
		if err != nil {
			return err
		}
		p.login.Cluster, p.login.Registry, p.leave = shared.cluster, shared.registry, leave
		if p.lender == nil || !p.lender.cfg().Lazy {
			p.watch()
		}
		if p.lender != nil {
			p.lender.begin()
		}
	}
	p.holders++
	return nil
}

// Release undoes a Hold.
func (p *Pool) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders--; p.holders == 0 {
		if p.lender != nil {
			p.lender.end()
		}
		p.login.Rest()
		p.leave()
		p.rest()
		p.leave = nil
		_ = credentials.Close(p.cfg.Credentials) // it only ends what is under way
	}
}

// Dial returns the mount of a new session. It is logged in to an instance before that, so that the first Write finds an
// upstream; one that borrows does so when it needs to.
func (p *Pool) Dial(ctx context.Context) (*Conn, error) {
	if err := p.Hold(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.FailoverTimeout, errTimeout)
	defer cancel()
	m := newConn(p, p.ids.Add(1))
	_, _ = rand.Read(m.key) // never fails
	_, _ = rand.Read(m.uuid[:])
	if p.lender != nil {
		m.pid = uint32(m.id)
	} else {
		up, err := p.connect(ctx, m)
		if err != nil {
			p.Release()
			return nil, err
		}
		m.up, m.pid = up, up.PID
		up.OnLeave(m.leaves)
	}
	p.mounts.Store(m.id, m)
	p.metrics.sessions(1)
	return m, nil
}

// connect logs in for a new mount.
func (p *Pool) connect(ctx context.Context, m *Conn) (*backend.Upstream, error) {
	var after topology.Ticket
	for {
		up, err := p.login.Connect(ctx, after, &m.mu)
		if err != nil {
			return nil, err
		}
		mode, err := p.commitMode(ctx, up)
		if err == nil {
			m.decidable(mode)
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
func (p *Pool) left(m *Conn) {
	p.mounts.Delete(m.id)
	p.keys.Delete(m.pidAndKey())
	p.metrics.sessions(-1)
	p.Release()
}
