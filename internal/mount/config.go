package mount

import (
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

// ConfigOf makes a Config of a *driver.Config. Package driver puts it here for the pooler: it knows the parameters, and none of
// its users is to see a type of this package.
var ConfigOf func(driverConfig any) (Config, error)

// PgxOnly returns an error for a *driver.Config with a parameter that pgx heeds in an application and a pooler has no use for. Package driver
// puts it here too.
var PgxOnly func(driverConfig any) error

// Config says how sessions reach their servers, and how they go on when one is lost. Nothing has a default here: those
// who read parameters know them.
type Config struct {
	// Name stands for the cluster in logs and metrics.
	Name string
	// Login is how to dial and log in to an instance, and which user and database clients may ask for.
	Login *pgconn.Config
	// Credentials has what to log in with, in the place of Login's password; nil: Login's. One that is an io.Closer is closed
	// whenever nothing holds on to the pool, and used again after that.
	Credentials credentials.Provider
	// Identity is equal for Configs that mean the same servers, logged in to in the same way, for the same kind of sessions; empty
	// where nothing tells.
	Identity string
	// OwnDial says that Login dials in a way of its own, so that nothing tells whether two pools lead to the same cluster.
	OwnDial bool
	// Want is the kind of instance that sessions need. Validate asks a connection that no topology vouches for whether it
	// will do; nil takes any.
	Want topology.Want
	// ReadOnly says that no session is to write, whatever serves it.
	ReadOnly bool
	Validate pgconn.ValidateConnectFunc

	// Keepalive is for all connections; nil: they are as they were dialled.
	Keepalive *backend.Keepalive

	// Topology, HostPattern, RefreshInterval, ProbeTimeout and Resolver are those of topology.Config.
	Topology        topology.Kind
	HostPattern     string
	RefreshInterval time.Duration
	ProbeTimeout    time.Duration
	Resolver        topology.Resolver

	// Mode is how much of a session outlives its upstream, CommitResolution how commits in doubt are decided.
	Mode             session.Mode
	CommitResolution commit.Setting
	// JournalLimit bounds the client's bytes that are kept of a unit.
	JournalLimit int
	// RefuseLocks ends transactions with explicit locks instead of replaying them.
	RefuseLocks bool
	// TrustFunctions takes the user's word that functions of his own leave nothing in a session. TrackSettings are the names
	// of settings that they make, and that are read back.
	TrustFunctions bool
	TrackSettings  []string
	// Notices tells clients when their session has moved.
	Notices bool
	// FailoverTimeout bounds each wait for an upstream.
	FailoverTimeout time.Duration

	// Lending has sessions borrow upstreams, each only while it needs one; nil for upstreams of their own.
	Lending *Lending

	// Logger is nil for no logs. MeterProvider is for the topology's metrics, nil for OpenTelemetry's global one, and Meter
	// for the sessions'.
	Logger        *slog.Logger
	MeterProvider metric.MeterProvider
	Meter         metric.Meter
	// OnPanic is called when a panic was contained; nil for not at all.
	OnPanic func()
	// OnFailover is called after each failover of the cluster while the pool holds on to it; nil for not at all.
	OnFailover func(topology.Failover)
}
