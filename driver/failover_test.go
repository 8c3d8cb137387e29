package driver_test

import (
	"context"
	"crypto/md5"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// patience bounds what a test waits for; nothing here is measured.
const patience = 30 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// config is the driver's for a test cluster.
func config(t testing.TB, c *rdstest.Cluster, dsn string) *driver.Config {
	t.Helper()
	cfg, err := driver.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Resolver = c.Resolver()
	return cfg
}

// open opens a database through the driver, and closes it with the test, before the cluster.
func open(t testing.TB, c *rdstest.Cluster, dsn string) *sql.DB {
	t.Helper()
	return openConfig(t, config(t, c, dsn))
}

func openConfig(t testing.TB, cfg *driver.Config) *sql.DB {
	t.Helper()
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// connect opens a connection of pgx's, and closes it with the test.
func connect(t testing.TB, cfg *driver.Config) *pgx.Conn {
	t.Helper()
	connConfig, err := driver.ConnConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(testContext(t), connConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func mustExec(t testing.TB, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(testContext(t), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// flavors runs a test in both kinds of clusters.
func flavors(t *testing.T, run func(t *testing.T, c *rdstest.Cluster, dsn string)) {
	t.Run("aurora", func(t *testing.T) {
		c := rdstest.Start(t, rdstest.Config{})
		run(t, c, c.DSN())
	})
	t.Run("replication", func(t *testing.T) {
		c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication})
		run(t, c, c.MultiHostDSN())
	})
}

func failover(t testing.TB, c *rdstest.Cluster) {
	t.Helper()
	if _, err := c.Failover(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// connections takes so many connections out of the pool, each of which has been used, for the length of the test.
func connections(t testing.TB, db *sql.DB, n int) []*sql.Conn {
	t.Helper()
	list := make([]*sql.Conn, n)
	for i := range list {
		conn, err := db.Conn(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		mustExec(t, conn, "select 1")
		list[i] = conn
	}
	return list
}

func TestIdleSessionsMoveToTheNewWriterUnseen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		installMarker(t, c) // what is written before the loss is noticed is decided
		ctx := testContext(t)
		db := open(t, c, dsn)
		mustExec(t, db, "create table t (a int)")
		conns := connections(t, db, 8)
		for round := range 2 {
			failover(t, c)
			for i, conn := range conns {
				if _, err := conn.ExecContext(ctx, "insert into t values ($1)", i); err != nil {
					t.Fatalf("round %d, session %d: %v", round, i, err)
				}
			}
		}
		var n int
		if err := db.QueryRowContext(ctx, "select count(*) from t").Scan(&n); err != nil || n != 16 {
			t.Errorf("%d rows (%v), want 16", n, err)
		}
	})
}

func TestSettingsAndStatementsAreRestored(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		ctx := testContext(t)
		db := open(t, c, dsn)
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mustExec(t, conn, "create schema s")
		mustExec(t, conn, "create table s.t (a int, b text)")
		mustExec(t, conn, "insert into s.t values (1, 'x')")
		mustExec(t, conn, "set search_path to s, public")
		mustExec(t, conn, "set application_name = 'restored'")
		mustExec(t, conn, "set lock_timeout = '4s'")
		mustExec(t, conn, "reset lock_timeout")
		mustExec(t, conn, "prepare p as select b from t where a = $1")
		stmt, err := conn.PrepareContext(ctx, "select b from t where a = $1")
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()

		failover(t, c)

		for _, q := range []string{"prepared", "execute p(1)"} {
			var b string
			if q == "prepared" {
				err = stmt.QueryRowContext(ctx, 1).Scan(&b)
			} else {
				err = conn.QueryRowContext(ctx, q).Scan(&b)
			}
			if err != nil || b != "x" {
				t.Errorf("%s: %q, %v", q, b, err)
			}
		}
		for name, want := range map[string]string{"search_path": "s, public", "application_name": "restored", "lock_timeout": "0"} {
			var got string
			if err := conn.QueryRowContext(ctx, "select current_setting($1)", name).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q (%v), want %q", name, got, err, want)
			}
		}
	})
}

func TestAReadInFlightGoesOnWhereItWas(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		ctx := testContext(t)
		db := open(t, c, dsn)
		mustExec(t, db, "create table t as select i, repeat('x', 200) as pad from generate_series(1, 100000) i")
		rows, err := db.QueryContext(ctx, "select i, pad from t order by i")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		want := 1
		for rows.Next() {
			var i int
			var pad string
			if err := rows.Scan(&i, &pad); err != nil {
				t.Fatal(err)
			}
			if i != want {
				t.Fatalf("row %d, want %d", i, want)
			}
			want++
			if i == 500 {
				failover(t, c)
			}
		}
		if err := rows.Err(); err != nil || want != 100001 {
			t.Errorf("%d rows, %v", want-1, err)
		}
	})
}

func TestLargeRowsGoOnWhereTheyWere(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	db := open(t, c, c.DSN())
	rows, err := db.QueryContext(ctx, "select i, repeat(md5(i::text), 1 + i * 7919 % 31000) from generate_series(1, 150) i")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var i int
		var pad string
		if err := rows.Scan(&i, &pad); err != nil {
			t.Fatal(err)
		}
		n++
		if want := strings.Repeat(fmt.Sprintf("%x", md5.Sum([]byte(strconv.Itoa(n)))), 1+n*7919%31000); i != n || pad != want {
			t.Fatalf("row %d is number %d, with %d bytes where %d are right", n, i, len(pad), len(want))
		}
		if n%50 == 20 {
			c.Writer().Front().Reset()
		}
	}
	if err := rows.Err(); err != nil || n != 150 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestATransactionGoesOnWhereItWas(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		installMarker(t, c) // what is written before the loss is noticed is decided
		ctx := testContext(t)
		db := open(t, c, dsn)
		db.SetMaxOpenConns(1)
		mustExec(t, db, "create table t (a int, at timestamptz default now())")
		begin := func() *sql.Tx {
			t.Helper()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			return tx
		}
		list := func(want string) {
			t.Helper()
			var got sql.NullString
			if err := db.QueryRowContext(ctx, "select string_agg(a::text, ',' order by a) from t").Scan(&got); err != nil || got.String != want {
				t.Errorf("the table has %q (%v), want %q", got.String, err, want)
			}
		}
		tx := begin()
		mustExec(t, tx, "insert into t values (1)")
		failover(t, c)
		mustExec(t, tx, "insert into t values ($1)", 2)
		if err := tx.Commit(); err != nil {
			t.Errorf("commit: %v", err)
		}
		list("1,2")

		// Lost before a COMMIT that was never sent.
		tx = begin()
		mustExec(t, tx, "savepoint a")
		mustExec(t, tx, "insert into t values ($1)", 3)
		mustExec(t, tx, "rollback to a")
		mustExec(t, tx, "insert into t values ($1)", 4)
		failover(t, c)
		if err := tx.Commit(); err != nil {
			t.Errorf("commit: %v", err)
		}
		list("1,2,4")

		// A rollback rolls back.
		tx = begin()
		mustExec(t, tx, "insert into t values (5)")
		failover(t, c)
		if err := tx.Rollback(); err != nil {
			t.Errorf("rollback: %v", err)
		}
		list("1,2,4")

		// What the client was told must come again; a time does not.
		tx = begin()
		var at time.Time
		if err := tx.QueryRowContext(ctx, "insert into t values (6) returning at").Scan(&at); err != nil {
			t.Fatal(err)
		}
		failover(t, c)
		if err := tx.Commit(); code(err) != "40001" {
			t.Errorf("commit of what cannot be repeated: got %v, want 40001", err)
		}
		list("1,2,4")
		mustExec(t, db, "insert into t values (7)")
		list("1,2,4,7")
	})
}

func TestAFrozenWriterIsLeftBehind(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		ctx := testContext(t)
		db := open(t, c, dsn)
		mustExec(t, db, "create table t (a int)")
		conns := connections(t, db, 4)
		old := c.Writer()
		if err := c.Freeze(ctx, old); err != nil {
			t.Fatal(err)
		}
		results := make(chan error, len(conns))
		for i, conn := range conns {
			go func() {
				var n int
				if i%2 == 0 {
					results <- conn.QueryRowContext(ctx, "select count(*) from t").Scan(&n)
					return
				}
				_, err := conn.ExecContext(ctx, "insert into t values ($1)", i)
				results <- err
			}()
		}
		time.Sleep(200 * time.Millisecond) // the statements are on their way to a server that does not answer
		failover(t, c)
		var reads, undecided int
		for range conns {
			select {
			case err := <-results:
				switch {
				case err == nil:
					reads++
				case code(err) == "08007":
					undecided++
				default:
					t.Errorf("got %v", err)
				}
			case <-time.After(patience):
				t.Fatal("a statement still hangs on the frozen writer")
			}
		}
		if reads < 2 {
			t.Errorf("%d reads went on, want 2", reads)
		}
		// The old writer wakes up, still thinks that it is one, and is not believed.
		if err := c.Thaw(ctx, old); err != nil {
			t.Fatal(err)
		}
		for _, conn := range conns {
			var again string
			if err := conn.QueryRowContext(ctx, "select pg_is_in_recovery()::text").Scan(&again); err != nil || again != "false" {
				t.Errorf("in recovery: %q, %v", again, err)
			}
			mustExec(t, conn, "insert into t values (100)")
		}
	})
}

func TestContextsAreHonouredWhileNoWriterCanBeFound(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1})
	db := open(t, c, c.DSN())
	ctx := testContext(t)
	mustExec(t, db, "create table t (a int)")
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustExec(t, conn, "select 1")
	if err := c.Crash(ctx, c.Writer()); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"select 1", "insert into t values (1)"} {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		start := time.Now()
		_, err := conn.ExecContext(short, q)
		cancel()
		if err == nil {
			t.Errorf("%s: no error without a writer", q)
		}
		if took := time.Since(start); took > patience/3 {
			t.Errorf("%s: returned after %v, with a context of 300ms", q, took)
		}
	}
}

func TestNothingIsLeftBehindAClosedDatabase(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1})
	before := goleak.IgnoreCurrent()
	ctx := testContext(t)
	db := open(t, c, c.DSN())
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { mustExec(t, db, "select pg_sleep(0.05)") })
	}
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreTopFunction("net.(*netFD).connect"))
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	deadline := time.Now().Add(patience)
	for {
		var n int
		if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where usename = 'app'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still open", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestALoadedSystemLosesAndDoublesNothing runs workers over failures of each kind, and compares what they were told with
// what is in the table.
func TestALoadedSystemLosesAndDoublesNothing(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		ctx := testContext(t)
		db := open(t, c, dsn)
		db.SetMaxIdleConns(8)
		mustExec(t, db, "create table t (id text)") // no key: doubles must be seen
		var mu sync.Mutex
		outcome := map[string]string{}
		var acked atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for seq := 0; ; seq++ {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("%d-%d", w, seq)
					err := write(ctx, db, id, (w+seq)%4)
					mu.Lock()
					outcome[id] = "acked"
					if err != nil {
						outcome[id] = code(err)
						if outcome[id] == "" {
							outcome[id] = err.Error()
						}
					} else {
						acked.Add(1)
					}
					mu.Unlock()
				}
			})
		}
		progress := func() {
			t.Helper()
			deadline := time.Now().Add(patience)
			for from := acked.Load(); acked.Load() < from+100; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the load does not go on")
				}
			}
		}
		for _, act := range []func(*rdstest.Instance) error{
			func(in *rdstest.Instance) error { return c.Crash(ctx, in) },
			func(in *rdstest.Instance) error { return c.Freeze(ctx, in) },
			func(in *rdstest.Instance) error { return c.Partition(ctx, in) },
			func(in *rdstest.Instance) error { return c.Shutdown(ctx, in, rdstest.Immediate) },
		} {
			progress()
			old := c.Writer()
			if err := act(old); err != nil {
				t.Fatal(err)
			}
			failover(t, c)
			progress()
			_ = c.Thaw(ctx, old) // those that were frozen or cut off come back; the others are not
			_ = c.Heal(ctx, old)
			if err := c.WaitSettled(ctx); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		wg.Wait()

		found := map[string]int{}
		rows, err := db.QueryContext(ctx, "select id, count(*) from t group by id")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var n int
			if err := rows.Scan(&id, &n); err != nil {
				t.Fatal(err)
			}
			found[id] = n
		}
		tally := map[string]int{}
		for id, o := range outcome {
			tally[o]++
			n := found[id]
			switch {
			case n > 1:
				t.Errorf("%s (%s) is there %d times", id, o, n)
			case o == "acked" && n == 0:
				t.Errorf("%s was acknowledged and is lost", id)
			case o == "40001" && n > 0:
				t.Errorf("%s was refused with 40001 and happened", id)
			case o != "acked" && !slices.Contains([]string{"40001", "08007"}, o):
				t.Errorf("%s: %s", id, o)
			}
		}
		t.Logf("outcomes: %v", tally)
	})
}

// write does one write with an identity, in one of four ways.
func write(ctx context.Context, db *sql.DB, id string, how int) error {
	switch how {
	case 0:
		_, err := db.ExecContext(ctx, "insert into t values ($1)", id)
		return err
	case 1:
		_, err := db.ExecContext(ctx, "insert into t values ('"+id+"')")
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if how == 3 {
		var n int
		if err := tx.QueryRowContext(ctx, "select count(*) from t where id = $1", id).Scan(&n); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "insert into t values ($1)", id); err != nil {
		return err
	}
	return tx.Commit()
}
