package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// Name is the name under which the driver is registered with database/sql.
const Name = "fairlead"

var registered = &sqlDriver{configs: make(map[string]*Config)}

func init() { sql.Register(Name, registered) }

// sqlDriver is what sql.Open finds.
type sqlDriver struct {
	mu      sync.Mutex
	configs map[string]*Config
	next    int
}

var (
	_ driver.Driver        = (*sqlDriver)(nil)
	_ driver.DriverContext = (*sqlDriver)(nil)
	_ driver.Connector     = (*Connector)(nil)
)

// Open implements driver.Driver; database/sql itself uses OpenConnector.
func (d *sqlDriver) Open(name string) (driver.Conn, error) {
	c, err := d.OpenConnector(name)
	if err != nil {
		return nil, err
	}
	return c.Connect(context.Background())
}

// OpenConnector implements driver.DriverContext: a malformed DSN is an error of sql.Open.
func (d *sqlDriver) OpenConnector(name string) (driver.Connector, error) {
	d.mu.Lock()
	cfg := d.configs[name]
	d.mu.Unlock()
	if cfg == nil {
		var err error
		if cfg, err = ParseConfig(name); err != nil {
			return nil, err
		}
	}
	return NewConnector(cfg)
}

// RegisterConfig gives a Config a name that sql.Open(driver.Name, name) takes for a DSN. It stays registered until
// UnregisterConfig.
func RegisterConfig(cfg *Config) string {
	registered.mu.Lock()
	defer registered.mu.Unlock()
	name := fmt.Sprintf("registeredFairleadConfig%d", registered.next)
	registered.next++
	registered.configs[name] = cfg.Copy()
	return name
}

// UnregisterConfig forgets what RegisterConfig has named. Databases that are open go on.
func UnregisterConfig(name string) {
	registered.mu.Lock()
	defer registered.mu.Unlock()
	delete(registered.configs, name)
}

// Connector makes the connections of a sql.DB. They are genuine *stdlib.Conn, as pgx's own driver makes them.
type Connector struct {
	pool      *pool // nil when the driver is disabled
	connector driver.Connector

	mu     sync.Mutex
	held   bool
	closed bool
}

// NewConnector returns a Connector for sql.OpenDB. It refuses a Config that did not come from ParseConfig, and one
// with pool_* parameters, which are pgxpool's. Nothing is dialled yet.
//
// While a Connector is open, the cluster is watched. sql.DB.Close closes it.
func NewConnector(cfg *Config) (*Connector, error) {
	if err := cfg.refusePoolParameters(); err != nil {
		return nil, err
	}
	if cfg.disabled {
		conn, err := cfg.plain()
		if err != nil {
			return nil, err
		}
		before, err := cfg.beforeConnect()
		if err != nil {
			return nil, err
		}
		var opts []stdlib.OptionOpenDB
		if before != nil {
			opts = append(opts, stdlib.OptionBeforeConnect(before))
		}
		return &Connector{connector: stdlib.GetConnector(*conn, opts...)}, nil
	}
	p, err := newPool(cfg)
	if err != nil {
		return nil, err
	}
	return &Connector{pool: p, connector: stdlib.GetConnector(*p.connConfig())}, nil
}

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.pool != nil {
		if err := c.hold(); err != nil {
			return nil, err
		}
	}
	return c.connector.Connect(ctx)
}

func (c *Connector) hold() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("fairlead: the connector is closed")
	}
	if c.held {
		return nil
	}
	if err := c.pool.Hold(); err != nil {
		return err
	}
	c.held = true
	return nil
}

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return registered }

// Close stops watching the cluster once the last connection is closed too. It implements io.Closer, which sql.DB.Close
// calls.
func (c *Connector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held && !c.closed {
		c.pool.Release()
	}
	c.closed = true
	return nil
}

// ConnConfig returns what pgx.ConnectConfig is to connect with. Connections made from one ConnConfig, or from copies of
// it, share what they know of the cluster, which is watched while any of them is open.
func ConnConfig(cfg *Config) (*pgx.ConnConfig, error) {
	if err := cfg.refusePoolParameters(); err != nil {
		return nil, err
	}
	if cfg.disabled {
		before, err := cfg.beforeConnect()
		if err != nil {
			return nil, err
		}
		if before != nil {
			return nil, errors.New("fairlead: FAIRLEAD_DISABLE is set, and plain pgx has no way to ask for a credential at each login from a pgx.ConnConfig: use NewConnector or PoolConfig, or give it a password")
		}
	}
	return cfg.connConfig()
}

// PoolConfig returns what pgxpool.NewWithConfig is to connect with; pool_* parameters of the DSN are in it.
func PoolConfig(cfg *Config) (*pgxpool.Config, error) {
	conn, err := cfg.connConfig()
	if err != nil {
		return nil, err
	}
	pool := cfg.Pool.Copy()
	pool.ConnConfig = conn
	if cfg.disabled {
		before, err := cfg.beforeConnect()
		if err != nil {
			return nil, err
		}
		if before != nil {
			pool.BeforeConnect = before
		}
	}
	return pool, nil
}

func (c *Config) connConfig() (*pgx.ConnConfig, error) {
	if c.disabled {
		return c.plain()
	}
	p, err := newPool(c)
	if err != nil {
		return nil, err
	}
	return p.connConfig(), nil
}

// plain is the configuration without Fairlead, for FAIRLEAD_DISABLE.
func (c *Config) plain() (*pgx.ConnConfig, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	conn := c.Conn.Copy()
	_, conn.ValidateConnect = c.TargetSessionAttrs.want()
	if c.DialFunc != nil {
		conn.DialFunc = c.DialFunc
	}
	if c.Resolver != nil {
		conn.LookupFunc = c.Resolver.LookupHost
	}
	return conn, nil
}
