package driver_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// TestATransactionIsRunAgainOnlyWhenReplayCannotSaveIt has the writer fail in the middle of a transaction, once.
func TestATransactionIsRunAgainOnlyWhenReplayCannotSaveIt(t *testing.T) {
	driver.ForgetWithoutReplay(t)
	c := rdstest.Start(t, rdstest.Config{})
	ctx := testContext(t)
	db := open(t, c, c.DSN())
	mustExec(t, db, "create table t (a text, at timestamptz default clock_timestamp())")
	poolConfig, err := driver.PoolConfig(config(t, c, c.DSN()))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()

	runSQL := func(ctx context.Context, query, name string, fail func()) error {
		return driver.RunTx(ctx, db, nil, func(tx *sql.Tx) error {
			var at time.Time
			if err := tx.QueryRowContext(ctx, query, name).Scan(&at); err != nil {
				return err
			}
			fail()
			_, err := tx.ExecContext(ctx, "update t set at = at where a = $1", name)
			return err
		})
	}
	runPgx := func(ctx context.Context, query, name string, fail func()) error {
		return driver.RunPgxTx(ctx, pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
			var at time.Time
			if err := tx.QueryRow(ctx, query, name).Scan(&at); err != nil {
				return err
			}
			fail()
			_, err := tx.Exec(ctx, "update t set at = at where a = $1", name)
			return err
		})
	}
	const (
		same    = "insert into t (a) values ($1) returning timestamptz 'epoch'"
		another = "insert into t (a) values ($1) returning at"
	)
	for _, k := range []struct {
		name, query string
		ctx         context.Context
		run         func(ctx context.Context, query, name string, fail func()) error
		attempts    int
	}{
		{"database/sql, replayed", same, ctx, runSQL, 1},
		{"database/sql, diverged", another, ctx, runSQL, 2},
		{"database/sql, without replay", same, driver.WithoutReplay(ctx), runSQL, 2},
		{"pgx, replayed", same, ctx, runPgx, 1},
		{"pgx, diverged", another, ctx, runPgx, 2},
		{"pgx, without replay", same, driver.WithoutReplay(ctx), runPgx, 2},
	} {
		t.Run(k.name, func(t *testing.T) {
			attempts := 0
			err := k.run(k.ctx, k.query, k.name, func() {
				if attempts++; attempts == 1 {
					failover(t, c)
				}
			})
			if err != nil || attempts != k.attempts {
				t.Errorf("%d attempts, %v, want %d", attempts, err, k.attempts)
			}
			var rows int
			if err := db.QueryRowContext(ctx, "select count(*) from t where a = $1", k.name).Scan(&rows); err != nil || rows != 1 {
				t.Errorf("%d rows, %v", rows, err)
			}
		})
	}
}
