package driver

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/mount"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

// scope names the instrumentation.
const scope = "github.com/fairlead-go/fairlead/driver"

// pool is what all connections made from one Config have in common. It holds on to its cluster while an open Connector or a
// connection holds on to it, so that nothing is left behind a closed sql.DB.
type pool struct {
	*mount.Pool
	cfg *Config
}

func newPool(cfg *Config) (*pool, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.Copy()
	mounts, err := cfg.mounts()
	if err != nil {
		return nil, err
	}
	return &pool{Pool: mounts, cfg: cfg}, nil
}

// mounts is a pool of the Config's own, or one that all share whose connections to the server can be the same.
func (c *Config) mounts() (*mount.Pool, error) {
	provider, err := c.provider()
	if err != nil {
		return nil, err
	}
	m := c.mount(provider)
	if c.PoolMode != PoolTransaction {
		return mount.NewPool(m)
	}
	m.Lending = &mount.Lending{
		Max: c.MaxUpstreams, BorrowTimeout: c.BorrowTimeout, Lifetime: upstreamLifetime, IdleTimeout: upstreamIdle, Statements: upstreamStatements,
	}
	fresh, err := mount.NewPool(m)
	if err != nil || m.Identity == "" {
		return fresh, err
	}
	return lending.share(fresh.ClusterKey()+m.Identity, fresh), nil
}

// Of upstreams that connections share.
const (
	upstreamLifetime   = time.Hour
	upstreamIdle       = 10 * time.Minute
	upstreamStatements = 500
)

// lending are the pools of this process that lend. One that nobody uses any more is forgotten.
var lending = lenders{open: make(map[string]weak.Pointer[mount.Pool])}

type lenders struct {
	mu   sync.Mutex
	open map[string]weak.Pointer[mount.Pool]
}

func (l *lenders) share(key string, fresh *mount.Pool) *mount.Pool {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.open, func(_ string, p weak.Pointer[mount.Pool]) bool { return p.Value() == nil })
	if p := l.open[key].Value(); p != nil {
		return p
	}
	l.open[key] = weak.Make(fresh)
	return fresh
}

// identity is equal for Configs of the same cluster that can share connections: in whatever a server or a session could tell
// apart they agree. It is empty where nothing tells.
func (c *Config) identity() string {
	if c.ownDial() || c.OnFailover != nil || c.Credentials != nil || c.ownCertificates() {
		return ""
	}
	text := fmt.Sprintf("%s\x00%s:%d", c.rest, c.Conn.Host, c.Conn.Port) + tlsKey(c.Conn.TLSConfig)
	for _, f := range c.Conn.Fallbacks {
		text += fmt.Sprintf("\x00%s:%d", f.Host, f.Port) + tlsKey(f.TLSConfig)
	}
	for _, param := range params {
		text += "\x00" + param.get(c)
	}
	runtime := slices.Sorted(maps.Keys(c.Conn.RuntimeParams))
	for _, name := range runtime {
		text += "\x00" + name + "\x00" + c.Conn.RuntimeParams[name]
	}
	text += "\x00" + c.clientCert
	text += fmt.Sprintf("\x00%s\x00%s\x00%s\x00%p\x00%p\x00%p", c.Conn.User, c.Conn.Database, c.Conn.Password, c.AWS, c.Logger, c.MeterProvider)
	if c.Resolver != nil {
		text += fmt.Sprintf("%p", c.Resolver)
	}
	sum := sha256.Sum256([]byte(text))
	return string(sum[:])
}

// ownDial reports whether instances are dialled in a way of the user's own.
func (c *Config) ownDial() bool { return c.DialFunc != nil || c.waysOf() != c.pgxWays }

// ownCertificates reports whether a function has the client's certificates.
func (c *Config) ownCertificates() bool {
	own := func(t *tls.Config) bool { return t != nil && t.GetClientCertificate != nil }
	return own(c.Conn.TLSConfig) || slices.ContainsFunc(c.Conn.Fallbacks, func(f *pgconn.FallbackConfig) bool { return own(f.TLSConfig) })
}

// tlsKey tells apart who one is by TLS, and whom one believes.
func tlsKey(t *tls.Config) string {
	if t == nil {
		return "\x00"
	}
	key := fmt.Sprintf("\x00%s %v", t.ServerName, t.InsecureSkipVerify)
	for _, cert := range t.Certificates {
		for _, raw := range cert.Certificate {
			key += fmt.Sprintf(" %x", sha256.Sum256(raw))
		}
	}
	return key
}

func init() {
	mount.PgxOnly = func(cfg any) error {
		c, ok := cfg.(*Config)
		if !ok {
			return fmt.Errorf("fairlead: %T is not a *driver.Config", cfg)
		}
		return c.refuseForPooler()
	}
	mount.ConfigOf = func(cfg any) (mount.Config, error) {
		c, ok := cfg.(*Config)
		if !ok {
			return mount.Config{}, fmt.Errorf("fairlead: %T is no *driver.Config", cfg)
		}
		if err := c.validate(); err != nil {
			return mount.Config{}, err
		}
		c = c.Copy()
		provider, err := c.provider()
		if err != nil {
			return mount.Config{}, err
		}
		return c.mount(provider), nil
	}
}

// mount is what the mounts need of the Config.
func (c *Config) mount(provider credentials.Provider) mount.Config {
	meters := c.MeterProvider
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	login := c.Conn.Config.Copy()
	if c.DialFunc != nil {
		login.DialFunc = c.DialFunc
	}
	if c.Resolver != nil {
		login.LookupFunc = c.Resolver.LookupHost
	}
	want, validate := c.TargetSessionAttrs.want()
	readOnly := want == topology.WantReader
	if readOnly && c.ReaderFallback == On {
		want, validate = topology.PreferReader, nil
	}
	m := mount.Config{
		Name: c.clusterName(), Login: login, Credentials: provider, Identity: c.identity(), OwnDial: c.ownDial(), Want: want, Validate: validate, ReadOnly: readOnly, Keepalive: c.keepalive(),
		Topology: topology.Kind(c.Topology), HostPattern: c.InstanceHostPattern, RefreshInterval: c.TopologyRefreshInterval,
		ProbeTimeout: c.ProbeTimeout, Resolver: c.Resolver,
		Mode: c.mode(), CommitResolution: commit.Setting(c.CommitResolution), JournalLimit: c.JournalLimit,
		RefuseLocks: c.ReplayLocks == LocksRefuse, TrustFunctions: c.SessionState == SessionRelaxed,
		TrackSettings: c.TrackSettings, Notices: c.ContinuityNotices == On, FailoverTimeout: c.FailoverTimeout,
		Logger: c.Logger, MeterProvider: c.MeterProvider, Meter: meters.Meter(scope),
	}
	if c.OnFailover != nil {
		m.OnFailover = func(f topology.Failover) { c.OnFailover(failoverEvent(f)) }
	}
	return m
}

// waysOf tells the functions of Conn apart, as far as Go lets one: by their code.
func (c *Config) waysOf() [2]uintptr {
	return [2]uintptr{reflect.ValueOf(c.Conn.DialFunc).Pointer(), reflect.ValueOf(c.Conn.LookupFunc).Pointer()}
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

// connConfig is what pgx is to connect with: everything that is between the client and the application stays as the
// user set it, everything between the client and the server is the mount's affair.
func (p *pool) connConfig() *pgx.ConnConfig {
	c := p.cfg.Conn.Copy()
	p.DialThrough(&c.Config)
	c.DialFunc = p.discern(c.DialFunc)
	c.Tracer = heedWithoutReplay(c.Tracer)
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
