package boundaries

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// silence is how long a connection is silent before it is reset.
const silence = 3 * time.Millisecond

// Run starts a cluster, cuts connections to it at every message of every unit, and takes it down again. An error is one of the
// run itself; what the driver did wrong is in the result.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cluster, err := rdstest.New(ctx, rdstest.Config{Flavor: cfg.Flavor, Readers: -1, BinDir: cfg.BinDir, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("boundaries: %w", err)
	}
	c := &cutter{cfg: cfg, cluster: cluster, result: &Result{Mode: cfg.Mode}, reader: metric.NewManualReader()}
	err = c.all(ctx)
	if closeErr := cluster.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("boundaries: stop the cluster: %w", closeErr))
	}
	return c.result, err
}

// cutter goes through units, one run after the other.
type cutter struct {
	cfg     Config
	cluster *rdstest.Cluster
	opener  *opener
	admin   *pgx.Conn
	hears   *pgx.Conn // listens on the channel boundaries
	reader  *metric.ManualReader
	counted map[string]int64 // the driver's verdicts so far
	result  *Result
	kept    session // goes on to be used
}

func (c *cutter) all(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	defer c.admin.Close(context.WithoutCancel(ctx))
	defer c.hears.Close(context.WithoutCancel(ctx))
	var err error
	if c.opener, err = openClients(c.cluster, c.cfg, metric.NewMeterProvider(metric.WithReader(c.reader))); err != nil {
		return err
	}
	err = c.units(ctx)
	if closeErr := c.opener.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("boundaries: close the pools: %w", closeErr))
	}
	return err
}

// prepare makes the tables.
func (c *cutter) prepare(ctx context.Context) (err error) {
	if c.admin, err = c.cluster.AdminConn(ctx, c.cluster.Writer()); err != nil {
		return err
	}
	if _, err := c.admin.Exec(ctx, "alter system set max_prepared_transactions = 10"); err != nil {
		return fmt.Errorf("boundaries: allow two-phase commits: %w", err)
	}
	c.admin.Close(ctx)
	if err := c.cluster.Restart(ctx, c.cluster.Writer()); err != nil {
		return err
	}
	if c.admin, err = c.cluster.AdminConn(ctx, c.cluster.Writer()); err != nil {
		return err
	}
	statements := schema
	if c.cfg.Mode == driver.ResolutionMarker || c.cfg.Mode == driver.ResolutionAuto {
		statements = append([]string{commit.Migration()}, statements...)
	}
	for _, st := range statements {
		if _, err := c.admin.Exec(ctx, st); err != nil {
			return fmt.Errorf("boundaries: make the tables: %w", err)
		}
	}
	if c.hears, err = c.cluster.AdminConn(ctx, c.cluster.Writer()); err != nil {
		return err
	}
	if _, err := c.hears.Exec(ctx, "listen boundaries"); err != nil {
		return fmt.Errorf("boundaries: listen: %w", err)
	}
	return nil
}

func (c *cutter) units(ctx context.Context) error {
	for i := range units {
		u := &units[len(units)-1-i] // the odd ones first
		if !slices.Contains(c.cfg.Units, u.name) {
			continue
		}
		begin, runs, bad := time.Now(), c.result.Runs, len(c.result.Problems)
		for _, client := range c.cfg.Clients {
			if !u.has(client) {
				continue
			}
			if err := c.unit(ctx, u, client); err != nil {
				return fmt.Errorf("boundaries: %s through %s: %w", u.name, titles[client], err)
			}
		}
		fmt.Fprintf(c.cfg.Progress, "%-6s %-45s %4d runs, %d problems, %.1f s\n", c.cfg.Mode, u.name, c.result.Runs-runs, len(c.result.Problems)-bad,
			time.Since(begin).Seconds())
	}
	return nil
}

// unit cuts one unit's connection at each of its messages.
func (c *cutter) unit(ctx context.Context, u *unit, client string) error {
	defer c.end()
	whole, err := c.run(ctx, u, client, nil)
	if err != nil {
		return err
	}
	if code := sqlState(whole.err); whole.err != nil && (u.fails == "" || code != u.fails) {
		return fmt.Errorf("it does not work without a cut: %w", whole.err)
	}
	if problems := whole.judge(u); len(problems) > 0 {
		return fmt.Errorf("it does not work without a cut: %s", strings.Join(problems, "; "))
	}
	account := Account{Group: u.group, Unit: u.name, Client: client, Messages: whole.messages}
	places := points(whole.messages)
	// Where another client has sent and heard the same, only what this one makes of it is new.
	twin := slices.ContainsFunc(c.result.Accounts, func(a Account) bool {
		return a.Unit == u.name && slices.Equal(a.Messages, whole.messages)
	})
	for i, at := range places {
		if twin && at.when == front.Before && !firstOfRow(places, i) {
			continue
		}
		place, err := c.place(ctx, u, client, at)
		if err != nil {
			return err
		}
		account.Places = append(account.Places, place)
	}
	c.result.Accounts = append(c.result.Accounts, account)
	return nil
}

// place cuts at one point, in every manner.
func (c *cutter) place(ctx context.Context, u *unit, client string, at point) (Place, error) {
	place := Place{point: at}
	for _, how := range c.cfg.Manners {
		if how == front.Silent && (at.when == front.Before || at.from == front.Server) {
			continue // elsewhere nobody is left waiting for the other side, or a reset shows the same
		}
		got, err := c.run(ctx, u, client, &cut{at, how})
		if err != nil {
			return place, fmt.Errorf("cut %s, %v: %w", at, how, err)
		}
		for _, text := range got.judge(u) {
			p := Problem{u.name, client, at.String() + ", " + how.String(), text}
			c.result.Problems = append(c.result.Problems, p)
			fmt.Fprintf(c.cfg.Progress, "%-6s %v\n", c.cfg.Mode, p)
		}
		place.add(got.verdict())
	}
	return place, nil
}
