package pooler_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

const (
	idleLimit = time.Second
	slowWork  = "1.8"                  // seconds that a server works in these tests, more than idleLimit
	shortWait = 500 * time.Millisecond // less than idleLimit
)

// padded is SQL with a comment of so many bytes in front of it.
func padded(n int, sql string) string { return "/*" + strings.Repeat("x", n) + "*/ " + sql }

// idlers are clients that make a server work for longer than they may be idle, each in another way. The work ends with its last answer.
var idlers = map[string]func(ctx context.Context, conn *pgconn.PgConn) error{
	"small": func(ctx context.Context, conn *pgconn.PgConn) error {
		return run(ctx, conn, "select pg_sleep("+slowWork+")")
	},
	"over 16 kB": func(ctx context.Context, conn *pgconn.PgConn) error {
		return run(ctx, conn, padded(20<<10, "select pg_sleep("+slowWork+")"))
	},
	"over 64 kB": func(ctx context.Context, conn *pgconn.PgConn) error {
		return run(ctx, conn, padded(200<<10, "select pg_sleep("+slowWork+")"))
	},
	"large with rows in between": func(ctx context.Context, conn *pgconn.PgConn) error {
		return run(ctx, conn, padded(20<<10, "select repeat('r', 9000), pg_sleep(0.2) from generate_series(1, 9)"))
	},
	"large extended": func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := conn.ExecParams(ctx, "select length($1), pg_sleep("+slowWork+")", [][]byte{[]byte(strings.Repeat("p", 40<<10))}, nil, nil, nil).Close()
		return err
	},
	"pipeline": func(ctx context.Context, conn *pgconn.PgConn) error {
		b := &pgconn.Batch{}
		for i := range 9 {
			b.ExecParams(padded(3000, fmt.Sprintf("select pg_sleep(0.2), %d", i)), nil, nil, nil, nil)
		}
		return conn.ExecBatch(ctx, b).Close()
	},
	"copy out": func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := conn.CopyTo(ctx, discard{}, padded(20<<10, "copy (select pg_sleep(0.2) from generate_series(1, 9)) to stdout"))
		return err
	},
	"copy in": func(ctx context.Context, conn *pgconn.PgConn) error {
		_, err := conn.CopyFrom(ctx, strings.NewReader(strings.Repeat("1\n", 20<<10)), "copy public.idle_slow from stdin")
		return err
	},
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func run(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}

// idleServer has an address for each mode, and one with TLS.
func idleServer(t *testing.T) map[string]string {
	own := connect(t, shared.AddressDSN())
	exec(t, own, `drop table if exists public.idle_slow; create table public.idle_slow (n int);
		create or replace function public.idle_slowly() returns trigger language plpgsql as $$begin perform pg_sleep(`+slowWork+`); return null; end$$;
		create trigger slow after insert on public.idle_slow execute function public.idle_slowly()`)
	cert, _ := certificate(t)
	s, _ := start(t, shared, shared.DSN(), plain(func(c *pooler.Config) {
		c.Clusters["main"].PoolSize = 40
		c.IdleClientTimeout, c.IdleTransactionTimeout = idleLimit, idleLimit
		c.Listeners = []pooler.Listener{
			{Address: "127.0.0.1:0"},
			{Address: "127.0.0.1:0", Mode: pooler.Session},
			{Address: "127.0.0.1:0", Mode: pooler.Statement},
			{Address: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{cert}}},
		}
	}))
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	dsns := make(map[string]string)
	for i, name := range []string{"transaction", "session", "statement", "TLS"} {
		dsns[name] = url(shared, addrs[i])
	}
	dsns["TLS"] = strings.Replace(dsns["TLS"], "sslmode=disable", "sslmode=require", 1)
	return dsns
}

// together runs what waits most of the time at once. Each part fails the test with its name.
func together(t *testing.T, parts map[string]func(ctx context.Context) error) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	for name, part := range parts {
		all.Go(func() {
			if err := part(shortContext(t)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// working connects, begins a transaction if it is to be in one, and does the work.
func working(ctx context.Context, t *testing.T, dsn, begin string, work func(context.Context, *pgconn.PgConn) error) (*pgconn.PgConn, error) {
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if begin != "" {
		err = run(ctx, conn, begin)
	}
	return conn, errors.Join(err, work(ctx, conn))
}

func TestTheTimeOfAnAnswerIsNotIdle(t *testing.T) {
	dsns := idleServer(t)
	parts := make(map[string]func(context.Context) error)
	for _, p := range []struct{ mode, begin string }{
		{"transaction", ""}, {"transaction", "begin"}, {"session", ""}, {"session", "begin"}, {"statement", ""}, {"TLS", ""}, {"TLS", "begin"},
	} {
		for name, work := range idlers {
			parts[p.mode+" "+p.begin+" "+name] = func(ctx context.Context) error {
				conn, err := working(ctx, t, dsns[p.mode], p.begin, work)
				if err != nil {
					return err
				}
				time.Sleep(shortWait)
				return run(ctx, conn, "select 1")
			}
		}
	}
	together(t, parts)
}

func TestAClientThatIsSilentAfterALongAnswerIsEnded(t *testing.T) {
	dsns := idleServer(t)
	parts := make(map[string]func(context.Context) error)
	for begin, want := range map[string]string{"": "57P01", "begin": "25P03"} {
		for name, work := range idlers {
			parts[begin+" "+name] = func(ctx context.Context) error {
				conn, err := working(ctx, t, dsns["transaction"], begin, work)
				if err != nil {
					return err
				}
				if err := conn.WaitForNotification(ctx); code(err) != want {
					return fmt.Errorf("the silent client got %v, want %s", err, want)
				}
				return nil
			}
		}
	}
	together(t, parts)
}

// A client that has begun something and does not go on is within a transaction as well.
func TestAClientThatStopsInTheMiddleIsEnded(t *testing.T) {
	dsns := idleServer(t)
	parts := make(map[string]func(context.Context) error)
	for name, begun := range map[string][]pgproto3.FrontendMessage{
		"no Sync":             {&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}},
		"no Sync, but Flush":  {&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}},
		"COPY":                {&pgproto3.Query{String: "copy public.idle_slow from stdin"}},
		"COPY with some data": {&pgproto3.Query{String: "copy public.idle_slow from stdin"}, &pgproto3.CopyData{Data: []byte("1\n")}},
	} {
		front := rawClient(t, dsns["transaction"])
		parts[name] = func(context.Context) error {
			for _, m := range begun {
				front.Send(m)
			}
			if err := front.Flush(); err != nil {
				return err
			}
			for {
				m, err := front.Receive()
				if err != nil {
					return err
				}
				if e, ok := m.(*pgproto3.ErrorResponse); ok && e.Code != "25P03" {
					return fmt.Errorf("it ended with %s: %s", e.Code, e.Message)
				} else if ok {
					return nil
				}
			}
		}
	}
	together(t, parts)
}

func TestAListenerIsNotIdle(t *testing.T) {
	dsns := idleServer(t)
	parts := make(map[string]func(context.Context) error)
	for _, mode := range []string{"transaction", "session", "TLS"} {
		conn, sender := connect(t, dsns[mode]), connect(t, shared.AddressDSN())
		parts[mode] = func(ctx context.Context) error {
			channel := "idle_" + strings.ToLower(mode)
			if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
				return err
			}
			for i, pause := range []time.Duration{shortWait, shortWait, shortWait, shortWait, 2 * idleLimit, shortWait} {
				sent := make(chan error, 1)
				go func() {
					time.Sleep(pause)
					_, err := sender.Exec(context.Background(), "select pg_notify('"+channel+"', 'x')")
					sent <- err
				}()
				_, err := conn.WaitForNotification(ctx)
				if err = errors.Join(err, <-sent); err != nil {
					return fmt.Errorf("notification %d: %w", i, err)
				}
			}
			if _, err := conn.Exec(ctx, "unlisten *"); err != nil {
				return err
			}
			if _, err := conn.WaitForNotification(ctx); code(err) != "57P01" {
				return fmt.Errorf("a client that listens no more got %w", err)
			}
			return nil
		}
	}
	together(t, parts)
}

// rawClient is a client that speaks the protocol itself, and is logged in.
func rawClient(t testing.TB, dsn string) *pgproto3.Frontend {
	t.Helper()
	front, _ := rawConn(t, dsn)
	return front
}

func rawConn(t testing.TB, dsn string) (*pgproto3.Frontend, net.Conn) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	front := pgproto3.NewFrontend(conn, conn)
	front.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": cfg.User, "database": cfg.Database},
	})
	if err := front.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := ready(front); err != nil {
		t.Fatal(err)
	}
	return front, conn
}

// shortContext ends a test that waits for what does not come.
func shortContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
