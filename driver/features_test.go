package driver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// shared is a cluster for tests that break nothing.
func shared(t testing.TB) *rdstest.Cluster {
	t.Helper()
	return rdstest.Start(t, rdstest.Config{Readers: 1})
}

func TestWhatPgxDoesWorksThroughTheMount(t *testing.T) {
	c := shared(t)
	ctx := testContext(t)
	cfg := config(t, c, c.DSN())
	conn := connect(t, cfg)
	if _, err := conn.Exec(ctx, "create table t (a int, b text)"); err != nil {
		t.Fatal(err)
	}

	t.Run("CopyFrom", func(t *testing.T) {
		const rows = 50_000
		n, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"a", "b"}, pgx.CopyFromSlice(rows, func(i int) ([]any, error) {
			return []any{i, strings.Repeat("x", 100)}, nil
		}))
		if err != nil || n != rows {
			t.Errorf("%d rows, %v", n, err)
		}
	})
	t.Run("Batch", func(t *testing.T) {
		b := &pgx.Batch{}
		for i := range 50 {
			b.Queue("select $1::int * 2", i)
		}
		br := conn.SendBatch(ctx, b)
		for i := range 50 {
			var n int
			if err := br.QueryRow().Scan(&n); err != nil || n != 2*i {
				t.Fatalf("%d: %d, %v", i, n, err)
			}
		}
		if err := br.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("large values", func(t *testing.T) {
		for _, size := range []int{100, 10_000, 300_000, 5_000_000} {
			var got string
			want := strings.Repeat("y", size)
			if err := conn.QueryRow(ctx, "select $1::text", want).Scan(&got); err != nil || got != want {
				t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
			}
		}
	})
	t.Run("listen", func(t *testing.T) {
		if _, err := conn.Exec(ctx, "listen news"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "notify news, 'hello'"); err != nil {
			t.Fatal(err)
		}
		n, err := conn.WaitForNotification(ctx)
		if err != nil || n.Payload != "hello" || n.PID != conn.PgConn().PID() {
			t.Errorf("%+v, %v; want a notification of %d's own", n, err, conn.PgConn().PID())
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := conn.WaitForNotification(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, err := conn.Exec(ctx, "select 1"); err != nil {
			t.Errorf("after a wait that timed out: %v", err)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		go func() {
			time.Sleep(100 * time.Millisecond)
			if err := conn.PgConn().CancelRequest(ctx); err != nil {
				t.Error(err)
			}
		}()
		if _, err := conn.Exec(ctx, "select pg_sleep(20)"); code(err) != "57014" {
			t.Errorf("got %v, want 57014", err)
		}
		if _, err := conn.Exec(ctx, "select 1"); err != nil {
			t.Errorf("after a cancel: %v", err)
		}
	})
	t.Run("pool", func(t *testing.T) {
		poolConfig, err := driver.PoolConfig(config(t, c, c.DSN()+"&pool_max_conns=3"))
		if err != nil {
			t.Fatal(err)
		}
		pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		var n int
		if err := pool.QueryRow(ctx, "select count(*) from t").Scan(&n); err != nil || pool.Config().MaxConns != 3 {
			t.Errorf("%v, %d connections at most", err, pool.Config().MaxConns)
		}
	})
}

func TestDatabaseSQLHoldsGenuinePgx(t *testing.T) {
	c := shared(t)
	ctx := testContext(t)
	db := open(t, c, c.DSN())
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(dc any) error {
		pg, ok := dc.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("a %T", dc)
		}
		var n int
		return pg.Conn().QueryRow(ctx, "select 1").Scan(&n)
	})
	if err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(short, "select pg_sleep(20)"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	mustExec(t, db, "select 1")

	name := driver.RegisterConfig(config(t, c, c.DSN()))
	defer driver.UnregisterConfig(name)
	named, err := sql.Open(driver.Name, name)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	mustExec(t, named, "select 1")
}

func TestLibPQConnectsThroughTheDialer(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	dialer, err := driver.NewDialer(config(t, c, c.DSN()))
	if err != nil {
		t.Fatal(err)
	}
	connector, err := pq.NewConnector("host=fairlead user=app dbname=app sslmode=disable application_name=pq")
	if err != nil {
		t.Fatal(err)
	}
	connector.Dialer(dialer)
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	mustExec(t, db, "create table t (a int)")
	mustExec(t, db, "insert into t values ($1)", 1)
	failover(t, c)
	mustExec(t, db, "insert into t values ($1)", 2)
	var n int
	var name string
	if err := db.QueryRow("select count(*), current_setting('application_name') from t").Scan(&n, &name); err != nil || n != 2 || name != "pq" {
		t.Errorf("%d rows as %q, %v", n, name, err)
	}
}

func TestAListenerIsToldThatItMayHaveMissedSomething(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	ctx := testContext(t)
	cfg := config(t, c, c.DSN())
	notices := make(chan string, 10)
	cfg.Conn.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices <- n.Message }
	conn := connect(t, cfg)
	if _, err := conn.Exec(ctx, "listen news"); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		n, err := conn.WaitForNotification(ctx)
		if err == nil && n.Payload != "after" {
			err = fmt.Errorf("payload %q", n.Payload)
		}
		got <- err
	}()
	failover(t, c)
	select {
	case msg := <-notices:
		if !strings.Contains(msg, "may have been missed") {
			t.Errorf("notice %q", msg)
		}
	case <-time.After(patience):
		t.Fatal("the listener was not resumed")
	}
	db := open(t, c, c.DSN())
	mustExec(t, db, "notify news, 'after'")
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("no notification after the move")
	}
}

func TestStateThatCannotBeCarriedOverIsNamed(t *testing.T) {
	for _, what := range []struct{ sql, want string }{
		{"create temp table x (a int)", "temporary table"},
		{"select pg_advisory_lock(1)", "advisory lock"},
	} {
		t.Run(what.want, func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Readers: 1})
			// A connection of one's own: the pool pings what was idle for a second, and drops it if that fails.
			conn, err := open(t, c, c.DSN()).Conn(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			mustExec(t, conn, what.sql)
			failover(t, c)
			_, err = conn.ExecContext(testContext(t), "select 1")
			if code(err) != "08006" || !strings.Contains(err.Error(), what.want) {
				t.Errorf("got %v", err)
			}
			mustExec(t, conn, "select 1")
		})
	}
}

func TestASessionOfOneUserIsNeverGivenToAnother(t *testing.T) {
	c := shared(t)
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "create role other login password 'other-secret'"); err != nil {
		t.Fatal(err)
	}
	app := open(t, c, c.DSN())
	cfg := config(t, c, c.DSN())
	cfg.Conn.User, cfg.Conn.Password = "other", "other-secret"
	other := openConfig(t, cfg)
	for range 3 {
		for want, db := range map[string]*sql.DB{"app": app, "other": other} {
			var user string
			if err := db.QueryRowContext(ctx, "select session_user").Scan(&user); err != nil || user != want {
				t.Errorf("%q, %v; want %s", user, err, want)
			}
		}
	}
}

func TestMistakesAreToldInSeconds(t *testing.T) {
	c := shared(t)
	other := rdstest.Start(t, rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	for _, m := range []struct {
		name  string
		dsn   string
		alter func(*driver.Config)
		want  []string // any of them
	}{
		{"wrong password", c.DSN(), func(cfg *driver.Config) { cfg.Conn.Password = "wrong-secret" }, []string{"28P01"}},
		{"unknown database", c.DSN(), func(cfg *driver.Config) { cfg.Conn.Database = "nowhere" }, []string{"3D000"}},
		{"a certificate of another authority", strings.Replace(c.DSN(), c.CAFile(), other.CAFile(), 1), nil, []string{"certificate"}},
		{"nobody there", "postgres://app:x@127.0.0.1:1/app?connect_timeout=1", nil, []string{"refused"}},
		{"no such host", "postgres://app:x@nowhere.invalid/app?connect_timeout=1", nil, []string{"nowhere.invalid"}},
		{"no such host, and no connect_timeout", "postgres://app:x@nowhere.invalid/app", nil, []string{"DNS does not know"}},
		{"only a reader, and no connect_timeout", other.InstanceDSN(other.Readers()[0]), func(cfg *driver.Config) { cfg.Resolver = config(t, other, other.DSN()).Resolver }, []string{"recovery"}},
		{"only a reader", strings.Replace(other.InstanceDSN(other.Readers()[0]), "?", "?connect_timeout=1&", 1), func(cfg *driver.Config) { cfg.Resolver = config(t, other, other.DSN()).Resolver }, []string{"recovery"}},
		{"a login of another kind", c.DSN() + "&require_auth=md5", nil, []string{"require_auth"}},
		{"channel binding without TLS", strings.Replace(c.DSN(), "sslmode=verify-full", "sslmode=disable&channel_binding=require", 1), nil, []string{"channel binding"}},
	} {
		t.Run(m.name, func(t *testing.T) {
			cfg := config(t, c, m.dsn)
			if m.alter != nil {
				m.alter(cfg)
			}
			db := openConfig(t, cfg)
			start := time.Now()
			err := db.PingContext(testContext(t))
			if err == nil {
				t.Fatal("no error")
			}
			if took := time.Since(start); took > patience/2 {
				t.Errorf("it took %v", took)
			}
			found := false
			for _, w := range m.want {
				found = found || strings.Contains(err.Error(), w)
			}
			if !found {
				t.Errorf("the error names none of %q: %v", m.want, err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has a password in it: %v", err)
			}
		})
	}
}

func TestAStartupParameterThatTheServerRejectsIsFinal(t *testing.T) {
	c := shared(t)
	for param, want := range map[string]string{"no_such_setting=1": "42704", "app.1x=1": "42602", "work_mem=much": "22023", "wal_level=minimal": "55P02"} {
		t.Run(param, func(t *testing.T) {
			cfg := config(t, c, c.DSN()+"&"+param)
			var dials atomic.Int64
			cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience/2)
			defer cancel()
			err := openConfig(t, cfg).PingContext(ctx)
			if code(err) != want || ctx.Err() != nil {
				t.Errorf("%v; want %s at once", err, want)
			}
			if n := dials.Load(); n > 10 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestTheSwitchBackToPgx(t *testing.T) {
	c := shared(t)
	t.Setenv("FAIRLEAD_DISABLE", "1")
	db := open(t, c, c.DSN())
	conn, err := db.Conn(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(dc any) error {
		if n := dc.(*stdlib.Conn).Conn().PgConn().Conn().RemoteAddr().Network(); n != "tcp" {
			return fmt.Errorf("the connection is to a %s address", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
