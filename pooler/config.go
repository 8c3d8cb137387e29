package pooler

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/driver"
)

// Mode is how long a session keeps a server connection.
type Mode string

// The modes.
const (
	Transaction Mode = "transaction" // for a transaction, or a statement outside of one
	Session     Mode = "session"     // until its client disconnects
)

// Defaults of a Config, which stand for zero values.
const (
	DefaultPoolSize          = 20
	DefaultBorrowTimeout     = 120 * time.Second
	DefaultServerLifetime    = time.Hour
	DefaultServerIdleTimeout = 10 * time.Minute
	DefaultIdleClientTimeout = 1800 * time.Second
	DefaultDrainTimeout      = 30 * time.Second
	DefaultMaxClients        = 10000
	DefaultStatements        = 500
	DefaultLoginTimeout      = 10 * time.Second
)

// Config says where clients come in, and which cluster they get.
type Config struct {
	// Listeners are where clients come in; at least one.
	Listeners []Listener
	// Cluster is what they get.
	Cluster Cluster
	// Users may log in with a password, by name. Those who come from this machine may do so without, where their Listener
	// trusts them.
	Users map[string]User
	// MaxClients bounds the clients that are connected; the next is refused with SQLSTATE 53300. Default DefaultMaxClients.
	MaxClients int
	// IdleClientTimeout ends clients that say nothing for so long outside of a transaction. Default DefaultIdleClientTimeout;
	// negative: never.
	IdleClientTimeout time.Duration
	// LoginTimeout bounds a client's way in. Default DefaultLoginTimeout.
	LoginTimeout time.Duration
	// DrainTimeout bounds how long Run waits for open transactions once it is to end. Default DefaultDrainTimeout.
	DrainTimeout time.Duration

	// Logger gets what an operator acts on; default nil: no logs.
	Logger *slog.Logger
	// MeterProvider gets the metrics; default nil: OpenTelemetry's global one.
	MeterProvider metric.MeterProvider
}

// Listener is an address where clients come in.
type Listener struct {
	// Address is host:port, or the path of a Unix socket, which libpq wants to be called .s.PGSQL.<port>.
	Address string
	// TLS is what clients may ask for; nil: nothing.
	TLS *tls.Config
	// Encryption says whether they must.
	Encryption Encryption
	// Login is how they log in. Default LoginTrust where nobody from elsewhere can come in, otherwise LoginPassword.
	Login Login
}

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
)

// User is somebody who may log in. His sessions run as the user of the Cluster.
type User struct {
	// Password is the user's in plain text, or what PostgreSQL keeps of it in pg_authid (SCRAM-SHA-256$…).
	Password string
}

// Cluster is a database cluster, with the way to log in to it.
type Cluster struct {
	// Database says how to reach the cluster, log in and go on when a part of it fails. It comes from driver.ParseConfig.
	Database *driver.Config
	// Mode is how long a session keeps a connection. Default Transaction.
	Mode Mode
	// PoolSize bounds the connections for each database and user. Default DefaultPoolSize.
	PoolSize int
	// MinPoolSize is how many of them are kept open though nobody needs them. Default 0.
	MinPoolSize int
	// BorrowTimeout bounds a session's wait for a connection to become free; then it gets SQLSTATE 53300. Default
	// DefaultBorrowTimeout.
	BorrowTimeout time.Duration
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

// withDefaults is the Config with its defaults, or why it cannot be.
func (c Config) withDefaults() (Config, error) {
	if c.Cluster.Database == nil {
		return c, errors.New("pooler: no cluster: set Cluster.Database to what driver.ParseConfig returns")
	}
	if len(c.Listeners) == 0 {
		return c, errors.New("pooler: no listener: clients need an address, as in 127.0.0.1:6432")
	}
	def(&c.MaxClients, DefaultMaxClients)
	def(&c.IdleClientTimeout, DefaultIdleClientTimeout)
	def(&c.LoginTimeout, DefaultLoginTimeout)
	def(&c.DrainTimeout, DefaultDrainTimeout)
	k := &c.Cluster
	def(&k.Mode, Transaction)
	def(&k.PoolSize, DefaultPoolSize)
	def(&k.BorrowTimeout, DefaultBorrowTimeout)
	def(&k.ServerLifetime, DefaultServerLifetime)
	def(&k.ServerIdleTimeout, DefaultServerIdleTimeout)
	def(&k.Statements, DefaultStatements)
	switch {
	case k.Mode != Transaction && k.Mode != Session:
		return c, fmt.Errorf("pooler: mode %q is not known: transaction and session are", k.Mode)
	case k.Watch != WatchAlways && k.Watch != WatchUsed:
		return c, fmt.Errorf("pooler: watch %q is not known: used is", k.Watch)
	case k.PoolSize < 1:
		return c, fmt.Errorf("pooler: pool size %d: at least 1 is needed", k.PoolSize)
	case k.MinPoolSize < 0 || k.MinPoolSize > k.PoolSize:
		return c, fmt.Errorf("pooler: min pool size %d: 0 to the pool size, %d, is allowed", k.MinPoolSize, k.PoolSize)
	case k.Statements < 1:
		return c, fmt.Errorf("pooler: %d prepared statements: at least 1 is needed", k.Statements)
	case c.MaxClients < 1:
		return c, fmt.Errorf("pooler: %d clients at most: at least 1 is needed", c.MaxClients)
	}
	listeners := make([]Listener, len(c.Listeners))
	for i, l := range c.Listeners {
		if err := l.complete(c.Users); err != nil {
			return c, err
		}
		listeners[i] = l
	}
	c.Listeners = listeners
	for name, u := range c.Users {
		if u.Password == "" {
			return c, fmt.Errorf("pooler: user %q has no password", name)
		}
		if _, err := credentials(u.Password); err != nil {
			return c, fmt.Errorf("pooler: user %q: %w", name, err)
		}
	}
	return c, nil
}

// def puts a default where there is a zero value.
func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// complete fills in how clients log in, and refuses what would let in anybody.
func (l *Listener) complete(users map[string]User) error {
	local := l.unix()
	if !local {
		host, _, err := net.SplitHostPort(l.Address)
		if err != nil {
			return fmt.Errorf("pooler: listener %q: %w; host:port or the path of a Unix socket is needed", l.Address, err)
		}
		ip := net.ParseIP(host)
		local = host == "localhost" || ip != nil && ip.IsLoopback()
	}
	if l.Login == "" {
		l.Login = LoginPassword
		if local && len(users) == 0 {
			l.Login = LoginTrust
		}
	}
	switch {
	case l.Login != LoginTrust && l.Login != LoginPassword:
		return fmt.Errorf("pooler: listener %s: login %q is not known: trust and password are", l.Address, l.Login)
	case l.Login == LoginTrust && !local:
		return fmt.Errorf("pooler: listener %s: trust would let in everybody who can reach it: it is for loopback addresses and Unix sockets; give users passwords", l.Address)
	case l.Login == LoginPassword && len(users) == 0:
		return fmt.Errorf("pooler: listener %s: nobody could log in: users with passwords are needed", l.Address)
	case l.Encryption != EncryptionOptional && l.Encryption != EncryptionRequired:
		return fmt.Errorf("pooler: listener %s: encryption %q is not known: required is", l.Address, l.Encryption)
	case l.Encryption == EncryptionRequired && l.TLS == nil:
		return fmt.Errorf("pooler: listener %s: encryption is required, and there is no certificate", l.Address)
	}
	return nil
}

func (l *Listener) unix() bool { return filepath.IsAbs(l.Address) || strings.HasPrefix(l.Address, "@") }
