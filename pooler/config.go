package pooler

import (
	"crypto/tls"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
)

// Mode is how long a session keeps a server connection.
type Mode string

// The modes.
const (
	Transaction Mode = "transaction" // for a transaction, or a statement outside of one
	Session     Mode = "session"     // until its client disconnects
	Statement   Mode = "statement"   // for a statement; BEGIN is refused with SQLSTATE 0A000
)

// TargetRole is which instances the sessions of a Listener are for, in RDS Proxy's words.
type TargetRole string

// The roles.
const (
	ReadWrite TargetRole = "READ_WRITE" // the writer
	ReadOnly  TargetRole = "READ_ONLY"  // the readers
)

// Defaults of a Config, which stand for zero values.
const (
	DefaultPoolSize          = 20
	DefaultBorrowTimeout     = 120 * time.Second
	DefaultServerLifetime    = time.Hour
	DefaultServerIdleTimeout = 10 * time.Minute
	DefaultIdleClientTimeout = 1800 * time.Second
	DefaultMessageTimeout    = 30 * time.Second
	DefaultClientMemory      = 16 << 20
	DefaultDrainTimeout      = 30 * time.Second
	DefaultMaxClients        = 10000
	DefaultStatements        = 500
	DefaultLoginTimeout      = 10 * time.Second
)

// DefaultAuthQuery is what auth_query: default stands for.
const DefaultAuthQuery = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname operator(pg_catalog.=) $1"

// Config says where clients come in, and which clusters they get.
type Config struct {
	// Listeners are where clients come in; at least one.
	Listeners []Listener
	// Clusters are what they get, by the names that Listeners use for them; at least one.
	Clusters map[string]*Cluster
	// Users may log in with a password, by name. Those who come from this machine may do so without, where their Listener
	// trusts them.
	Users map[string]User
	// MaxClients bounds the clients that are connected; the next is refused with SQLSTATE 53300. Default DefaultMaxClients.
	MaxClients int
	// IdleClientTimeout ends clients that say nothing for so long outside of a transaction. Default DefaultIdleClientTimeout;
	// negative: never. Clients that listen are not idle.
	IdleClientTimeout time.Duration
	// IdleTransactionTimeout ends clients that say nothing for so long within a transaction, which is rolled back, with SQLSTATE
	// 25P03. Default 0: never.
	IdleTransactionTimeout time.Duration
	// QueryTimeout cancels what runs for so long on a server: its client gets SQLSTATE 57014, and stays. Default 0: never.
	QueryTimeout time.Duration
	// ClientMessageTimeout ends clients that have begun a message and do not send its rest, with SQLSTATE 57P05: within so long the rest
	// has to come, or 16 kB of it. Default DefaultMessageTimeout; negative: never.
	ClientMessageTimeout time.Duration
	// ClientMemoryLimit bounds what is kept for a client, in bytes: its prepared statements, settings, channels and names, and what is not
	// answered yet. A statement that would pass it is refused with SQLSTATE 54000. It holds for clients that come. Default
	// DefaultClientMemory; at least 1 MiB; negative: no bound.
	ClientMemoryLimit int
	// LoginTimeout bounds a client's way in. Default DefaultLoginTimeout.
	LoginTimeout time.Duration
	// DrainTimeout bounds how long Run waits for open transactions once it is to end. Default DefaultDrainTimeout.
	DrainTimeout time.Duration
	// Admin is where Run tells over HTTP how it does, as AdminHandler says: host:port, or a port of 127.0.0.1. Everybody who reaches
	// it is answered. Default "": nowhere.
	Admin string

	// Source reads the Config anew for those who ask the admin address to reload it. Default nil: they cannot.
	Source func() (Config, error)

	// DebugLogging is what a configuration file says of it. It is for who makes the Logger; a Server does not look at it.
	DebugLogging DebugLogging
	// Logger gets what an operator acts on; default nil: no logs.
	Logger *slog.Logger
	// MeterProvider gets the metrics; default nil: OpenTelemetry's global one.
	MeterProvider metric.MeterProvider
}

// DebugLogging is off or on.
type DebugLogging string

// Whether more is logged, such as why a client was not let in.
const (
	DebugOff DebugLogging = ""
	DebugOn  DebugLogging = "on"
)

// Listener is an address where clients come in.
type Listener struct {
	// Address is host:port, or the path of a Unix socket, which libpq wants to be called .s.PGSQL.<port>.
	Address string
	// Cluster is the name of the one that clients get. Default: the only one.
	Cluster string
	// TargetRole is which of its instances they get. Default: what target_session_attrs in the cluster's DSN says, which is the
	// writer if it says nothing.
	TargetRole TargetRole
	// ReaderFallback says whether the writer serves clients for readers while there is no reader. Default: what reader_fallback in
	// the cluster's DSN says, which is off, and on for a cluster-ro endpoint.
	ReaderFallback driver.Switch
	// Mode is how long a session keeps a connection. Default Transaction.
	Mode Mode
	// TLS is what clients may ask for; nil: nothing. With ClientCAs and ClientAuth = tls.RequireAndVerifyClientCert they need a certificate, beside
	// a password or, with LoginCert, in its place.
	TLS *tls.Config
	// Encryption says whether they must.
	Encryption Encryption
	// Login is how they log in. Default LoginTrust where nobody from elsewhere can come in, otherwise LoginPassword.
	Login Login
	// IAMAuth says for LoginPassword whether the password may be, or has to be, an IAM token. Default IAMDisabled.
	IAMAuth IAMAuth
	// CertMap says for LoginCert which users a certificate may come in as. Default nil: as the one that its CN names, if that is the DSN's
	// or one of the Config's Users.
	CertMap []CertRule

	certRules []certRule // of CertMap
}

// IAMAuth says what IAM tokens are to clients of a Listener. They are taken over TLS and Unix sockets only, where clients are asked for a
// password in the clear then: who they are is known by it only.
type IAMAuth string

// What IAM tokens are.
const (
	IAMDisabled IAMAuth = "disabled" // passwords like others
	IAMAllowed  IAMAuth = "allowed"  // good in the place of a password
	IAMRequired IAMAuth = "required" // the only way in
)

// CertRule lets certificates come in as a user.
type CertRule struct {
	// Field is where in a certificate Name is looked for.
	Field CertField
	// Name is what has to stand there: the whole of it. One that begins with a slash is a regular expression behind it, for the whole too.
	Name string
	// User is whom it may come in as. \1 stands for what the expression's first group has matched.
	User string
}

// CertField is a part of a certificate.
type CertField string

// The parts of a certificate that name its owner.
const (
	CertCN  CertField = "cn"  // the subject's common name
	CertDNS CertField = "dns" // one of its DNS names
	CertURI CertField = "uri" // one of its URIs, such as a SPIFFE ID
)

// Encryption says whether clients of a Listener must use TLS.
type Encryption string

// Whether TLS must be used.
const (
	EncryptionOptional Encryption = ""
	EncryptionRequired Encryption = "required"
)

// Login is how clients of a Listener log in.
type Login string

// How clients log in.
const (
	LoginTrust    Login = "trust"    // without a password; on loopback addresses, and Unix sockets for the same user of the machine
	LoginPassword Login = "password" // with SCRAM-SHA-256, and channel binding over TLS
	LoginCert     Login = "cert"     // with a certificate that one of TLS.ClientCAs has signed
)

// User is somebody who may log in. His sessions run as the user of the Cluster.
type User struct {
	// Password is the user's in plain text, or what PostgreSQL keeps of it in pg_authid (SCRAM-SHA-256$…). Without it, and without
	// Secret, no password lets the user in: LoginCert, LoginTrust and IAM tokens do.
	Password string
	// Secret is of AWS Secrets Manager, and has the password in the place of Password, with this user's name. Default nil: Password is it.
	Secret *awscreds.SecretsConfig
	// MaxClients bounds his clients; the next is refused with SQLSTATE 53300. Default 0: MaxClients of the Config does.
	MaxClients int
}

// String describes the user for logs, without the password.
func (u User) String() string {
	switch {
	case u.Secret != nil:
		return "a user with a secret"
	case u.Password != "":
		return "a user with a password"
	}
	return "a user without a password"
}

// GoString is String.
func (u User) GoString() string { return u.String() }

// LogValue implements slog.LogValuer.
func (u User) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Cluster is a database cluster, with the way to log in to it. Of each combination of a database, a role and a mode that clients
// ask for it has a pool of connections; the bounds are those of one pool.
type Cluster struct {
	// Database says how to reach the cluster, log in and go on when a part of it fails. It comes from driver.ParseConfig.
	Database *driver.Config
	// AuthQuery is SQL that finds the verifier of a user who is not among the Config's Users: a SELECT with the user's name for $1,
	// which gives that name and what the server keeps of the password. It is run as the user of Database or AuthDatabase, with pg_catalog
	// for its search_path. Default "": nobody is looked for. DefaultAuthQuery needs a role that may read pg_authid.
	AuthQuery string
	// AuthDatabase says how AuthQuery is run, where that is another user than the one that sessions run as. It comes from
	// driver.ParseConfig. Default nil: as Database does.
	AuthDatabase *driver.Config
	// IAMRoles are the users as which roles of AWS may come in where a Listener's IAMAuth takes tokens: ARNs of roles or users, each with the names of
	// the users. The client's token is one of awscreds.NewSTS. Default nil: nobody's.
	IAMRoles map[string][]string
	// IAMAudience is whom such tokens have to be for; needed with IAMRoles. A token for one audience is nothing to another.
	IAMAudience string
	// STSEndpoint is where AWS's STS is asked whose a token is. Default: that of the region in the DSN or its host.
	STSEndpoint string
	// Databases are those for which something else holds, by name.
	Databases map[string]Database
	// PoolSize bounds the connections of a pool. Default DefaultPoolSize.
	PoolSize int
	// MaxServerConnections bounds the connections of all of the cluster's pools together: of those that lead to the writer, and in
	// the same way of those that are READ_ONLY. A pool that needs another one gets that of one that does not use it, and their
	// shares become equal where all need more. Default 0: PoolSize alone bounds each.
	MaxServerConnections int
	// MaxConnectionsPercent is the same in percent of the connections that the server admits, which are its max_connections without
	// those that it reserves. PoolSize does not count then. Default 0: MaxServerConnections and PoolSize do.
	MaxConnectionsPercent int
	// MaxIdleConnectionsPercent bounds those of them that nobody uses, in percent of the same. It needs MaxConnectionsPercent, and
	// is no more than that. Default 0: ServerIdleTimeout alone ends them.
	MaxIdleConnectionsPercent int
	// MinPoolSize is how many of them are kept open though nobody needs them. Default 0.
	MinPoolSize int
	// BorrowTimeout bounds a session's wait for a connection to become free; then it gets SQLSTATE 53300. Default
	// DefaultBorrowTimeout.
	BorrowTimeout time.Duration
	// InitQuery is SQL that is run on each connection before anything else. What it sets holds for all sessions, and is what
	// RESET goes back to. If it fails, clients are told so. Default "": nothing.
	InitQuery string
	// PinningFilters are what does not keep a session on its connection though it may have set something there.
	PinningFilters []PinningFilter
	// WaitUntil is when waits for a connection end early, asked when one begins: the zero time, and one that is past, are no
	// end. Default nil: they do not.
	WaitUntil func() time.Time
	// ServerLifetime is how old a connection becomes. Default DefaultServerLifetime; negative: no end.
	ServerLifetime time.Duration
	// ServerIdleTimeout is how long a connection stays that nobody needs. Default DefaultServerIdleTimeout; negative: no end.
	ServerIdleTimeout time.Duration
	// Watch is when the cluster is watched, which takes a connection. Default WatchAlways.
	Watch Watch
	// Statements bounds the prepared statements of a connection. Default DefaultStatements.
	Statements int
	// VerifyClean asks the server before each hand-over whether its connection is as clean as it is taken to be. It costs
	// several round trips, and is for tests.
	VerifyClean VerifyClean
}

// Database is what holds for one database of a Cluster.
type Database struct {
	// PoolSize bounds the connections of its pools, in the place of the Cluster's. Default 0: that does.
	PoolSize int
	// MaxClients bounds its clients; the next is refused with SQLSTATE 53300. Default 0: MaxClients of the Config does.
	MaxClients int
}

// PinningFilter names what does not pin, in RDS Proxy's words.
type PinningFilter string

// ExcludeVariableSets takes functions of the user's own to set nothing in a session: session_state=relaxed in the DSN. What SET
// and set_config do never pins.
const ExcludeVariableSets PinningFilter = "EXCLUDE_VARIABLE_SETS"

// Watch is when a cluster is watched.
type Watch string

// When a cluster is watched.
const (
	WatchAlways Watch = ""     // from the start
	WatchUsed   Watch = "used" // from the first connection on
)

// VerifyClean is off or on.
type VerifyClean string

// Whether connections are verified before each hand-over.
const (
	VerifyOff VerifyClean = ""
	VerifyOn  VerifyClean = "on"
)
