package driver_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/rdstest"
)

// An administrator who ends a session again at once means it. A server that shuts down ends all, and means none.
func TestASessionThatIsEndedTwiceAtOnceEnds(t *testing.T) {
	for name, restart := range map[string]bool{"by an administrator": false, "the second time with its server": true} {
		t.Run(name, func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
			ctx := testContext(t)
			cfg := config(t, c, c.DSN())
			moved := make(chan struct{}, 10)
			cfg.Conn.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { moved <- struct{}{} }
			conn := connect(t, cfg)
			if _, err := conn.Exec(ctx, "listen news"); err != nil {
				t.Fatal(err)
			}
			admin, err := c.AdminConn(ctx, c.Writer())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = admin.Close(context.Background()) }()
			end := func() {
				t.Helper()
				tag, err := admin.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where query ilike '%listen%' and pid <> pg_backend_pid()")
				if err != nil || tag.RowsAffected() != 1 {
					t.Fatalf("%s: %v", tag, err)
				}
			}
			got := make(chan error, 1)
			go func() {
				_, err := conn.WaitForNotification(ctx)
				got <- err
			}()

			began := time.Now()
			end()
			<-moved
			if restart {
				err = c.Restart(ctx, c.Writer())
			} else {
				end()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("ended twice within %v", time.Since(began))
			if !restart {
				err := <-got
				if code(err) != "57P01" {
					t.Errorf("the session was ended twice, and is told %v", err)
				}
				return
			}
			select {
			case <-moved:
				mustExec(t, open(t, c, c.DSN()), "notify news")
				err = <-got
			case err = <-got:
			}
			if err != nil {
				t.Errorf("the server was restarted, and the session is told %v", err)
			}
		})
	}
}
