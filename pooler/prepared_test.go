package pooler_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestAStatementThatMeansNothingHereSaysSoInItsPlace(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	ctx := testContext(t)
	conn := connect(t, url(shared, addr)).PgConn()
	run := func(sql string) string { return show(conn.Exec(ctx, sql).ReadAll()) }
	batch := func(names ...string) string {
		var b pgconn.Batch
		for _, name := range names {
			if name == "zero" {
				b.ExecParams("select 1/$1::text::int", [][]byte{[]byte("0")}, nil, nil, nil)
				continue
			}
			b.ExecPrepared(name, nil, nil, nil)
		}
		return show(conn.ExecBatch(ctx, &b).ReadAll())
	}
	run("create schema means; create table means.something (a int); insert into means.something values (7); set search_path = means")
	defer run("rollback; drop schema means cascade")
	for name, sql := range map[string]string{"q": "select a from something", "one": "select 1"} {
		if _, err := conn.Prepare(ctx, name, sql, nil); err != nil {
			t.Fatal(err)
		}
	}
	const nothing = "begin; set local search_path = pg_catalog"
	for _, c := range []struct{ before, names, want string }{
		{"", "q", `"7" SELECT 1;`},
		{nothing, "q", "42P01"},
		{nothing, "one q one", `"1" SELECT 1;42P01`},
		{nothing, "one q q", `"1" SELECT 1;42P01`},
		{nothing, "zero q", "22012"},
		{nothing + "; select no_such", "q", "25P02"},
		{"set search_path = pg_catalog", "q", "42P01"},
		{"", "zero q", "22012"},
		{"", "one q", `"1" SELECT 1;42P01`},
		{"set search_path = means", "q one q", `"7" SELECT 1;"1" SELECT 1;"7" SELECT 1;`},
	} {
		run(c.before)
		if got := batch(strings.Fields(c.names)...); got != c.want {
			t.Errorf("after %q, %s: %s, want %s", c.before, c.names, got, c.want)
		}
		if conn.TxStatus() != 'I' {
			run("rollback")
		}
	}
}
