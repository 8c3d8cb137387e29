package driver_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/rdstest"
)

func TestConnectionsOfSeveralPoolsShareAFewUpstreams(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	dsn := c.DSN() + "&pool_mode=transaction&max_upstreams=4"
	a, b := open(t, c, dsn), open(t, c, dsn)
	mustExec(t, a, "create table counted (n int)")
	ctx := testContext(t)
	conns := make([]*sql.Conn, 0, 100)
	for i := range 100 {
		db := a
		if i%2 == 1 {
			db = b
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mustExec(t, conn, fmt.Sprintf("set application_name = 'conn%d'", i))
		conns = append(conns, conn)
	}
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			for range 5 {
				tx, err := conn.BeginTx(ctx, nil)
				if err != nil {
					t.Error(err)
					return
				}
				var name string
				if err := tx.QueryRowContext(ctx, "select current_setting('application_name') where $1 > 0", 1).Scan(&name); err != nil || name != fmt.Sprintf("conn%d", i) {
					t.Errorf("connection %d is called %q: %v", i, name, err)
				}
				if _, err := tx.ExecContext(ctx, "insert into counted values ($1)", i); err != nil {
					t.Error(err)
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	var used int
	if err := admin.QueryRow(ctx, "select count(*) from pg_stat_activity where usename = 'app' and application_name not like 'fairlead-%'").Scan(&used); err != nil {
		t.Fatal(err)
	}
	if used > 4 {
		t.Errorf("%d connections to the server", used)
	}
	var n int
	if err := a.QueryRowContext(ctx, "select count(*) from counted").Scan(&n); err != nil || n != 500 {
		t.Errorf("%d rows: %v", n, err)
	}
}

func TestAFailoverIsNotSeenByConnectionsThatShareUpstreams(t *testing.T) {
	flavors(t, func(t *testing.T, c *rdstest.Cluster, dsn string) {
		db := open(t, c, dsn+"&pool_mode=transaction&max_upstreams=3")
		db.SetMaxOpenConns(10)
		installMarker(t, c)
		mustExec(t, db, "create table counted (w int, n int, primary key (w, n))")
		ctx := testContext(t)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		written := make([]int, 10)
		for w := range written {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					tx, err := db.BeginTx(ctx, nil)
					if err == nil {
						if _, err = tx.ExecContext(ctx, "insert into counted values ($1, $2)", w, n); err == nil {
							err = tx.Commit()
						}
					}
					if err != nil {
						t.Errorf("worker %d, transaction %d: %v", w, n, err)
						return
					}
					written[w]++
				}
			})
		}
		failover(t, c)
		failover(t, c)
		close(stop)
		wg.Wait()
		for w, n := range written {
			var there int
			if err := db.QueryRowContext(ctx, "select count(*) from counted where w = $1", w).Scan(&there); err != nil || there != n {
				t.Errorf("worker %d was told of %d commits, %d are there: %v", w, n, there, err)
			}
		}
	})
}

func TestListenersShareUpstreams(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	ctx := testContext(t)
	notices := make(chan string, 100)
	connect := func() *pgx.Conn {
		cfg := config(t, c, c.DSN()+"&pool_mode=transaction&max_upstreams=2")
		cfg.Conn.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices <- n.Message }
		return connect(t, cfg)
	}
	exec := func(conn *pgx.Conn, sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	listeners := make([]*pgx.Conn, 5)
	for i := range listeners {
		listeners[i] = connect()
		exec(listeners[i], "listen news")
	}
	exec(listeners[0], "create temp table mine (n int)") // it keeps its connection
	heard := make(chan error, len(listeners))
	wait := func(payload string, sender uint32) {
		for _, conn := range listeners {
			go func() {
				n, err := conn.WaitForNotification(ctx)
				if err == nil && (n.Payload != payload || sender != 0 && (n.PID == sender) != (conn.PgConn().PID() == sender)) {
					err = fmt.Errorf("process %d was told %+v", conn.PgConn().PID(), n)
				}
				heard <- err
			}()
		}
	}
	told := func() {
		t.Helper()
		for range listeners {
			if err := <-heard; err != nil {
				t.Error(err)
			}
		}
	}
	sender := connect()
	for i := range 20 {
		wait(fmt.Sprint(i), 0)
		exec(sender, fmt.Sprintf("notify news, '%d'", i))
		told()
	}
	exec(listeners[1], "notify news, 'from one of them'")
	wait("from one of them", listeners[1].PgConn().PID())
	told()

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := listeners[2].WaitForNotification(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait in vain ends with %v", err)
	}
	exec(listeners[2], "select 1")

	exec(listeners[0], "drop table mine")
	wait("after", 0)
	failover(t, c)
	for range listeners {
		select {
		case msg := <-notices:
			if !strings.Contains(msg, "may have been missed") {
				t.Errorf("notice %q", msg)
			}
		case <-time.After(patience):
			t.Fatal("a listener was not resumed")
		}
	}
	exec(sender, "notify news, 'after'")
	told()
}

func TestAConnectionThatIsClosedWithinATransactionKeepsItsUpstream(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	db := open(t, c, c.DSN()+"&pool_mode=transaction&max_upstreams=1")
	ctx := testContext(t)
	pids := make(map[string]bool)
	for i := range 6 {
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Raw(func(any) error { return nil }); err != nil {
			t.Fatal(err)
		}
		var pid string
		if err := conn.QueryRowContext(ctx, "select pg_backend_pid()::text").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids[pid] = true
		if _, err := conn.ExecContext(ctx, "begin; select set_config('work_mem', '9MB', false)"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // pgx closes a connection whose context has ended
			late, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			_, err = conn.ExecContext(late, "select pg_sleep(60)")
			cancel()
			if err == nil {
				t.Error("a statement outlived its context")
			}
		}
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = conn.Close()
		var mem string
		if err := db.QueryRowContext(ctx, "show work_mem").Scan(&mem); err != nil || mem != "4MB" {
			t.Errorf("the next one has work_mem %s: %v", mem, err)
		}
	}
	if len(pids) != 1 {
		t.Errorf("connections that were closed in transactions have used %d upstreams", len(pids))
	}
}
