package pooler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/pooler"
)

// habit is what drivers and people do with prepared statements, line by line: "name: sql" is a Parse of the protocol's, "=name" runs a
// statement by Bind and Execute, "!name" closes one, "?sql" runs SQL by the extended protocol, and all else is a simple query.
type habit []string

const ownStatements = "select name, statement, parameter_types, from_sql from pg_prepared_statements order by name"

var habits = map[string]habit{
	"EXECUTE":                 {"one: select $1::int + 1", "execute one(41)", "=one 1", "execute one (2);", "EXECUTE ONE(3)"},
	"EXECUTE, extended":       {"one: select $1::int + 1", "?execute one(41)", "?explain (costs off) execute one(1)"},
	"EXPLAIN EXECUTE":         {"one: select $1::int + 1", "explain (costs off) execute one(41)", "explain (analyze, costs off, timing off, summary off) execute one(4)"},
	"CREATE TABLE AS EXECUTE": {"two: select 7 as n", "begin", "create temp table habit_made as execute two", "select n from habit_made", "rollback"},
	"in a transaction":        {"one: select $1::int + 1", "begin", "execute one(41)", "savepoint s", "execute one(1/0)", "rollback to s", "execute one(1)", "commit", "execute one(5)"},
	"made in a transaction":   {"begin", "late: select 'late'", "execute late", "commit", "execute late", "=late"},
	"rolled back":             {"begin", "late: select 'late'", "rollback", "execute late", "=late"},
	"quoted":                  {`S_1: select 'upper'`, `execute "S_1"`, `execute s_1`, `deallocate "S_1"`, `=S_1`},
	"quotes in quotes":        {`we"ird: select 'weird'`, `execute "we""ird"`, `deallocate "we""ird"`, `execute "we""ird"`},
	"spaces":                  {`a b: select 'blank'`, `execute "a b"`},
	"differ by case":          {`q: select 'small'`, `Q: select 'large'`, `execute q`, `execute Q`, `execute "Q"`, `deallocate q`, `execute "Q"`, `=Q`, `=q`},
	"not ASCII":               {`é: select 'é'`, `execute é`, `execute "é"`},
	"escaped":                 {`ab: select 'ab'`, `execute U&"\0061b"`, `execute U&"!0061b" uescape '!'`},
	"comments":                {`ab: select 'ab'`, `execute /* it */ ab`, "-- execute\nexecute ab"},
	"numbers":                 {`__asyncpg_stmt_1__: select 1`, `__asyncpg_stmt_11__: select 11`, `execute __asyncpg_stmt_1__`, `execute __asyncpg_stmt_11__`, `deallocate __asyncpg_stmt_1__`, `=__asyncpg_stmt_11__`, `=__asyncpg_stmt_1__`},
	"several in a string":     {"one: select 1", "two: select 2", "execute one; execute two; select 3", "execute one; execute three; execute two"},
	"wrong arguments":         {"one: select $1::int", "execute one", "execute one(1, 2)", "execute one('x')", "=one 5"},
	"no such":                 {"execute nothing", "deallocate nothing", "=nothing"},
	"DEALLOCATE":              {"one: select 1", "two: select 2", "deallocate one", "execute one", "=one", "execute two", "deallocate prepare two", "=two"},
	"DEALLOCATE ALL":          {"one: select 1", "two: select 2", "deallocate all", "execute one", "=two", ownStatements},
	"DISCARD ALL":             {"one: select 1", "discard all", "execute one", ownStatements},
	"made again":              {"one: select 1", "deallocate one", "one: select 2", "execute one", "=one"},
	"closed":                  {"one: select 1", "execute one", "!one", "execute one", "one: select 3", "execute one"},
	"PREPARE and Bind":        {"prepare p (int) as select $1 * 2", "=p 21", "execute p(4)", "!p", "execute p(4)"},
	"PREPARE collides":        {"one: select 1", "prepare one as select 2", "execute one", "prepare two as select 2", "two: select 3", "execute two"},
	"listed":                  {"one: select $1::int", "prepare two as select 2", ownStatements, "?" + ownStatements, "execute one(1)", "=one 2", ownStatements},
	"listed by itself":        {"list: " + ownStatements, "=list", "one: select 1", "=list", "!one", "=list"},
	"listed, not used":        {"one: select 1", "two: select 2", "select count(*) from pg_prepared_statements", "!two", "select count(*) from pg_catalog.pg_prepared_statements"},
	"listed, nothing":         {ownStatements, "select count(*) from pg_prepared_statements where name like 'fairlead%'"},
	"listed in a transaction": {"one: select 1", "begin", ownStatements, "two: select 2", ownStatements, "select count(*) from pg_prepared_statements", "commit", ownStatements},
	"exists":                  {"one: select 1", "select exists (select from pg_prepared_statements where name = 'one')", "execute one"},
	"execute from a function": {"one: select 7 as n", "do $$begin execute 'execute one'; end$$"},
	"with settings":           {"set search_path = pg_catalog", "one: select current_schema()", "set search_path = public", "execute one", "=one", ownStatements},
	"data modifying":          {"ins: insert into public.habits values ($1::int) returning n", "execute ins(1)", "=ins 2", "begin", "execute ins(3)", "rollback"},
	"a cursor":                {"one: select generate_series(1, 3) as n", "begin", "execute one", "declare c cursor for select 1", "fetch c", "commit"},
}

// step does what a line of a habit says, and shows what came of it.
func step(ctx context.Context, conn *pgconn.PgConn, line string) string {
	name, rest, _ := strings.Cut(line[1:], " ")
	switch {
	case line[0] == '=':
		var args [][]byte
		if rest != "" {
			args = [][]byte{[]byte(rest)}
		}
		r := conn.ExecPrepared(ctx, name, args, nil, nil).Read()
		return show([]*pgconn.Result{r}, nil)
	case line[0] == '!':
		return fmt.Sprint(conn.Deallocate(ctx, name))
	case line[0] == '?':
		r := conn.ExecParams(ctx, line[1:], nil, nil, nil, nil).Read()
		return show([]*pgconn.Result{r}, nil)
	}
	if name, sql, ok := strings.Cut(line, ": "); ok && !strings.Contains(name, "select") && !strings.Contains(name, "execute ") {
		_, err := conn.Prepare(ctx, name, sql, nil)
		return show(nil, err)
	}
	return show(conn.Exec(ctx, line).ReadAll())
}

func TestPreparedStatementsAreWhatTheyAreOnAServer(t *testing.T) {
	own := connect(t, shared.AddressDSN())
	exec(t, own, "drop table if exists public.habits; create table public.habits (n int)")
	modes := []pooler.Mode{pooler.Transaction, pooler.Session}
	s, _ := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Listeners = []pooler.Listener{{Address: "127.0.0.1:0", Mode: modes[0]}, {Address: "127.0.0.1:0", Mode: modes[1]}}
		c.Clusters["main"].PoolSize = 2
	})
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, mode := range modes {
		for name, h := range habits {
			t.Run(string(mode)+" "+name, func(t *testing.T) {
				ctx := shortContext(t)
				direct, pooled := connect(t, shared.AddressDSN()).PgConn(), connect(t, url(shared, addrs[i])).PgConn()
				others := []*pgconn.PgConn{connect(t, url(shared, addrs[0])).PgConn(), connect(t, url(shared, addrs[0])).PgConn()}
				for n, line := range h {
					want, got := step(ctx, direct, line), step(ctx, pooled, line)
					if got != want {
						t.Errorf("%s: %s, want %s", line, got, want)
					}
					if mode == pooler.Transaction && pooled.TxStatus() == 'I' {
						// Somebody else has statements of the same names and texts, and the connection in between.
						others[n%2].Exec(ctx, "select 1; set work_mem = '5MB'; reset work_mem")
						step(ctx, others[n%2], line)
						if others[n%2].TxStatus() != 'I' {
							step(ctx, others[n%2], "rollback")
						}
					}
				}
				for _, c := range append(others, direct, pooled) {
					_ = c.Close(ctx)
				}
			})
		}
	}
}
