package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/clients"
	"github.com/fairlead-go/fairlead/rdstest"
)

// The drivers on top of the mount.
const (
	clientSQL = "sql" // database/sql with pgx
	clientPQ  = "pq"  // database/sql with lib/pq
	clientPgx = "pgx" // pgxpool
)

var clientNames = []string{clientSQL, clientPQ, clientPgx}

// pools are those of a round.
type pools struct {
	*clients.Databases
	pgx *pgxpool.Pool
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
	for _, db := range []*sql.DB{all.SQL, all.PQ} {
		db.SetMaxOpenConns(cfg.Workers + 1)
		db.SetMaxIdleConns(cfg.Workers + 1)
	}
	return all, nil
}

func (p *pools) close() error {
	err := p.Close()
	if p.pgx != nil {
		p.pgx.Close()
	}
	return err
}
