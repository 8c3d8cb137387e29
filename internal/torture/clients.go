package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// The drivers on top of the mount.
const (
	clientSQL = "sql" // database/sql with pgx
	clientPQ  = "pq"  // database/sql with lib/pq
	clientPgx = "pgx" // pgxpool
)

var clientNames = []string{clientSQL, clientPQ, clientPgx}

// clients are the pools of a round.
type clients struct {
	sql, pq *sql.DB
	pgx     *pgxpool.Pool
}

func openClients(ctx context.Context, c *rdstest.Cluster, cfg Config, meter metric.MeterProvider, onFailover func(driver.FailoverEvent)) (*clients, error) {
	dc, err := driverConfig(c, cfg)
	if err != nil {
		return nil, err
	}
	dc.MeterProvider, dc.OnFailover = meter, onFailover
	all := &clients{}
	connector, err := driver.NewConnector(dc)
	if err != nil {
		return nil, err
	}
	all.sql = sql.OpenDB(connector)

	dialer, err := driver.NewDialer(dc)
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	pqConnector, err := pq.NewConnector(fmt.Sprintf("user=%s dbname=%s sslmode=disable", dc.Conn.User, dc.Conn.Database))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("torture: open lib/pq: %w", err), all.close())
	}
	pqConnector.Dialer(dialer)
	all.pq = sql.OpenDB(pqConnector)

	pc, err := driver.PoolConfig(dc)
	if err != nil {
		return nil, errors.Join(err, all.close())
	}
	pc.MaxConns = int32(cfg.Workers) + 1
	if all.pgx, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, errors.Join(fmt.Errorf("torture: open pgxpool: %w", err), all.close())
	}
	for _, db := range []*sql.DB{all.sql, all.pq} {
		db.SetMaxOpenConns(cfg.Workers + 1)
		db.SetMaxIdleConns(cfg.Workers + 1)
	}
	return all, nil
}

func driverConfig(c *rdstest.Cluster, cfg Config) (*driver.Config, error) {
	dsn := c.DSN()
	if cfg.Flavor == rdstest.Replication {
		dsn = c.MultiHostDSN()
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, errors.New("torture: the cluster's DSN is not a URL")
	}
	q := u.Query()
	q.Set("commit_resolution", string(cfg.Mode))
	q.Set("session_state", "relaxed") // the functions that are called set nothing
	for k, v := range cfg.Options {
		q.Set(k, v)
	}
	u.RawQuery = q.Encode()
	dc, err := driver.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	dc.Resolver = c.Resolver()
	dc.Logger = cfg.Logger
	return dc, nil
}

func (c *clients) close() error {
	var errs []error
	for _, db := range []*sql.DB{c.sql, c.pq} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if c.pgx != nil {
		c.pgx.Close()
	}
	return errors.Join(errs...)
}
