package driver

import (
	"context"
	"net"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel"

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
	mounts, err := mount.NewPool(cfg.mount())
	if err != nil {
		return nil, err
	}
	return &pool{Pool: mounts, cfg: cfg}, nil
}

// Mount is for Fairlead's own pooler: it is what a mount needs of the Config.
func (c *Config) Mount() (mount.Config, error) {
	if err := c.validate(); err != nil {
		return mount.Config{}, err
	}
	return c.Copy().mount(), nil
}

// mount is what the mounts need of the Config.
func (c *Config) mount() mount.Config {
	provider := c.MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	login := c.Conn.Config.Copy()
	if c.DialFunc != nil {
		login.DialFunc = c.DialFunc
	}
	if c.Resolver != nil {
		login.LookupFunc = c.Resolver.LookupHost
	}
	want, validate := c.TargetSessionAttrs.want()
	m := mount.Config{
		Name: c.clusterName(), Login: login, OwnDial: c.DialFunc != nil || c.waysOf() != c.pgxWays, Want: want, Validate: validate,
		Topology: topology.Kind(c.Topology), HostPattern: c.InstanceHostPattern, RefreshInterval: c.TopologyRefreshInterval,
		ProbeTimeout: c.ProbeTimeout, Resolver: c.Resolver,
		Mode: c.mode(), CommitResolution: commit.Setting(c.CommitResolution), JournalLimit: c.JournalLimit,
		RefuseLocks: c.ReplayLocks == LocksRefuse, TrustFunctions: c.SessionState == SessionRelaxed,
		TrackSettings: c.TrackSettings, Notices: c.ContinuityNotices == On, FailoverTimeout: c.FailoverTimeout,
		Logger: c.Logger, MeterProvider: c.MeterProvider, Meter: provider.Meter(scope),
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

// dial is the DialFunc that pgx is given. A CancelRequest comes over a connection of its own, to the address that the mount
// gave as its peer's.
func (p *pool) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if network == mount.Network {
		return p.DialCancel(addr)
	}
	conn, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
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
