package driver_test

import (
	"database/sql"
	"fmt"
	"sync"
	"testing"

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
