package demo

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// connectTimeout is the same for all contestants. Without one, plain pgx hangs on a frozen instance for two minutes.
const connectTimeout = 5 * time.Second

// entry is a contestant before the race.
type entry struct {
	name, what string
	open       func(*rdstest.Cluster) (*sql.DB, error)
}

var entries = []entry{
	{PgxEndpoint, "pgx on the cluster endpoint", openEndpoint},
	{PgxMultiHost, "pgx on a list of all instances", openMultiHost},
	{Fairlead, "fairlead on the cluster endpoint", openFairlead},
}

// openEndpoint is what most people run, with one thing that many forget: target_session_attrs keeps it from staying on the
// old writer for good when that one comes back as a reader.
func openEndpoint(c *rdstest.Cluster) (*sql.DB, error) {
	return openPgx(c, c.DSN())
}

func openMultiHost(c *rdstest.Cluster) (*sql.DB, error) {
	return openPgx(c, c.MultiHostDSN())
}

func openPgx(c *rdstest.Cluster, dsn string) (*sql.DB, error) {
	dsn, err := with(dsn, "target_session_attrs", "read-write", "connect_timeout", seconds(connectTimeout))
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("demo: pgx: %w", err)
	}
	cfg.LookupFunc = c.LookupHost
	return stdlib.OpenDB(*cfg), nil
}

func openFairlead(c *rdstest.Cluster) (*sql.DB, error) {
	dsn, err := with(c.DSN(), "connect_timeout", seconds(connectTimeout))
	if err != nil {
		return nil, err
	}
	cfg, err := driver.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.Resolver = c.Resolver()
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// connect goes to one instance, past all contestants' drivers.
func connect(ctx context.Context, c *rdstest.Cluster, in *rdstest.Instance) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(c.InstanceDSN(in))
	if err != nil {
		return nil, fmt.Errorf("demo: connect to %s: %w", in.ID(), err)
	}
	cfg.LookupFunc = c.LookupHost
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("demo: connect to %s: %w", in.ID(), err)
	}
	return conn, nil
}

// with adds parameters to a DSN that is a URL.
func with(dsn string, pairs ...string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		// The text of err has the password in it.
		return "", fmt.Errorf("demo: the cluster's DSN is not a URL")
	}
	q := u.Query()
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }
