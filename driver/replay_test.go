package driver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// family is a cluster with parents that have keys of a sequence's, and children that refer to them.
func family(t *testing.T) (c *rdstest.Cluster, admin *pgx.Conn) {
	t.Helper()
	c = rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	if _, err := admin.Exec(ctx, `create table parent (id serial primary key); create table child (parent int references parent, note text);
		create table slow (n int);
		create function trickle() returns int language plpgsql as $$ begin
			for i in 1 .. (select coalesce(sum(n), 0) from slow) loop raise notice 'still here'; perform pg_sleep(0.05); end loop;
			return 1; end $$;
		create function hush() returns int language plpgsql as $$ begin perform pg_sleep(sum(n)) from slow; return 1; end $$;
		grant all on all tables in schema public to public; grant all on all sequences in schema public to public`); err != nil {
		t.Fatal(err)
	}
	return c, admin
}

// terminate ends the server process of a user's session, and not the session.
func terminate(t *testing.T, admin *pgx.Conn) {
	t.Helper()
	var n int
	if err := admin.QueryRow(testContext(t), `select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
		where backend_type = 'client backend' and state = 'idle in transaction'`).Scan(&n); err != nil || n != 1 {
		t.Fatalf("ended %d sessions in a transaction (%v), want 1", n, err)
	}
}

// brood begins a transaction, and inserts a parent and its child.
func brood(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx := testContext(t)
	var id int
	var note string
	if _, err := conn.Exec(ctx, "begin"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "insert into parent default values returning id").Scan(&id); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "savepoint s"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "insert into child values ($1, $2) returning note", id, "a note of some length").Scan(&note); err != nil {
		t.Fatal(err)
	}
}

// pipelined runs statements in one segment each, sent at once, and returns their SQLSTATEs.
func pipelined(t *testing.T, conn *pgx.Conn, list ...string) (codes []string) {
	t.Helper()
	p := conn.PgConn().StartPipeline(testContext(t))
	for _, sql := range list {
		p.SendQueryParams(sql, nil, nil, nil, nil)
		if err := p.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	for range list {
		failed := ""
		for {
			r, err := p.GetResults()
			if _, ok := r.(*pgconn.PipelineSync); ok {
				break
			}
			if reader, ok := r.(*pgconn.ResultReader); ok {
				_, err = reader.Close()
			}
			if failed = code(err); err != nil && failed == "" {
				t.Fatal(err)
			}
			if err == nil && r == nil {
				t.Fatal("no result, and no Sync")
			}
		}
		codes = append(codes, failed)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return codes
}

func TestATransactionWhoseReplayDiffersIsLostUntilItsEnd(t *testing.T) {
	c, admin := family(t)
	cfg := config(t, c, c.DSN())
	run := map[string]func(conn *pgx.Conn, sql string) string{
		"simple": func(conn *pgx.Conn, sql string) string {
			_, err := conn.PgConn().Exec(testContext(t), sql).ReadAll()
			return code(err)
		},
		"extended": func(conn *pgx.Conn, sql string) string {
			return code(conn.PgConn().ExecParams(testContext(t), sql, nil, nil, nil, nil).Read().Err)
		},
		"pipeline": func(conn *pgx.Conn, sql string) string { return pipelined(t, conn, sql)[0] },
	}
	for how, exec := range run {
		t.Run(how, func(t *testing.T) {
			conn := connect(t, cfg)
			brood(t, conn)
			terminate(t, admin)
			for _, sql := range []string{"select 1", "rollback to s", "select 1", "release s", "savepoint t", "commit"} {
				if got := exec(conn, sql); got != "40001" {
					t.Errorf("%s: got %q, want 40001", sql, got)
				}
			}
			if got := exec(conn, "select 1"); got != "" {
				t.Errorf("afterwards: %s", got)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		conn := connect(t, cfg)
		brood(t, conn)
		terminate(t, admin)
		got := pipelined(t, conn, "rollback to s", "select 1", "commit", "select 1")
		for i, want := range []string{"40001", "40001", "40001", ""} {
			if got[i] != want {
				t.Errorf("got %q, want 40001 for all but the last", got)
				break
			}
		}
	})
	t.Run("its end", func(t *testing.T) {
		conn := connect(t, cfg)
		brood(t, conn)
		terminate(t, admin)
		for _, c := range []struct{ sql, want string }{{"rollback to s", "40001"}, {"rollback", ""}, {"select 1", ""}} {
			if got := run["simple"](conn, c.sql); got != c.want {
				t.Errorf("%s: got %q, want %q", c.sql, got, c.want)
			}
		}
	})
	var n int
	if err := admin.QueryRow(testContext(t), "select count(*) from child").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d children are there (%v)", n, err)
	}
}

// await waits until a query of the administrator's returns true.
func await(t *testing.T, admin *pgx.Conn, query string) {
	t.Helper()
	for yes := false; !yes; time.Sleep(10 * time.Millisecond) {
		if err := admin.QueryRow(testContext(t), query).Scan(&yes); err != nil {
			t.Fatal(err)
		}
	}
}

// A replay whose server keeps silent, or never comes to an end of what it says, takes no longer than failover_timeout.
func TestAReplayEndsInTimeWhateverItsServerSays(t *testing.T) {
	c, admin := family(t)
	ctx := testContext(t)
	mustAdmin := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, server := range []struct{ says, sql string }{{"nothing", "select hush()"}, {"a trickle", "select trickle()"}} {
		for _, pooled := range []bool{false, true} {
			cfg := config(t, c, c.DSN())
			cfg.FailoverTimeout = 2 * time.Second
			if pooled {
				cfg.PoolMode, cfg.BorrowTimeout = driver.PoolTransaction, time.Second
			}
			begin := func(t *testing.T) *pgx.Conn {
				conn := connect(t, cfg)
				for _, sql := range []string{"begin", server.sql} {
					if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
						t.Fatal(err)
					}
				}
				return conn
			}
			t.Run(fmt.Sprintf("%s, noticed by a write, pooled: %t", server.says, pooled), func(t *testing.T) {
				conn := begin(t)
				terminate(t, admin)
				mustAdmin("insert into slow values (1200)")
				defer mustAdmin("delete from slow")
				if got := pipelined(t, conn, "select 1", "select 2"); got[0] != "40001" || got[1] != "40001" {
					t.Errorf("got %q, want 40001 for both", got)
				}
			})
			t.Run(fmt.Sprintf("%s, noticed by a read, pooled: %t", server.says, pooled), func(t *testing.T) {
				conn := begin(t)
				ended := make(chan error, 1)
				go func() {
					_, err := conn.PgConn().Exec(ctx, "select pg_sleep(60)").ReadAll()
					ended <- err
				}()
				await(t, admin, "select count(*) > 0 from pg_stat_activity where query = 'select pg_sleep(60)'")
				mustAdmin("insert into slow values (1200)")
				defer mustAdmin("delete from slow")
				mustAdmin("select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(60)'")
				if err := <-ended; code(err) != "40001" || !strings.Contains(err.Error(), "failover_timeout") {
					t.Errorf("got %v, want a 40001 that names failover_timeout", err)
				}
			})
		}
	}
}

func TestACancelReachesAReplay(t *testing.T) {
	c, admin := family(t)
	conn := connect(t, config(t, c, c.DSN()))
	brood(t, conn)
	terminate(t, admin)
	ctx := testContext(t)
	if _, err := admin.Exec(ctx, "begin; lock table parent"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := conn.PgConn().Exec(ctx, "select 1").ReadAll()
		ended <- err
	}()
	await(t, admin, "select count(*) > 0 from pg_locks where not granted")
	if err := conn.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if code(err) != "57014" {
			t.Errorf("got %v, want 57014", err)
		}
	case <-time.After(patience):
		t.Error("the canceled statement has no answer")
	}
	if _, err := admin.Exec(ctx, "rollback"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "commit"); !errors.Is(err, pgx.ErrTxCommitRollback) && err != nil {
		t.Errorf("commit: %v", err)
	}
	if _, err := conn.Exec(ctx, "select 1"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
