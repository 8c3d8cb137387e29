package driver

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// foreignTracer is one of the application's, as otelpgx has it: of queries, batches, copies, preparations and connections, with spans in the context.
type foreignTracer struct{ *fullTracer }

// tracerSetters are the ways in which an application sets a tracer, each of which gives a connection.
var tracerSetters = map[string]struct {
	joined  bool // Fairlead's is still there
	connect func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error)
}{
	"in the Config": {true, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		cfg.Conn.Tracer = tracer
		c, err := NewConnector(cfg)
		if err != nil {
			return nil, err
		}
		return throughSQL(t, sql.OpenDB(c)), nil
	}},
	"joined": {true, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := PoolConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.ConnConfig.Tracer = multitracer.New(tracer, c.ConnConfig.Tracer)
		return throughPool(t, c)
	}},
	"in the ConnConfig": {false, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := ConnConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.Tracer = tracer
		conn, err := pgx.ConnectConfig(t.Context(), c)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return func(ctx context.Context, q string) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, q); return err })
		}, nil
	}},
	"in the PoolConfig": {false, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := PoolConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.ConnConfig.Tracer = tracer
		return throughPool(t, c)
	}},
	"by BeforeConnect": {false, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := PoolConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error { c.Tracer = tracer; return nil }
		return throughPool(t, c)
	}},
	"in what stdlib opens": {false, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := ConnConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.Tracer = tracer
		return throughSQL(t, stdlib.OpenDB(*c)), nil
	}},
	"in what stdlib has registered": {false, func(t *testing.T, cfg *Config, tracer pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := ConnConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.Tracer = tracer
		name := stdlib.RegisterConnConfig(c)
		t.Cleanup(func() { stdlib.UnregisterConnConfig(name) })
		db, err := sql.Open("pgx", name)
		if err != nil {
			return nil, err
		}
		return throughSQL(t, db), nil
	}},
	"none": {false, func(t *testing.T, cfg *Config, _ pgx.QueryTracer) (func(context.Context, string) error, error) {
		c, err := PoolConfig(cfg)
		if err != nil {
			return nil, err
		}
		c.ConnConfig.Tracer = nil
		return throughPool(t, c)
	}},
}

func throughPool(t *testing.T, c *pgxpool.Config) (func(context.Context, string) error, error) {
	c.MaxConns, c.MinConns = 1, 0
	pool, err := pgxpool.NewWithConfig(t.Context(), c)
	if err != nil {
		return nil, err
	}
	t.Cleanup(pool.Close)
	return func(ctx context.Context, q string) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, q); return err })
	}, nil
}

func throughSQL(t *testing.T, db *sql.DB) func(context.Context, string) error {
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return func(ctx context.Context, q string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
		return tx.Commit()
	}
}

func TestWithoutReplayHoldsWhateverTheTracer(t *testing.T) {
	forgetWithoutReplay(t)
	for name, way := range tracerSetters {
		t.Run(name, func(t *testing.T) {
			run := func(without, used bool) string {
				withoutReplayUsed.Store(used)
				server := &mortalServer{fakeServer: newFakeServer(0)}
				tracer := foreignTracer{new(fullTracer)}
				transact, err := way.connect(t, fakeConfig(t, server.dial), tracer)
				if err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				if without {
					ctx = WithoutReplay(ctx)
				}
				err = transact(ctx, deadlyBatch)
				if !server.died.Load() {
					t.Error("the server never failed")
				}
				if name != "none" && len(tracer.calls) == 0 {
					t.Error("the application's tracer was not called")
				}
				var pg *pgconn.PgError
				if err != nil && !errors.As(err, &pg) {
					t.Fatal(err)
				}
				if pg == nil {
					return ""
				}
				return pg.Code
			}
			if code := run(true, false); code != "40001" {
				t.Errorf("without replay: %q, want 40001", code)
			}
			want := ""
			if !way.joined {
				want = "40001" // any transaction may be one without replay
			}
			if code := run(false, true); code != want {
				t.Errorf("with replay, and WithoutReplay in use elsewhere: %q, want %q", code, want)
			}
			if code := run(false, false); code != "" {
				t.Errorf("with replay: %q, want none", code)
			}
		})
	}
}
