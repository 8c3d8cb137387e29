package driver_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// soon separates what goes on by itself from what waits for a timeout of TCP's.
const soon = 10 * time.Second

// forgets runs a test with either kind of a path that forgets: one whose packets are not even acknowledged, and one with
// something in between that takes them.
func forgets(t *testing.T, run func(t *testing.T, how front.Silence)) {
	for _, how := range []front.Silence{front.Unplug, front.Swallow} {
		t.Run(fmt.Sprint(how), func(t *testing.T) { run(t, how) })
	}
}

// within fails the test if f takes longer than what separates a path that is found dead from a timeout.
func within(t testing.TB, what string, f func() error) {
	t.Helper()
	begun := time.Now()
	if err := f(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	took := time.Since(begun)
	t.Logf("%s took %v", what, took.Round(time.Millisecond))
	if took > soon {
		t.Errorf("%s took %v", what, took)
	}
}

func TestAStatementGoesOnWhenItsPathIsForgotten(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	forgets(t, func(t *testing.T, how front.Silence) {
		for _, mode := range []string{"session", "transaction"} {
			c := rdstest.Start(t, rdstest.Config{Readers: -1})
			ctx := testContext(t)
			db := open(t, c, c.DSN()+"&pool_mode="+mode)
			mustExec(t, db, "create table t (a int)")
			conns := connections(t, db, 4)
			forget := func() { c.Writer().Front().Forget(how) }

			forget()
			within(t, mode+": a read", func() error {
				var n int
				return conns[0].QueryRowContext(ctx, "select 1").Scan(&n)
			})
			within(t, mode+": the other sessions", func() error {
				for _, conn := range conns[1:] {
					if _, err := conn.ExecContext(ctx, "select 1"); err != nil {
						return err
					}
				}
				return nil
			})

			tx, err := conns[1].BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(ctx, "insert into t values (1)"); err != nil {
				t.Fatal(err)
			}
			forget()
			within(t, mode+": a write within a transaction", func() error {
				_, err := tx.ExecContext(ctx, "insert into t values (2)")
				return err
			})
			time.Sleep(1200 * time.Millisecond)
			forget()
			within(t, mode+": its end", func() error { return tx.Commit() })

			time.Sleep(1200 * time.Millisecond)
			forget()
			within(t, mode+": a write by itself, after a while", func() error {
				_, err := conns[2].ExecContext(ctx, "insert into t values (3)")
				return err
			})
			var sum, n int
			if err := db.QueryRowContext(ctx, "select sum(a), count(*) from t").Scan(&sum, &n); err != nil || sum != 6 || n != 3 {
				t.Errorf("%s: %d rows with the sum %d (%v), want 3 and 6", mode, n, sum, err)
			}
		}
	})
}

func TestALongStatementOnALivePathIsLeftAlone(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	db := open(t, c, c.DSN())
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pid := func() (n int) {
		if err := conn.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := pid()
	mustExec(t, conn, "select pg_sleep(6)")
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := tx.ExecContext(ctx, "select pg_sleep(1.2)"); err != nil {
			t.Error(err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	// Somebody who does not read what has come is not without an answer.
	rows, err := conn.QueryContext(ctx, "select repeat('x', 1000) from generate_series(1, 20)")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	n := 0
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil || n != 20 {
		t.Errorf("%d rows, %v", n, err)
	}
	// Nor is one whose way is slow.
	c.Writer().Front().Delay(200 * time.Millisecond)
	for range 5 {
		mustExec(t, conn, "select 1")
	}
	c.Writer().Front().Delay(0)
	if after := pid(); after != before {
		t.Errorf("the session goes on with process %d, want %d", after, before)
	}
}

func TestAStatementWhoseAnswerIsForgottenIsRunAgain(t *testing.T) {
	forgets(t, func(t *testing.T, how front.Silence) {
		c := rdstest.Start(t, rdstest.Config{Readers: -1})
		ctx := testContext(t)
		db := open(t, c, c.DSN())
		mustExec(t, db, "select 1")
		forgotten := time.AfterFunc(500*time.Millisecond, func() { c.Writer().Front().Forget(how) })
		defer forgotten.Stop()
		within(t, "a read that takes two seconds", func() error {
			_, err := db.ExecContext(ctx, "select count(*) from generate_series(1, 3) where pg_sleep(0.7) is not null")
			return err
		})
	})
}
