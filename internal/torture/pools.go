package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/clients"
	"github.com/fairlead-go/fairlead/rdstest"
)

// The clients on top of the mount, and the one of Go that goes through a pooler. The others are those of languages.
const (
	clientSQL    = "sql"    // database/sql with pgx
	clientPQ     = "pq"     // database/sql with lib/pq
	clientPgx    = "pgx"    // pgxpool
	clientPooler = "pooler" // pgxpool, which knows nothing of the driver
)

var onDriver = []string{clientSQL, clientPQ, clientPgx}

// Clients are the names of those that can work.
func Clients() []string {
	names := append(slices.Clone(onDriver), clientPooler)
	for _, l := range languages {
		names = append(names, l.name)
	}
	return names
}

// pools are those of a round.
type pools struct {
	*clients.Databases
	pgx    *pgxpool.Pool
	pooler *frontPooler  // nil: nobody goes through one
	shared *pgxpool.Pool // through it
}

func openPools(ctx context.Context, c *rdstest.Cluster, cfg Config, meter metric.MeterProvider, onFailover func(driver.FailoverEvent)) (*pools, error) {
	params := map[string]string{
		"commit_resolution": string(cfg.Mode),
		"session_state":     "relaxed", // the functions that are called set nothing
	}
	maps.Copy(params, cfg.Options)
	dc, err := clients.Config(c, cfg.Flavor, params)
	if err != nil {
		return nil, err
	}
	dc.Logger, dc.MeterProvider, dc.OnFailover = cfg.Logger, meter, onFailover
	pc, err := driver.PoolConfig(dc)
	if err != nil {
		return nil, err
	}
	pc.MaxConns = int32(cfg.Workers) + 1
	all := &pools{}
	if all.Databases, err = clients.Open(dc); err != nil {
		return nil, err
	}
	if all.pgx, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, errors.Join(fmt.Errorf("torture: open pgxpool: %w", err), all.close())
	}
	if slices.ContainsFunc(cfg.Clients, func(name string) bool { return !slices.Contains(onDriver, name) }) {
		if err := all.openShared(ctx, dc, cfg, meter); err != nil {
			return nil, errors.Join(err, all.close())
		}
	}
	for _, db := range []*sql.DB{all.SQL, all.PQ} {
		db.SetMaxOpenConns(cfg.Workers + 1)
		db.SetMaxIdleConns(cfg.Workers + 1)
	}
	return all, nil
}

func (p *pools) openShared(ctx context.Context, dc *driver.Config, cfg Config, meter metric.MeterProvider) (err error) {
	if p.pooler, err = openPooler(ctx, dc, cfg, meter); err != nil {
		return err
	}
	pc, err := pgxpool.ParseConfig(p.pooler.url())
	if err == nil {
		pc.MaxConns = int32(cfg.Workers) + 1
		p.shared, err = pgxpool.NewWithConfig(ctx, pc)
	}
	if err != nil {
		return fmt.Errorf("torture: open pgxpool through the pooler: %w", err)
	}
	return nil
}

func (p *pools) close() error {
	err := p.Close()
	for _, pool := range []*pgxpool.Pool{p.pgx, p.shared} {
		if pool != nil {
			pool.Close()
		}
	}
	if p.pooler != nil {
		err = errors.Join(err, p.pooler.close())
	}
	return err
}
