package driver

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/fairlead-go/fairlead/internal/mount"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// mortalServer is a fake server that dies, once, when it is to run a statement with "DIE" in it, and lives on at once.
type mortalServer struct {
	*fakeServer
	died atomic.Bool
}

type mortalConn struct {
	*fakeConn
	server *mortalServer
}

func (s *mortalServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.fakeServer.dial(ctx, network, address)
	return &mortalConn{c.(*fakeConn), s}, err
}

func (c *mortalConn) Write(p []byte) (int, error) {
	switch {
	case c.runs(p, "DIE") && c.server.died.CompareAndSwap(false, true):
		return len(p), c.Close()
	case c.runs(p, "'search_path'"):
		return len(p), c.say(&pgproto3.DataRow{Values: [][]byte{[]byte("public")}}, &pgproto3.ReadyForQuery{TxStatus: wire.StatusIdle})
	case c.runs(p, "pg_stat_activity"):
		return len(p), c.say(&pgproto3.ReadyForQuery{TxStatus: wire.StatusIdle})
	}
	return c.fakeConn.Write(p)
}

// runs reports whether messages execute a statement with that word in it.
func (c *mortalConn) runs(p []byte, word string) bool {
	for c.started && len(p) > 0 {
		size := int(binary.BigEndian.Uint32(p[1:])) + 1
		switch body := p[wire.HeaderLen:size]; p[0] {
		case wire.Query:
			if bytes.Contains(body, []byte(word)) {
				return true
			}
		case wire.Bind:
			_, rest, _ := bytes.Cut(body, []byte{0})
			name, _, _ := bytes.Cut(rest, []byte{0})
			if strings.Contains(c.statements[string(name)], word) {
				return true
			}
		}
		p = p[size:]
	}
	return false
}

func (c *mortalConn) say(msgs ...pgproto3.BackendMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = encode(c.out, msgs...)
	c.more.Signal()
	return nil
}

// fakeConfig is for a fake server.
func fakeConfig(tb testing.TB, dial pgconn.DialFunc) *Config {
	tb.Helper()
	cfg, err := ParseConfig("postgres://app:secret@127.0.0.1/app?sslmode=disable&topology=none&target_session_attrs=any")
	if err != nil {
		tb.Fatal(err)
	}
	cfg.DialFunc = dial
	return cfg
}

// connectFake connects to a fake server, by pgx and by database/sql.
func connectFake(t *testing.T, cfg *Config) (*pgx.Conn, *sql.DB) {
	t.Helper()
	connConfig, err := ConnConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), connConfig)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*connConfig)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		_ = db.Close()
		_ = conn.Close(context.Background())
	})
	return conn, db
}

const (
	deadlySelect = "select a, b from t where a = $1 /* DIE */"
	deadlyInsert = "insert into t values ($1) /* DIE */"
	deadlyBatch  = "insert into t values (1) /* DIE */"
)

// forgetWithoutReplay has other tests of the process find it unused.
func forgetWithoutReplay(t *testing.T) { t.Cleanup(func() { withoutReplayUsed.Store(false) }) }

func TestWithoutReplayHoldsForTheTransaction(t *testing.T) {
	forgetWithoutReplay(t)
	read := func(q interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}, ctx context.Context, query string) error {
		var a int
		var b string
		return q.QueryRowContext(ctx, query, 1).Scan(&a, &b)
	}
	for _, c := range []struct {
		name string
		with string // SQLSTATE when the second context is like the first
		want string // and when it is without replay
		run  func(ctx, without context.Context, conn *pgx.Conn, db *sql.DB) error
	}{
		{name: "a transaction of database/sql", want: "40001", run: func(ctx, without context.Context, _ *pgx.Conn, db *sql.DB) error {
			tx, err := db.BeginTx(without, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := tx.ExecContext(ctx, deadlyInsert, 1); err != nil {
				return err
			}
			return tx.Commit()
		}},
		{name: "a transaction with one such statement", want: "40001", run: func(ctx, without context.Context, _ *pgx.Conn, db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if err := read(tx, without, "select a, b from t where a = $1"); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, deadlyInsert, 1); err != nil {
				return err
			}
			return tx.Commit()
		}},
		{name: "a transaction of pgx", want: "40001", run: func(ctx, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			return pgx.BeginFunc(without, conn, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, deadlyInsert, 1)
				return err
			})
		}},
		{name: "a transaction that was prepared for", want: "40001", run: func(ctx, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if _, err := tx.Prepare(without, "p", deadlyInsert); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, "p", 1)
				return err
			})
		}},
		{name: "a read, once it is prepared", want: "40001", run: func(_, without context.Context, _ *pgx.Conn, db *sql.DB) error {
			return read(db, without, deadlySelect)
		}},
		{name: "a read in the simple protocol", want: "40001", run: func(_, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			_, err := conn.Exec(without, "select a, b from t /* DIE */")
			return err
		}},
		{name: "a batch in a transaction", want: "40001", run: func(ctx, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				var b pgx.Batch
				b.Queue(deadlyBatch)
				return tx.SendBatch(without, &b).Close()
			})
		}},
		{name: "a write", with: "08007", want: "08007", run: func(_, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			_, err := conn.Exec(without, deadlyInsert, 1)
			return err
		}},
		{name: "what comes after a call", run: func(ctx, without context.Context, _ *pgx.Conn, db *sql.DB) error {
			if err := read(db, without, "select a, b from t where a = $1"); err != nil {
				return err
			}
			return read(db, ctx, deadlySelect)
		}},
		{name: "what comes after a transaction", run: func(ctx, without context.Context, _ *pgx.Conn, db *sql.DB) error {
			tx, err := db.BeginTx(without, nil)
			if err != nil {
				return err
			}
			if err := tx.Commit(); err != nil {
				return err
			}
			return read(db, ctx, deadlySelect)
		}},
		{name: "what comes after a transaction that began otherwise", run: func(ctx, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				_, err := tx.Exec(without, "insert into t values (1)")
				return err
			})
			if err != nil {
				return err
			}
			_, err = conn.Exec(ctx, "select a, b from t /* DIE */")
			return err
		}},
		{name: "a statement that was prepared so", run: func(ctx, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			if _, err := conn.Prepare(without, "p", deadlySelect); err != nil {
				return err
			}
			_, err := conn.Exec(ctx, "p", 1)
			return err
		}},
		{name: "what comes after a batch that was never sent", run: func(ctx, without context.Context, conn *pgx.Conn, _ *sql.DB) error {
			var b pgx.Batch
			b.Queue("insert into t values ($1)", func() {})
			if err := conn.SendBatch(without, &b).Close(); err == nil {
				return errors.New("the batch did not fail")
			}
			_, err := conn.Exec(ctx, "select a, b from t /* DIE */")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, without := range []bool{false, true} {
				server := &mortalServer{fakeServer: newFakeServer(0)}
				conn, db := connectFake(t, fakeConfig(t, server.dial))
				ctx, want := t.Context(), c.with
				if without {
					ctx, want = WithoutReplay(ctx), c.want
				}
				err := c.run(t.Context(), ctx, conn, db)
				got := ""
				var pg *pgconn.PgError
				if errors.As(err, &pg) {
					got = pg.Code
				}
				if got != want || (err != nil) != (want != "") {
					t.Errorf("without replay: %v: got %v, want SQLSTATE %q", without, err, want)
				}
				if !server.died.Load() {
					t.Error("the server never died")
				}
			}
		})
	}
}

// fullTracer notes what it is told.
type fullTracer struct{ calls []string }

type traced struct{}

func (f *fullTracer) start(ctx context.Context, what string) context.Context {
	f.calls = append(f.calls, what)
	return context.WithValue(ctx, traced{}, what)
}

func (f *fullTracer) stop(ctx context.Context, what string) {
	f.calls = append(f.calls, "/"+what)
	if ctx.Value(traced{}) != what {
		f.calls = append(f.calls, "of another context")
	}
}

func (f *fullTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return f.start(ctx, "query")
}

func (f *fullTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	f.stop(ctx, "query")
}

func (f *fullTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return f.start(ctx, "batch")
}

func (f *fullTracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {
	f.calls = append(f.calls, "one")
}

func (f *fullTracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	f.stop(ctx, "batch")
}

func (f *fullTracer) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return f.start(ctx, "copy")
}

func (f *fullTracer) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromEndData) {
	f.stop(ctx, "copy")
}

func (f *fullTracer) TracePrepareStart(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareStartData) context.Context {
	return f.start(ctx, "prepare")
}

func (f *fullTracer) TracePrepareEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareEndData) {
	f.stop(ctx, "prepare")
}

func (f *fullTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return f.start(ctx, "connect")
}

func (f *fullTracer) TraceConnectEnd(ctx context.Context, _ pgx.TraceConnectEndData) {
	f.stop(ctx, "connect")
}

func (f *fullTracer) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return f.start(ctx, "acquire")
}

func (f *fullTracer) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	f.stop(ctx, "acquire")
}

func (f *fullTracer) TraceRelease(*pgxpool.Pool, pgxpool.TraceReleaseData) {
	f.calls = append(f.calls, "release")
}

// queryTracer is an application's tracer of queries alone.
type queryTracer struct{ full *fullTracer }

func (q queryTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return q.full.TraceQueryStart(ctx, conn, d)
}

func (q queryTracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, d pgx.TraceQueryEndData) {
	q.full.TraceQueryEnd(ctx, conn, d)
}

func TestTheApplicationsTracerIsToldWhatPgxTellsIt(t *testing.T) {
	forgetWithoutReplay(t)
	for _, c := range []struct {
		name   string
		tracer func(*fullTracer) pgx.QueryTracer
	}{
		{"of everything", func(f *fullTracer) pgx.QueryTracer { return f }},
		{"of queries", func(f *fullTracer) pgx.QueryTracer { return queryTracer{f} }},
		{"none", func(*fullTracer) pgx.QueryTracer { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told [2][]string
			for i := range told {
				full := &fullTracer{}
				cfg := fakeConfig(t, newFakeServer(0).dial)
				cfg.Conn.Tracer = c.tracer(full)
				pool, err := PoolConfig(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					pool.ConnConfig.Tracer = cfg.Conn.Tracer // as pgx alone has it
				}
				pool.MaxConns, pool.MinConns = 1, 0
				traceAll(t, pool)
				told[i] = full.calls
			}
			if !slices.Equal(told[0], told[1]) {
				t.Errorf("told %v, want %v", told[1], told[0])
			}
			if c.name == "of everything" && len(told[0]) < 20 {
				t.Errorf("pgx itself told no more than %v", told[0])
			}
		})
	}
}

// traceAll does something of all that is traced.
func traceAll(t *testing.T, cfg *pgxpool.Config) {
	t.Helper()
	ctx := WithoutReplay(t.Context())
	p, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := p.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if _, err := c.Exec(ctx, "insert into t values ($1)", 1); err != nil {
		t.Error(err)
	}
	var a int
	var b string
	if err := c.QueryRow(ctx, "select a, b from t where a = $1", 1).Scan(&a, &b); err != nil {
		t.Error(err)
	}
	var batch pgx.Batch
	batch.Queue("insert into t values ($1)", 1)
	batch.Queue("insert into t values ($1)", 2)
	if err := c.SendBatch(ctx, &batch).Close(); err != nil {
		t.Error(err)
	}
	// The fake server knows no COPY. One that fails early is traced as well.
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, _ = c.CopyFrom(over, pgx.Identifier{"t"}, []string{"c"}, pgx.CopyFromRows(nil))
	if m := c.Conn().PgConn().Conn().(*mount.Conn); m.Replays() != 0 {
		t.Errorf("a session that is idle between two calls counts %d replays", m.Replays())
	}
}

func TestHeedingWithoutReplayCostsNoAllocation(t *testing.T) {
	forgetWithoutReplay(t)
	if raceEnabled {
		t.Skip("the race detector allocates itself, which would be counted: make test counts without it")
	}
	var batch pgx.Batch
	batch.Queue("insert into t values ($1)", 1)
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, p *pgxpool.Pool) error
	}{
		{"Acquire", func(ctx context.Context, p *pgxpool.Pool) error {
			return p.AcquireFunc(ctx, func(*pgxpool.Conn) error { return nil })
		}},
		{"Exec", func(ctx context.Context, p *pgxpool.Pool) error {
			_, err := p.Exec(ctx, "insert into t values ($1)", 1)
			return err
		}},
		{"QueryRow", func(ctx context.Context, p *pgxpool.Pool) error {
			var a int
			var b string
			return p.QueryRow(ctx, "select a, b from t where a = $1", 1).Scan(&a, &b)
		}},
		{"SendBatch", func(ctx context.Context, p *pgxpool.Pool) error { return p.SendBatch(ctx, &batch).Close() }},
		{"Transaction", func(ctx context.Context, p *pgxpool.Pool) error {
			return pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "insert into t values ($1)", 1)
				return err
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var allocs [3]float64
			for i := range allocs {
				pool, err := PoolConfig(fakeConfig(t, newFakeServer(0).dial))
				if err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				switch i {
				case 0:
					pool.ConnConfig.Tracer = nil
				case 2:
					ctx = WithoutReplay(ctx)
				}
				pool.MaxConns = 1
				p, err := pgxpool.NewWithConfig(ctx, pool)
				if err != nil {
					t.Fatal(err)
				}
				allocs[i] = testing.AllocsPerRun(200, func() {
					if err := c.run(ctx, p); err != nil {
						t.Fatal(err)
					}
				})
				p.Close()
			}
			if allocs[1] > allocs[0] || allocs[2] > allocs[0] {
				t.Errorf("%v allocations, %v with such a context, %v without the tracer", allocs[1], allocs[2], allocs[0])
			}
		})
	}
}
