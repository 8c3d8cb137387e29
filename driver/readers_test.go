package driver_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// readerDSN is how the readers of a cluster are reached in either flavor.
func readerDSN(c *rdstest.Cluster, dsn string) string {
	if dsn == c.DSN() {
		return c.ReaderDSN()
	}
	return dsn + "&target_session_attrs=read-only"
}

// serverConns is how many connections with an application_name an instance has.
func serverConns(t testing.TB, c *rdstest.Cluster, in *rdstest.Instance, application string) (n int) {
	t.Helper()
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where application_name = $1", application).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func inRecovery(t testing.TB, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (is bool) {
	t.Helper()
	if err := db.QueryRowContext(testContext(t), "select pg_is_in_recovery()").Scan(&is); err != nil {
		t.Fatal(err)
	}
	return is
}

func TestAReadOnlyHandleLeavesAReaderThatIsPromoted(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		ctx := testContext(t)
		mustExec(t, open(t, c, dsn), "create table t (a int)")
		for _, mode := range []string{"session", "transaction"} {
			db := open(t, c, readerDSN(c, dsn)+"&application_name=reads_"+mode+"&reader_fallback=off&pool_mode="+mode)
			conns := connections(t, db, 6)
			// One is within a transaction.
			tx, err := conns[0].BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(ctx, "select 1"); err != nil {
				t.Fatal(err)
			}
			next, err := c.Switchover(ctx)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if _, err := tx.ExecContext(ctx, "insert into t values (0)"); code(err) != "25006" {
				t.Errorf("%s: within a transaction a write ends with %v, want 25006", mode, err)
			}
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
			for i, conn := range conns {
				if _, err := conn.ExecContext(ctx, "insert into t values (1)"); code(err) != "25006" {
					t.Errorf("%s, session %d: a write ends with %v, want 25006", mode, i, err)
				}
			}
			eventually(t, mode+": no session is on the new writer", func() bool { return serverConns(t, c, next, "reads_"+mode) == 0 })
			for i, conn := range conns {
				if !inRecovery(t, conn) {
					t.Errorf("%s, session %d is served by the writer", mode, i)
				}
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("%s: it took %v", mode, took)
			}
			if err := c.WaitSettled(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestSessionsGoBackToReaders(t *testing.T) {
	for _, attrs := range []string{"prefer-standby", "read-only&reader_fallback=on", "standby&reader_fallback=on"} {
		t.Run(attrs, func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: 1})
			ctx := testContext(t)
			reader := c.Readers()[0]
			if err := c.Crash(ctx, reader); err != nil {
				t.Fatal(err)
			}
			const sessions = 6
			db := open(t, c, c.MultiHostDSN()+"&application_name=goes_back&topology_refresh_interval=1s&target_session_attrs="+attrs)
			conns := connections(t, db, sessions)
			for i, conn := range conns {
				if inRecovery(t, conn) {
					t.Fatalf("session %d is served by a reader that is down", i)
				}
			}
			tx, err := conns[0].BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			var before, after int
			if err := tx.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&before); err != nil {
				t.Fatal(err)
			}
			mustExec(t, conns[1], "select pg_advisory_lock(42)")
			if err := c.Restart(ctx, reader); err != nil {
				t.Fatal(err)
			}
			// One stays within its transaction, and one with what it holds.
			eventually(t, "idle sessions have left the writer", func() bool { return serverConns(t, c, c.Writer(), "goes_back") == 2 })
			if err := tx.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&after); err != nil || after != before {
				t.Errorf("a transaction goes on with process %d (%v), want %d", after, err, before)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			var locked bool
			if err := conns[1].QueryRowContext(ctx, "select pg_advisory_unlock(42)").Scan(&locked); err != nil || !locked {
				t.Errorf("a lock was lost on the way: %v", err)
			}
			for i, conn := range conns {
				if i != 1 {
					eventually(t, fmt.Sprintf("session %d has gone back", i), func() bool { return inRecovery(t, conn) })
				}
			}
			// And once more to the writer and back.
			if err := c.Crash(ctx, reader); err != nil {
				t.Fatal(err)
			}
			for i, conn := range conns[2:] {
				if inRecovery(t, conn) {
					t.Errorf("session %d is served by a reader that is down", i)
				}
			}
			if err := c.Restart(ctx, reader); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a session has gone back", func() bool { return inRecovery(t, conns[3]) })
		})
	}
}

func TestTheWriterServesAReaderEndpointWithoutReaders(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	mustExec(t, open(t, c, c.DSN()), "create table t (a int)")
	db := open(t, c, c.ReaderDSN())
	if inRecovery(t, db) {
		t.Error("there is a reader")
	}
	if _, err := db.ExecContext(ctx, "insert into t values (1)"); code(err) != "25006" {
		t.Errorf("a write ends with %v, want 25006", err)
	}
	// Whoever says that it is to write there, as Aurora's own endpoint would let it, does.
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustExec(t, conn, "set default_transaction_read_only = off")
	mustExec(t, conn, "insert into t values (1)")
	for _, dsn := range []string{
		c.ReaderDSN() + "&target_session_attrs=read-only", c.ReaderDSN() + "&target_session_attrs=standby",
		c.ReaderDSN() + "&reader_fallback=off", c.DSN() + "&target_session_attrs=read-only",
	} {
		short, cancel := context.WithTimeout(ctx, time.Second)
		if err := open(t, c, dsn).PingContext(short); err == nil {
			t.Errorf("%s is served by the writer", dsn)
		}
		cancel()
	}
	mustExec(t, open(t, c, c.DSN()+"&target_session_attrs=read-only&reader_fallback=on"), "select 1")
}

func TestTheFallbackIsOnlyForWhoNamesNoInstances(t *testing.T) {
	const ro, cluster = "host=app.cluster-ro-xyz.eu-west-1.rds.amazonaws.com", "host=app.cluster-xyz.eu-west-1.rds.amazonaws.com"
	for dsn, want := range map[string]driver.Switch{
		ro: driver.On, ro + " target_session_attrs=read-only": driver.Off, ro + " target_session_attrs=read-only reader_fallback=on": driver.On,
		ro + " reader_fallback=off": driver.Off, cluster: driver.Off, cluster + " target_session_attrs=read-only": driver.Off,
	} {
		c, err := driver.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		again, err := driver.ParseConfig(c.FormatDSN())
		if err != nil || c.ReaderFallback != want || again.ReaderFallback != want {
			t.Errorf("%s: %s, and %s when it was formatted (%v), want %s", dsn, c.ReaderFallback, again.ReaderFallback, err, want)
		}
	}
}

func TestAPromotedReaderKeepsWhatASessionHolds(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	ctx := testContext(t)
	mustExec(t, open(t, c, c.DSN()), "create table t (a int)")
	cfg := config(t, c, c.ReaderDSN()+"&reader_fallback=off")
	conns := make([]*pgx.Conn, 4)
	for i := range conns {
		conns[i] = connect(t, cfg)
		if _, err := conns[i].Exec(ctx, "select pg_advisory_lock($1)", i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Switchover(ctx); err != nil {
		t.Fatal(err)
	}
	for i, conn := range conns {
		if _, err := conn.Exec(ctx, "insert into t values (1)"); code(err) != "25006" {
			t.Errorf("session %d: a write ends with %v, want 25006", i, err)
		}
		var held bool
		if err := conn.QueryRow(ctx, "select pg_advisory_unlock($1)", i).Scan(&held); err != nil || !held {
			t.Errorf("session %d: it has lost its lock: %v", i, err)
		}
		if _, err := conn.Exec(ctx, "discard all"); err != nil {
			t.Error(err)
		}
		eventually(t, fmt.Sprintf("session %d is on a reader", i), func() (is bool) {
			if err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&is); err != nil {
				t.Fatal(err)
			}
			return is
		})
	}
}
