package driver_test

import (
	"context"
	"testing"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/doctor"
	"github.com/fairlead-go/fairlead/internal/overloads"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// Whoever may create something in the schema public runs nothing as the DSN's user by it, if the application itself does not say so.
func TestNobodysOverloadsRunAsTheDSNsUser(t *testing.T) {
	resolutions(t, func(t *testing.T, c *rdstest.Cluster, cfg *driver.Config) {
		ctx := testContext(t)
		admin, err := c.AdminConn(ctx, c.Writer())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Exec(ctx, "create table public.t (id pg_catalog.text); grant all on public.t to public"); err != nil {
			t.Fatal(err)
		}
		overloads.Install(t, ctx, admin)
		_ = admin.Close(ctx)
		db := openConfig(t, cfg)
		conn := connections(t, db, 1)[0]
		for _, sql := range []string{"set work_mem to '11MB'", "set application_name to 'x'", "prepare p as select 1", "listen l"} {
			mustExec(t, conn, sql)
		}
		for _, lose := range []bool{true, false} {
			cut := front.Cut{From: front.Server, Match: isReadyIdle, When: front.Before, N: 1}
			pending := c.Writer().Front().Cut(cut)
			if lose {
				go func() {
					<-pending.Done()
					_, _ = c.Failover(ctx)
				}()
			}
			if _, err := conn.ExecContext(ctx, "insert into public.t values ('x')"); err != nil && code(err) != "08007" {
				t.Errorf("the writer fails: %v: %v", lose, err)
			}
			if pending.Stop() {
				t.Fatal("the cut was not reached")
			}
			var got string
			if err := conn.QueryRowContext(ctx, "show work_mem").Scan(&got); err != nil || got != "11MB" {
				t.Errorf("restored to %q, %v", got, err)
			}
		}
		if err := c.WaitSettled(ctx); err != nil {
			t.Fatal(err)
		}
		for _, check := range doctor.Examine(ctx, cfg).Checks {
			if check.Status == doctor.Failed && check.Name != "tcp" && check.Name != "tls" && check.Name != "replicas" { // an instance is down
				t.Errorf("doctor: %+v", check)
			}
		}
		if admin, err = c.AdminConn(ctx, c.Writer()); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = admin.Close(context.Background()) }()
		if seen := overloads.Seen(t, ctx, admin); len(seen) != 0 {
			t.Errorf("run: %q", seen)
		}
	})
}
