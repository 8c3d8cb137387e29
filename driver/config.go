package driver

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/topology"
)

// Topology says how the writer is found.
type Topology string

// How the writer is found.
const (
	TopologyAuto        Topology = "auto"        // by asking the server what it is
	TopologyAurora      Topology = "aurora"      // Aurora PostgreSQL, by aurora_replica_status()
	TopologyReplication Topology = "replication" // streaming replication: the host of the DSN that is out of recovery
	TopologyNone        Topology = "none"        // not at all: the hosts of the DSN in their order
)

// TargetSessionAttrs says which instances a connection is for, in libpq's words.
type TargetSessionAttrs string

// The kinds of instances that a connection can be for.
const (
	AttrsAny           TargetSessionAttrs = "any"
	AttrsReadWrite     TargetSessionAttrs = "read-write"
	AttrsReadOnly      TargetSessionAttrs = "read-only"
	AttrsPrimary       TargetSessionAttrs = "primary"
	AttrsStandby       TargetSessionAttrs = "standby"
	AttrsPreferStandby TargetSessionAttrs = "prefer-standby"
)

// Continuity says how much of a session outlives the instance that served it.
type Continuity string

// How much of a session outlives its instance.
const (
	ContinuityFull Continuity = "full" // everything that can be carried over without guessing
	ContinuityRead Continuity = "read" // idle sessions and reads
	ContinuityOff  Continuity = "off"  // nothing: a lost connection is an error, as with pgx alone
)

// CommitResolution says how commits are decided whose answer was lost.
type CommitResolution string

// How commits in doubt are decided.
const (
	ResolutionAuto   CommitResolution = "auto"   // by the marker where its table is, else by the WAL, else not at all
	ResolutionMarker CommitResolution = "marker" // by a row of the table fairlead.commits
	ResolutionLSN    CommitResolution = "lsn"    // by transaction ID and WAL position: plain streaming replication only
	ResolutionOff    CommitResolution = "off"    // not at all: SQLSTATE 08007
)

// ReplayLocks says what becomes of transactions that hold explicit locks when their server dies.
type ReplayLocks string

// What becomes of transactions with explicit locks.
const (
	// LocksReplay replays them like any other. Between the loss and the replay the locks are not held.
	LocksReplay ReplayLocks = "replay"
	// LocksRefuse ends them with SQLSTATE 40001, for applications that do something outside the database under such a lock.
	LocksRefuse ReplayLocks = "refuse"
)

// SessionState says whether functions of the user's own may leave state in a session that nothing on the wire shows.
type SessionState string

// What functions of the user's own may do to a session.
const (
	SessionStrict  SessionState = "strict"  // set it: a session that has called one outside a transaction cannot be moved
	SessionRelaxed SessionState = "relaxed" // nothing: the user's word
)

// PoolMode says how long a connection of the application keeps one to the server.
type PoolMode string

// How long a connection to the server is kept.
const (
	PoolSession     PoolMode = "session"     // as long as the application's own
	PoolTransaction PoolMode = "transaction" // while a transaction is open, or a statement in flight
)

// defaultMaxUpstreams is how many connections to the server share the work by default.
const defaultMaxUpstreams = 20

// Switch is a parameter that is on or off.
type Switch string

// The positions of a Switch.
const (
	On  Switch = "on"
	Off Switch = "off"
)

// Auth says what is logged in with.
type Auth string

// What is logged in with.
const (
	AuthPassword Auth = "password" // the password of the DSN, of PGPASSWORD or of the password file, as in pgx
	AuthIAM      Auth = "iam"      // IAM tokens
	AuthSecret   Auth = "secret"   // a secret of AWS Secrets Manager
	AuthIAMSTS   Auth = "iam_sts"  // tokens by which a pooler of ours learns from AWS's STS which role this process has
)

// Config describes the database, and how to go on when a part of it fails. It comes from [ParseConfig], and only from
// there, and may then be changed until it is handed to [NewConnector], [ConnConfig], [PoolConfig] or [RegisterConfig],
// which take copies.
type Config struct {
	// Conn is what pgx made of the rest of the DSN. It says how to reach and log in to an instance; its hooks (Tracer,
	// AfterConnect, OnNotice, …) are honoured, ValidateConnect is replaced by TargetSessionAttrs.
	Conn *pgx.ConnConfig
	// Pool holds the pool_* parameters of the DSN, or pgxpool's defaults, for [PoolConfig]; its hooks are honoured. Its
	// ConnConfig is Conn.
	Pool *pgxpool.Config

	// Topology is the parameter topology; default TopologyAuto, TopologyNone for an RDS Proxy.
	Topology Topology
	// InstanceHostPattern is the parameter instance_host_pattern; default derived from the host if that is an RDS
	// endpoint, otherwise empty.
	InstanceHostPattern string
	// TargetSessionAttrs is the parameter target_session_attrs; default AttrsReadWrite, AttrsReadOnly for the reader
	// endpoint of a cluster.
	TargetSessionAttrs TargetSessionAttrs
	// ReaderFallback is the parameter reader_fallback; default Off, On for the reader endpoint of a cluster.
	ReaderFallback Switch
	// Continuity is the parameter continuity; default ContinuityFull.
	Continuity Continuity
	// CommitResolution is the parameter commit_resolution; default ResolutionAuto.
	CommitResolution CommitResolution
	// JournalLimit is the parameter journal_limit, in bytes; default 256 KiB.
	JournalLimit int
	// ReplayLocks is the parameter replay_locks; default LocksReplay.
	ReplayLocks ReplayLocks
	// SessionState is the parameter session_state; default SessionStrict.
	SessionState SessionState
	// TrackSettings is the parameter track_settings; default none.
	TrackSettings []string
	// ContinuityNotices is the parameter continuity_notices; default Off.
	ContinuityNotices Switch
	// FailoverTimeout is the parameter failover_timeout; default 60 s.
	FailoverTimeout time.Duration
	// ProbeTimeout is the parameter probe_timeout; default 500 ms.
	ProbeTimeout time.Duration
	// TopologyRefreshInterval is the parameter topology_refresh_interval; default 30 s.
	TopologyRefreshInterval time.Duration

	// Keepalives is the parameter keepalives; default On.
	Keepalives Switch
	// KeepalivesIdle is the parameter keepalives_idle, in whole seconds; default 30 s; 0: the system's.
	KeepalivesIdle time.Duration
	// KeepalivesInterval is the parameter keepalives_interval, in whole seconds; default 10 s; 0: the system's.
	KeepalivesInterval time.Duration
	// KeepalivesCount is the parameter keepalives_count; default 3; 0: the system's.
	KeepalivesCount int
	// TCPUserTimeout is the parameter tcp_user_timeout, in whole milliseconds; default 0: the system's.
	TCPUserTimeout time.Duration

	// Auth is the parameter auth; default AuthPassword.
	Auth Auth
	// SecretID is the parameter secret_id: a name or an ARN.
	SecretID string
	// AWSRegion is the parameter aws_region; default: what the endpoint or the ARN says, then the AWS SDK's.
	AWSRegion string
	// AWSProfile is the parameter aws_profile; default: the AWS SDK's.
	AWSProfile string
	// IAMHost is the parameter iam_host, host or host:port; default: what is dialled.
	IAMHost string
	// IAMAudience is the parameter iam_audience: which pooler tokens are for with AuthIAMSTS.
	IAMAudience string
	// IAMLoginRate is the parameter iam_login_rate, logins a second to each instance; default 150.
	IAMLoginRate int
	// Credentials has what to log in with, in the place of Auth, which must be AuthPassword then; who made it closes it.
	// Default nil.
	Credentials credentials.Provider
	// AWS is the configuration of the AWS SDK for Auth; default nil: what the SDK finds by itself.
	AWS *aws.Config
	// PoolMode is the parameter pool_mode; default PoolSession.
	PoolMode PoolMode
	// MaxUpstreams is the parameter max_upstreams; default 20.
	MaxUpstreams int
	// BorrowTimeout is the parameter connection_borrow_timeout; default 120 s.
	BorrowTimeout time.Duration

	// Logger gets failovers at Info and the rest at Debug; default nil: no logs, but for a warning by slog.Default where a first login waits for a
	// server that is not there.
	Logger *slog.Logger
	// MeterProvider gets the metrics; default nil: OpenTelemetry's global one.
	MeterProvider metric.MeterProvider
	// Resolver looks up the hosts; a *net.Resolver is one. Default nil: Go's own. Pools share what is known of a cluster
	// only if they have the same Resolver.
	Resolver topology.Resolver
	// DialFunc dials instances, plainly: TLS is put on top of what it returns. Default nil: Conn's, a net.Dialer. Pools
	// with one share what is known of a cluster with no other.
	DialFunc pgconn.DialFunc
	// OnFailover is called after each failover of the cluster, once for every pool that is open. It must be fast: what
	// waits for the writer may wait for it too. Default nil.
	OnFailover func(FailoverEvent)

	parsed   bool            // this Config came from ParseConfig
	rdsRoots bool            // the DSN itself says sslrootcert=rds
	pgxWays  [2]uintptr      // the code of the dialer and the resolver that pgx put into Conn
	disabled bool            // FAIRLEAD_DISABLE was set
	rest     string          // the DSN without our parameters, as it was given
	ambient  map[string]bool // our parameters that the environment or a service file sets; never changed
	poolKeys []string        // the pool_* parameters that were given; never changed
	pgxKeys  []string        // these, and others that only pgx heeds; never changed

	clientCert string // sslcert and sslkey of the environment or the service file; pgx reads the files at each login
}

// FailoverEvent says how one writer followed another.
type FailoverEvent struct {
	Cluster  string    // the name of the cluster in logs and metrics
	Old, New string    // the writers' instance IDs; equal if it was restarted
	Epoch    uint64    // counts the writers of this cluster that the process has seen
	Began    time.Time // when the old writer was first suspected
	// Detect is how long it took from there until it was certain that the old writer is gone, and Find how long from there
	// until the new one had proved itself.
	Detect, Find time.Duration
}

// Outage is how long the cluster was without a writer, as seen from here: Detect and Find together.
func (e FailoverEvent) Outage() time.Duration { return e.Detect + e.Find }

func failoverEvent(f topology.Failover) FailoverEvent {
	return FailoverEvent{
		Cluster: f.Cluster, Old: f.Old.ID, New: f.New.ID, Epoch: f.Epoch,
		Began: f.Began, Detect: f.Detect, Find: f.Find,
	}
}

// Copy returns a copy that can be changed without changing the original. Logger, MeterProvider, Resolver and the hooks
// are the same ones.
func (c *Config) Copy() *Config {
	cp := *c
	cp.TrackSettings = slices.Clone(c.TrackSettings)
	if c.Conn != nil {
		cp.Conn = c.Conn.Copy()
	}
	if c.Pool != nil {
		pool := *c.Pool
		pool.ConnConfig = cp.Conn
		cp.Pool = &pool
	}
	return &cp
}

// validate refuses what did not come from ParseConfig, and what was changed into something it would have refused.
func (c *Config) validate() error {
	if c == nil || !c.parsed {
		return errors.New("fairlead: this Config did not come from ParseConfig: call it, and change what it returns")
	}
	if c.Conn == nil || c.Pool == nil {
		return errors.New("fairlead: Conn or Pool of the Config is nil: change what ParseConfig has put there, but leave it there")
	}
	for _, p := range params {
		if p.optional && p.get(c) == "" {
			continue
		}
		if err := p.set(new(Config), p.get(c)); err != nil {
			return p.refuse("", err)
		}
	}
	return c.check()
}

// check finds parameters that are well-formed, and do not go together.
func (c *Config) check() error {
	if c.Topology == TopologyAurora && c.InstanceHostPattern == "" && c.derivedPattern() == "" {
		return fmt.Errorf("fairlead: topology=aurora with host %s: instance_host_pattern is needed, since the hosts of the instances cannot be derived from this one; set it to a name with ? for the instance's ID, as in ?.xyz.eu-west-1.rds.amazonaws.com", c.Conn.Host)
	}
	return c.checkAuth()
}

// clusterName stands for the cluster in logs, events and metrics: the first host.
func (c *Config) clusterName() string {
	host := strings.ToLower(c.Conn.Host)
	if c.Conn.Port == 5432 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(c.Conn.Port)))
}

// hosts are those of the DSN in their order, each once.
func (c *Config) hosts() []string {
	hosts := []string{c.Conn.Host}
	for _, f := range c.Conn.Fallbacks {
		if f.Host != hosts[len(hosts)-1] {
			hosts = append(hosts, f.Host)
		}
	}
	return hosts
}

// poolInstead says what takes the place of pgxpool's parameters with database/sql.
var poolInstead = map[string]string{
	"pool_max_conns":                "call SetMaxOpenConns on the sql.DB",
	"pool_min_conns":                "call SetMaxIdleConns on the sql.DB",
	"pool_min_idle_conns":           "call SetMaxIdleConns on the sql.DB",
	"pool_max_conn_lifetime":        "call SetConnMaxLifetime on the sql.DB",
	"pool_max_conn_idle_time":       "call SetConnMaxIdleTime on the sql.DB",
	"pool_max_conn_lifetime_jitter": "leave it out",
	"pool_health_check_period":      "leave it out",
	"pool_ping_timeout":             "leave it out",
}

// refusePoolParameters is for those who have no pgxpool to give the parameters to.
func (c *Config) refusePoolParameters() error {
	if c == nil || len(c.poolKeys) == 0 {
		return nil
	}
	key := c.poolKeys[0]
	return fmt.Errorf("fairlead: parameter %s is for pgxpool, and this is not one: %s, or connect with pgxpool.NewWithConfig and driver.PoolConfig", key, poolInstead[key])
}

// poolerInstead says what a pooler has in the place of parameters that pgx heeds in an application.
var poolerInstead = map[string]string{
	"pool_max_conns":             "set pool_size",
	"pool_min_conns":             "set min_pool_size",
	"pool_min_idle_conns":        "set min_pool_size",
	"pool_max_conn_lifetime":     "set server_lifetime",
	"pool_max_conn_idle_time":    "set server_idle_timeout",
	"statement_cache_capacity":   "set max_prepared_statements",
	"description_cache_capacity": "leave it out: clients keep their own descriptions",
	"default_query_exec_mode":    "leave it out: clients choose their protocol",
}

// refuseForPooler is for poolers, whose clients are not pgx's connections.
func (c *Config) refuseForPooler() error {
	if c == nil || len(c.pgxKeys) == 0 {
		return nil
	}
	key := c.pgxKeys[0]
	return fmt.Errorf("parameter %s is for pgx in an application, and not for a pooler: %s", key, cmp.Or(poolerInstead[key], "leave it out"))
}

// disable is the variable that turns the driver into plain pgx.
const disable = "FAIRLEAD_DISABLE"

// disabledByEnv reads the switch.
func disabledByEnv() (bool, error) {
	switch v := os.Getenv(disable); strings.ToLower(v) {
	case "", "0", "f", "false", "off", "no":
		return false, nil
	case "1", "t", "true", "on", "yes":
		return true, nil
	default:
		return false, fmt.Errorf("fairlead: environment variable %s: allowed are 1, true, on, yes and 0, false, off, no", disable)
	}
}
