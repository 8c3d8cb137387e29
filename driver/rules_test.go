package driver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// A simple statement is answered with the rows of all that rules make of it, also where its commit is given evidence.
func TestTheRowsOfARuleAreNotLost(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	installMarker(t, c)
	ctx := testContext(t)
	run := func(conn *pgconn.PgConn, sql string) string {
		t.Helper()
		results, err := conn.Exec(ctx, sql).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		var b strings.Builder
		for _, r := range results {
			fmt.Fprintf(&b, "%s %s; ", r.Rows, r.CommandTag)
		}
		return b.String()
	}
	plain, err := pgx.Connect(ctx, c.AddressDSN(c.Writer()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close(ctx)
	const before = `create table watched (n int); create table instead (n int); create view seen as select * from watched; create table plain (n int)`
	const rules = `create rule r as on insert to watched do also select 'also' as r;
		create rule r as on insert to instead do instead select 'instead' as r;`
	for _, mode := range []driver.PoolMode{driver.PoolSession, driver.PoolTransaction} {
		t.Run(string(mode), func(t *testing.T) {
			cfg := config(t, c, c.DSN())
			cfg.PoolMode, cfg.CommitResolution = mode, driver.ResolutionMarker
			a, b := connect(t, cfg).PgConn(), connect(t, cfg).PgConn()
			run(a, before)
			defer run(a, "drop view seen; drop table watched, instead, plain")
			run(b, "insert into watched values (0)")
			run(a, rules) // they are known to both from now on
			for _, sql := range []string{
				"insert into watched values (1)", "insert into public.watched values (1), (2)", "insert into instead values (1)",
				"insert into seen values (3)", "insert into plain values (1)",
			} {
				want := run(plain.PgConn(), sql)
				for i, conn := range []*pgconn.PgConn{a, b} {
					if got := run(conn, sql); got != want {
						t.Errorf("%s, client %d: got %s, want %s", sql, i, got, want)
					}
				}
			}
		})
	}
}
