package driver_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/rdstest"
)

// backends are the server processes of the application on an instance; the topology's own are left out.
func backends(t *testing.T, admin *pgx.Conn) []int {
	t.Helper()
	rows, err := admin.Query(testContext(t),
		"select pid from pg_stat_activity where usename = 'app' and application_name <> 'fairlead-topology' and pid <> pg_backend_pid()")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// eventually calls the function until it returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatal("never: " + what)
		}
	}
}

func TestSessionsLogInAheadWhileThereIsNoWriter(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	c := rdstest.Start(t, rdstest.Config{Readers: 1, RejoinDelay: time.Hour})
	ctx := testContext(t)
	db := open(t, c, c.DSN())
	mustExec(t, db, "create table t (pid int)")
	conns := connections(t, db, 3)
	admin, err := c.AdminConn(ctx, c.Readers()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)

	if err := c.Crash(ctx, c.Writer()); err != nil {
		t.Fatal(err)
	}
	pids, standby := make([]int, len(conns)), make([]string, len(conns))
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, conn := range conns {
		wg.Go(func() {
			// The settings are those of a session that began on a reader.
			err := conn.QueryRowContext(ctx, "select pg_backend_pid(), current_setting('in_hot_standby')").Scan(&pids[i], &standby[i])
			if err == nil {
				_, err = conn.ExecContext(ctx, fmt.Sprintf("insert into t values (%d)", pids[i]))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	var ahead []int
	eventually(t, "logins on a reader", func() bool {
		ahead = backends(t, admin)
		return len(ahead) >= len(conns)
	})
	failover(t, c)
	wg.Wait()
	for i, pid := range pids {
		if !slices.Contains(ahead, pid) || standby[i] != "off" {
			t.Errorf("session %d is served by process %d of %v, in_hot_standby=%s", i, pid, ahead, standby[i])
		}
	}
	eventually(t, "the spare logins closed", func() bool { return len(backends(t, admin)) == len(conns) })
}
