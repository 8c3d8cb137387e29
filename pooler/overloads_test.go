package pooler_test

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/overloads"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// Whoever may create something in the schema public runs nothing by it as a user of the pooler's.
func TestNobodysOverloadsRunInThePooler(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: 1})
	ctx := testContext(t)
	asSuperuser(t, c, "create role auth_reader login password 'reader'", "grant select on pg_authid to auth_reader",
		"create role dbalice login password 'pw' in role app", "create table public.t (id pg_catalog.text)", "grant all on public.t to public")
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	overloads.Install(t, ctx, admin)
	_ = admin.Close(ctx)
	auth, err := driver.ParseConfig(c.UserDSN("auth_reader", "reader"))
	if err != nil {
		t.Fatal(err)
	}
	auth.Resolver = c.Resolver()
	_, addr := start(t, c, c.MultiHostDSN(), func(cfg *pooler.Config) {
		k := cfg.Clusters["main"]
		k.AuthQuery, k.AuthDatabase, k.MaxConnectionsPercent = pooler.DefaultAuthQuery, auth, 50
	})
	dsn := "host=127.0.0.1 port=" + addr.String()[len("127.0.0.1:"):] + " user=dbalice password=pw dbname=app sslmode=disable application_name=mine"
	if err := loginAs(t, addr, "dbalice", "pw", "sslmode=disable"); err != nil {
		t.Fatal(err)
	}
	if err := loginAs(t, addr, "dbalice", "wrong", "sslmode=disable"); code(err) != "28P01" {
		t.Fatal(err)
	}
	a, b := connect(t, dsn), connect(t, dsn)
	for _, sql := range []string{"set work_mem to '11MB'", "listen l", "create temporary table kept (x int)", "drop table kept", "declare c cursor with hold for select 1", "close c"} {
		exec(t, a, sql)
	}
	exec(t, b, "notify l")
	if n, err := a.WaitForNotification(ctx); err != nil || n.Channel != "l" {
		t.Errorf("%v, %v", n, err)
	}
	exec(t, b, "insert into public.t values ('x')")
	if _, err := c.Failover(ctx); err != nil {
		t.Fatal(err)
	}
	exec(t, b, "insert into public.t values ('x')")
	exec(t, a, "begin")
	if got := value(t, a, "show work_mem"); got != "11MB" {
		t.Error(got)
	}
	exec(t, a, "commit")
	time.Sleep(100 * time.Millisecond) // the topology probes on
	if admin, err = c.AdminConn(ctx, c.Writer()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	if seen := overloads.Seen(t, ctx, admin); len(seen) != 0 {
		t.Errorf("run: %q", seen)
	}
}
