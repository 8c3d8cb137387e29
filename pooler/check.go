package pooler

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/mount"
	"github.com/fairlead-go/fairlead/internal/rdsname"
	"github.com/fairlead-go/fairlead/internal/sqltext"
)

// leastClientMemory is what a client is granted at least, in bytes: the longest text that is read whole has room in it.
const leastClientMemory = 1 << 20

// withDefaults is the Config with its defaults, or why it cannot be. It shares no more with the one that it comes of than
// Databases and what TLS says.
func (c Config) withDefaults() (Config, error) {
	if len(c.Clusters) == 0 {
		return c, errors.New("pooler: no cluster: Clusters needs one, with a Database that driver.ParseConfig returns")
	}
	if len(c.Listeners) == 0 {
		return c, errors.New("pooler: no listener: clients need an address, as in 127.0.0.1:6432")
	}
	c.MaxClients = cmp.Or(c.MaxClients, DefaultMaxClients)
	c.IdleClientTimeout = cmp.Or(c.IdleClientTimeout, DefaultIdleClientTimeout)
	c.ClientMessageTimeout = cmp.Or(c.ClientMessageTimeout, DefaultMessageTimeout)
	c.ClientMemoryLimit = cmp.Or(c.ClientMemoryLimit, DefaultClientMemory)
	c.LoginTimeout = cmp.Or(c.LoginTimeout, DefaultLoginTimeout)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, DefaultDrainTimeout)
	switch {
	case c.MaxClients < 1:
		return c, fmt.Errorf("pooler: %d clients at most: at least 1 is needed", c.MaxClients)
	case c.ClientMemoryLimit > 0 && c.ClientMemoryLimit < leastClientMemory:
		return c, fmt.Errorf("pooler: client_memory_limit is %d bytes: at least %d are needed, or a negative number for no bound", c.ClientMemoryLimit, leastClientMemory)
	case c.QueryTimeout < 0 || c.IdleTransactionTimeout < 0:
		return c, errors.New("pooler: query_timeout and idle_transaction_timeout cannot be negative: 0 is for none")
	}
	clusters := make(map[string]*Cluster, len(c.Clusters))
	for name, k := range c.Clusters {
		if k == nil || k.Database == nil {
			return c, fmt.Errorf("pooler: cluster %s: set Database to what driver.ParseConfig returns", name)
		}
		own := *k
		if err := own.complete(); err != nil {
			return c, fmt.Errorf("pooler: cluster %s: %w", name, err)
		}
		clusters[name] = &own
	}
	c.Clusters = clusters
	c.Listeners = slices.Clone(c.Listeners)
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if err := l.complete(&c); err != nil {
			return c, fmt.Errorf("pooler: listener %d: %w", i+1, err)
		}
	}
	c.Users = maps.Clone(c.Users)
	for name, u := range c.Users {
		switch {
		case !u.hasPassword() && !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Login != LoginPassword || l.IAMAuth != IAMDisabled }):
			return c, fmt.Errorf("pooler: user %q has no password, and no listener has another way to log in: give it a password, or a listener login: cert or iam_auth", name)
		case u.Password != "" && u.Secret != nil:
			return c, fmt.Errorf("pooler: user %q has a password and a secret: one is enough", name)
		case u.MaxClients < 0:
			return c, fmt.Errorf("pooler: user %q: %d clients at most: 0 is for no bound", name, u.MaxClients)
		}
	}
	if c.Admin != "" {
		if !strings.Contains(c.Admin, ":") {
			c.Admin = net.JoinHostPort("127.0.0.1", c.Admin)
		}
		if _, _, err := net.SplitHostPort(c.Admin); err != nil {
			return c, errors.New("pooler: admin address: a port or host:port is needed")
		}
	}
	return c, nil
}

func (u User) hasPassword() bool { return u.Password != "" || u.Secret != nil }

// passwords reports whether a password could let anybody in to a cluster.
func (c *Config) passwords(k *Cluster) bool {
	for _, u := range c.Users {
		if u.hasPassword() {
			return true
		}
	}
	return k.AuthQuery != ""
}

// complete fills in the defaults.
func (k *Cluster) complete() error {
	k.PoolSize = cmp.Or(k.PoolSize, DefaultPoolSize)
	k.BorrowTimeout = cmp.Or(k.BorrowTimeout, DefaultBorrowTimeout)
	k.ServerLifetime = cmp.Or(k.ServerLifetime, DefaultServerLifetime)
	k.ServerIdleTimeout = cmp.Or(k.ServerIdleTimeout, DefaultServerIdleTimeout)
	k.Statements = cmp.Or(k.Statements, DefaultStatements)
	k.PinningFilters = slices.Clone(k.PinningFilters)
	switch {
	case k.Watch != WatchAlways && k.Watch != WatchUsed:
		return errors.New("watch is not known: used is")
	case k.PoolSize < 1:
		return fmt.Errorf("pool size %d: at least 1 is needed", k.PoolSize)
	case k.MaxServerConnections < 0:
		return fmt.Errorf("max_server_connections %d: 1 or more is allowed, or 0 for no bound", k.MaxServerConnections)
	case k.MaxConnectionsPercent < 0 || k.MaxConnectionsPercent > 100:
		return fmt.Errorf("max_connections_percent %d: 1 to 100 is allowed", k.MaxConnectionsPercent)
	case k.MaxIdleConnectionsPercent < 0 || k.MaxIdleConnectionsPercent > k.MaxConnectionsPercent:
		return fmt.Errorf("max_idle_connections_percent %d: 1 to max_connections_percent, %d, is allowed", k.MaxIdleConnectionsPercent, k.MaxConnectionsPercent)
	case k.MinPoolSize < 0 || k.MaxConnectionsPercent == 0 && k.MinPoolSize > k.PoolSize:
		return fmt.Errorf("min pool size %d: 0 to the pool size, %d, is allowed", k.MinPoolSize, k.PoolSize)
	case k.Statements < 1:
		return fmt.Errorf("%d prepared statements: at least 1 is needed", k.Statements)
	}
	for _, f := range k.PinningFilters {
		if f != ExcludeVariableSets {
			return fmt.Errorf("session_pinning_filters: %s is known, and nothing else", ExcludeVariableSets)
		}
	}
	for name, d := range k.Databases {
		if d.PoolSize < 0 || d.MaxClients < 0 {
			return fmt.Errorf("database %q: a pool size of %d, and %d clients at most: 0 is for the cluster's", name, d.PoolSize, d.MaxClients)
		}
	}
	for name, d := range map[string]*driver.Config{"dsn": k.Database, "auth_dsn": k.AuthDatabase} {
		if d == nil {
			continue
		}
		if err := mount.PgxOnly(d); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := k.completeAuth(); err != nil {
		return err
	}
	if err := k.completeSTS(); err != nil {
		return err
	}
	list, err := sqltext.Split(k.InitQuery, sqltext.Options{})
	if err != nil {
		return fmt.Errorf("init_query: %w", err)
	}
	for _, st := range list {
		if sqltext.Classify(st.Text, sqltext.Options{}) == sqltext.Begin {
			return errors.New("init_query begins a transaction: nobody would end it")
		}
	}
	return nil
}

// completeAuth looks at what reads verifiers.
func (k *Cluster) completeAuth() error {
	if k.AuthQuery == "" {
		if k.AuthDatabase != nil {
			return errors.New("auth_dsn without auth_query: there is nothing to ask; auth_query: default reads pg_authid")
		}
		return nil
	}
	return checkAuthQuery(k.AuthQuery)
}

// completeSTS looks at what tells whose a token of STS is.
func (k *Cluster) completeSTS() (err error) {
	if len(k.IAMRoles) == 0 {
		if k.IAMAudience != "" || k.STSEndpoint != "" {
			return errors.New("iam_audience and sts_endpoint are for iam_roles, and there are none")
		}
		return nil
	}
	if err := awscreds.CheckAudience(k.IAMAudience); err != nil {
		return fmt.Errorf("iam_audience: iam_roles need one, that no other pooler has: %w", err)
	}
	for name, users := range k.IAMRoles {
		if _, err := principal(name); err != nil {
			return fmt.Errorf("iam_roles: %w", err)
		}
		if len(users) == 0 || slices.Contains(users, "") {
			return fmt.Errorf("iam_roles: %s: the users are missing that it may come in as", name)
		}
	}
	if k.STSEndpoint == "" {
		region := cmp.Or(k.Database.AWSRegion, rdsname.Region(k.Database.Conn.Host))
		if region == "" {
			return errors.New("sts_endpoint is needed for iam_roles: the DSN's host does not say which region it is in: https://sts.<region>.amazonaws.com")
		}
		k.STSEndpoint = stsOf(region)
	}
	return checkSTSEndpoint(k.STSEndpoint)
}

func checkFallback(s driver.Switch) error {
	if s != "" && s != driver.On && s != driver.Off {
		return errors.New("reader_fallback is not known: on and off are")
	}
	return nil
}

func checkAuthQuery(text string) error {
	list, err := sqltext.Split(text, sqltext.Options{})
	if err != nil {
		return fmt.Errorf("auth_query: %w", err)
	}
	if len(list) != 1 || !strings.Contains(text, "$1") {
		return errors.New("auth_query: one statement is needed, with the user's name for $1: default, or SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1")
	}
	return nil
}

// complete fills in how clients log in, and refuses what would let in anybody.
func (l *Listener) complete(c *Config) error {
	if l.Cluster == "" {
		names := slices.Sorted(maps.Keys(c.Clusters))
		if len(names) > 1 {
			return fmt.Errorf("it needs the name of a cluster: %s are there", strings.Join(names, ", "))
		}
		l.Cluster = names[0]
	}
	if c.Clusters[l.Cluster] == nil {
		return errors.New("its cluster is not one of clusters")
	}
	l.Mode = cmp.Or(l.Mode, Transaction)
	l.IAMAuth = cmp.Or(l.IAMAuth, IAMDisabled)
	local := l.unix()
	if !local {
		host, _, err := net.SplitHostPort(l.Address)
		if err != nil {
			return errors.New("address: host:port or the path of a Unix socket is needed")
		}
		local = loopback(host)
	}
	if l.Login == "" {
		l.Login = LoginPassword
		if local && len(c.Users) == 0 && c.Clusters[l.Cluster].AuthQuery == "" && l.IAMAuth == IAMDisabled {
			l.Login = LoginTrust
		}
	}
	switch {
	case l.Mode != Transaction && l.Mode != Session && l.Mode != Statement:
		return errors.New("mode is not known: transaction, session and statement are")
	case l.TargetRole != "" && l.TargetRole != ReadWrite && l.TargetRole != ReadOnly:
		return errors.New("target_role is not known: READ_WRITE and READ_ONLY are")
	case checkFallback(l.ReaderFallback) != nil:
		return checkFallback(l.ReaderFallback)
	case l.ReaderFallback != "" && l.TargetRole == ReadWrite:
		return errors.New("reader_fallback is for clients of readers: target_role: READ_ONLY")
	case l.Login != LoginTrust && l.Login != LoginPassword && l.Login != LoginCert:
		return errors.New("login is not known: trust, password and cert are")
	case l.Login == LoginTrust && !local:
		return errors.New("trust would let in everybody who can reach it: it is for loopback addresses and Unix sockets; give users passwords")
	case l.Login == LoginPassword && l.IAMAuth == IAMDisabled && !c.passwords(c.Clusters[l.Cluster]):
		return errors.New("nobody could log in: users with passwords are needed, an auth_query of the cluster, or iam_auth")
	case l.Encryption != EncryptionOptional && l.Encryption != EncryptionRequired:
		return errors.New("encryption is not known: required is")
	case l.Encryption == EncryptionRequired && l.TLS == nil:
		return errors.New("encryption is required, and there is no certificate")
	}
	if err := l.completeIAM(c.Clusters[l.Cluster]); err != nil {
		return err
	}
	return l.completeCerts()
}

// completeIAM looks at whether tokens can be taken, and proved.
func (l *Listener) completeIAM(k *Cluster) error {
	conn := k.Database.Conn
	verified := backend.Verifies(conn.TLSConfig) || slices.ContainsFunc(conn.Fallbacks, func(f *pgconn.FallbackConfig) bool { return backend.Verifies(f.TLSConfig) })
	if err := l.IAMAuth.check(); err != nil {
		return err
	}
	switch {
	case l.IAMAuth == IAMDisabled:
		return nil
	case l.Login != LoginPassword:
		return fmt.Errorf("iam_auth: %s with login: %s: a token is given as a password", l.IAMAuth, l.Login)
	case l.TLS == nil && !l.unix():
		return fmt.Errorf("iam_auth: %s: tokens are taken over TLS and Unix sockets only: tls_cert_file and tls_key_file are needed", l.IAMAuth)
	case len(k.IAMRoles) == 0 && !verified:
		return fmt.Errorf("iam_auth: %s: a token is proved by a login to the cluster, and sent only to a server whose certificate is verified: set sslmode=verify-full in its DSN, and sslrootcert to who signs it (rds for RDS)", l.IAMAuth)
	}
	return nil
}

func (a IAMAuth) check() error {
	if a != IAMDisabled && a != IAMAllowed && a != IAMRequired {
		return errors.New("iam_auth is not known: required, allowed and disabled are")
	}
	return nil
}

// completeCerts looks at what is asked of clients' certificates.
func (l *Listener) completeCerts() (err error) {
	asked := l.TLS != nil && l.TLS.ClientAuth == tls.RequireAndVerifyClientCert
	switch {
	case l.Login == LoginCert && (!asked || l.TLS.ClientCAs == nil):
		return errors.New("login cert: it must be said who signs clients' certificates: tls_client_ca_file, with tls_cert_file and tls_key_file")
	case l.Login != LoginCert && len(l.CertMap) > 0:
		return errors.New("cert_map is for login: cert")
	case asked && l.Encryption != EncryptionRequired:
		return errors.New("clients need a certificate, and could do without if they did not encrypt: require_tls is needed")
	}
	l.certRules, err = newCertRules(l.CertMap)
	return err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (l *Listener) unix() bool { return filepath.IsAbs(l.Address) || strings.HasPrefix(l.Address, "@") }
