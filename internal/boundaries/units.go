package boundaries

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// schema is what the units work on. Nothing has a key where a unit that happens twice must be seen.
var schema = []string{
	"create schema boundaries",
	"grant all on schema boundaries to public",
	"create table boundaries.effects (run int, effect int, row int)",
	"create index on boundaries.effects (run)",
	"create table boundaries.items (run int primary key, n int not null)",
	"create sequence boundaries.numbers",
	`create function boundaries.put(r int) returns text language plpgsql as $$
		begin insert into boundaries.effects values (r, 0, 0); return 'put'; end $$`,
	`create procedure boundaries.put_all(r int) language plpgsql as $$
		begin insert into boundaries.effects values (r, 0, 0); commit; insert into boundaries.effects values (r, 1, 0); end $$`,
	`create function boundaries.tell(r int) returns text language plpgsql as $$
		begin perform pg_notify('boundaries', r::text); return 'told'; end $$`,
	"grant all on all tables in schema boundaries to public",
	"grant all on all sequences in schema boundaries to public",
}

const (
	put        = "insert into boundaries.effects values ($1, $2, $3)"
	updateNone = "update boundaries.items set n = n + 1 where run = -1"
	putFirst   = "insert into boundaries.effects values ($run, 0, 0)"
)

// fill puts the number of a run into a text.
func fill(text string, id int) string { return strings.ReplaceAll(text, "$run", strconv.Itoa(id)) }

// units are all of them, in the order of the table.
var units []unit

func init() {
	for i := range states {
		states[i].fresh = true
	}
	units = slices.Concat(autocommit, transactions, states, pgxUnits)
}

// Units are the names of the pieces of work.
func Units() []string {
	var names []string
	for _, u := range units {
		names = append(names, u.name)
	}
	return names
}

// one is a unit of one statement of the simple protocol that commits by itself.
func one(query string) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error { return r.ends(ctx, 0, query)() }
}

const item = "insert into boundaries.items values ($run, 0)"

var autocommit = []unit{
	{group: "Autocommit", name: "insert, simple", effects: 1, body: one(putFirst)},
	{group: "Autocommit", name: "insert, extended", effects: 1, body: func(ctx context.Context, r *run) error {
		return r.commits(0, r.put(ctx, 0, 0)())
	}},
	{group: "Autocommit", name: "insert returning, extended", effects: 1, rows: 2, body: func(ctx context.Context, r *run) error {
		return r.commits(0, r.expects(ctx, []string{"0", "1"},
			"insert into boundaries.effects select $1, 0, i from generate_series(0, 1) i returning row::text", r.id)())
	}},
	{group: "Autocommit", name: "insert returning, simple", clients: []string{clientPgx, clientPQ}, effects: 1, body: func(ctx context.Context, r *run) error {
		return r.commits(0, r.expects(ctx, []string{"0"}, putFirst+" returning row::text")())
	}},
	{
		group: "Autocommit", name: "update, simple", effects: 1, before: []string{item},
		body: one("update boundaries.items set n = n + 1 where run = $run"), times: "select n from boundaries.items where run = $run",
	},
	{
		group: "Autocommit", name: "update returning, extended", effects: 1, before: []string{item},
		body: func(ctx context.Context, r *run) error {
			return r.commits(0, r.expects(ctx, []string{"1"}, "update boundaries.items set n = n + 1 where run = $1 returning n::text", r.id)())
		},
		times: "select n from boundaries.items where run = $run",
	},
	{
		group: "Autocommit", name: "delete, extended", effects: 1, before: []string{item},
		body: func(ctx context.Context, r *run) error {
			return r.commits(0, r.exec(ctx, "delete from boundaries.items where run = $1", r.id))
		},
		times: "select 1 - count(*)::int from boundaries.items where run = $run",
	},
	{
		group: "Autocommit", name: "merge, simple", effects: 1,
		body: one(`merge into boundaries.effects e using (select $run) s(run) on e.run = s.run
			when not matched then insert values (s.run, 0, 0) when matched then update set row = 1`),
	},
	{
		group: "Autocommit", name: "with, simple", effects: 1, rows: 2,
		body: one("with a as (" + putFirst + " returning run) insert into boundaries.effects select run, 0, 1 from a"),
	},
	{group: "Autocommit", name: "select of a function that writes, extended", effects: 1, leaves: true, fresh: true, body: func(ctx context.Context, r *run) error {
		return r.commits(0, r.expects(ctx, []string{"put"}, "select boundaries.put($1)", r.id)())
	}},
	{
		group: "Autocommit", name: "two statements in one string", effects: 1, rows: 2,
		body: one(putFirst + "; insert into boundaries.effects values ($run, 0, 1)"),
	},
	{group: "Autocommit", name: "begin, insert and commit in one string", effects: 1, body: one("begin; " + putFirst + "; commit")},
	{group: "Autocommit", name: "select, simple", clients: []string{clientPgx, clientPQ}, body: func(ctx context.Context, r *run) error {
		return r.expects(ctx, []string{"1", "2", "3"}, "select i::text from generate_series(1, 3) i")()
	}},
	{group: "Autocommit", name: "select, extended", body: func(ctx context.Context, r *run) error {
		return r.expects(ctx, []string{"1", "2", "3"}, "select i::text from generate_series(1, $1) i", 3)()
	}},
	{group: "Autocommit", name: "select of a time, extended", body: func(ctx context.Context, r *run) error {
		_, err := r.query(ctx, "select clock_timestamp()::text from generate_series(1, $1)", 3)
		return err
	}},
	{group: "Autocommit", name: "prepared, twice", effects: 2, body: func(ctx context.Context, r *run) error {
		return r.prepared(ctx, r.sql("insert into boundaries.effects select $run, $1::int, 0"), 2, r.commits)
	}},
	{
		group: "Autocommit", name: "create table", effects: 1, body: one("create table boundaries.made_$run (i int)"),
		times: "select count(*)::int from pg_class where relname = 'made_$run'",
	},
	{
		group: "Autocommit", name: "create index concurrently", effects: 1,
		before: []string{"create table boundaries.indexed_$run (i int)", "alter table boundaries.indexed_$run owner to app"},
		body:   one("create index concurrently made_$run on boundaries.indexed_$run (i)"),
		times:  "select count(*)::int from pg_index where indexrelid = to_regclass('boundaries.made_$run') and indisvalid",
	},
	{group: "Autocommit", name: "do", effects: 1, leaves: true, fresh: true, body: one("do $$ begin " + putFirst + "; end $$")},
	{group: "Autocommit", name: "call of a procedure that commits", effects: 2, leaves: true, fresh: true, body: func(ctx context.Context, r *run) error {
		err := r.exec(ctx, r.sql("call boundaries.put_all($run)"))
		return r.commits(0, r.commits(1, err))
	}},
}

// write is the usual transaction: two rows by both protocols.
func write(begin string) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		return all(r.do(ctx, begin), r.do(ctx, putFirst), r.put(ctx, 0, 1), r.ends(ctx, 0, "commit"))
	}
}

var transactions = []unit{
	{group: "Transactions", name: "read committed", effects: 1, rows: 2, body: write("begin")},
	{group: "Transactions", name: "repeatable read", effects: 1, rows: 2, body: write("begin isolation level repeatable read")},
	{group: "Transactions", name: "serializable", effects: 1, rows: 2, body: write("begin isolation level serializable")},
	{group: "Transactions", name: "read only", body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin read only"), r.expects(ctx, []string{"0"}, "select count(*)::text from boundaries.items where run = $1", -1),
			r.do(ctx, "commit"))
	}},
	{group: "Transactions", name: "serializable, only read", body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin isolation level serializable"),
			r.expects(ctx, []string{"0"}, "select count(*)::text from boundaries.items where run = $1", -1), r.do(ctx, "commit"))
	}},
	{group: "Transactions", name: "update of no row", body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, updateNone), r.do(ctx, "commit"))
	}},
	{group: "Transactions", name: "update of no row, serializable", body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin isolation level serializable"), r.do(ctx, updateNone), r.do(ctx, "commit"))
	}},
	{group: "Transactions", name: "returning", effects: 1, rows: 2, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"),
			r.expects(ctx, []string{"0"}, "insert into boundaries.effects values ($1, 0, 0) returning row::text", r.id),
			r.expects(ctx, []string{"1"}, "insert into boundaries.effects values ($1, 0, 1) returning row::text", r.id),
			r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "a number of a sequence was seen", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), func() error {
			_, err := r.query(ctx, "insert into boundaries.effects values ($1, 0, 0) returning nextval('boundaries.numbers')::text", r.id)
			return err
		}, r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "prepared statement", effects: 1, rows: 2, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), func() error {
			return r.prepared(ctx, r.sql("insert into boundaries.effects select $run, 0, $1::int"), 2, func(_ int, err error) error { return err })
		}, r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "savepoint, rolled back to", effects: 1, rows: 2, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.put(ctx, 0, 0), r.do(ctx, "savepoint a"), r.put(ctx, 0, 9),
			r.do(ctx, "rollback to savepoint a"), r.put(ctx, 0, 1), r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "error behind a savepoint", effects: 1, rows: 2, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.put(ctx, 0, 0), r.do(ctx, "savepoint a"), r.fails(ctx, "22012", "select 1/$1::int", 0),
			r.do(ctx, "rollback to savepoint a"), r.put(ctx, 0, 1), r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "error, then rollback", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.put(ctx, 0, 0), r.fails(ctx, "22012", "select 1/$1::int", 0), r.do(ctx, "rollback"))
	}},
	{group: "Transactions", name: "rollback", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, putFirst), r.put(ctx, 0, 1), r.do(ctx, "rollback"))
	}},
	{group: "Transactions", name: "commit and chain", effects: 2, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.put(ctx, 0, 0), r.ends(ctx, 0, "commit and chain"), r.put(ctx, 1, 0), r.ends(ctx, 1, "commit"))
	}},
	{group: "Transactions", name: "set local", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "set local application_name = 'run-$run'"),
			r.expects(ctx, []string{r.sql("run-$run")},
				"insert into boundaries.effects values ($1, 0, 0) returning current_setting('application_name')", r.id),
			r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "for update", effects: 1, before: []string{item}, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.expects(ctx, []string{"0"}, "select n::text from boundaries.items where run = $1 for update", r.id),
			func() error { return r.exec(ctx, "update boundaries.items set n = n + 1 where run = $1", r.id) }, r.ends(ctx, 0, "commit"))
	}, times: "select n from boundaries.items where run = $run"},
	{group: "Transactions", name: "cursor", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "declare c cursor for select i::text from generate_series(1, 4) i"),
			r.expects(ctx, []string{"1", "2"}, "fetch 2 from c"), r.do(ctx, putFirst), r.expects(ctx, []string{"3", "4"}, "fetch 2 from c"),
			r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "advisory lock of the transaction", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "select pg_advisory_xact_lock(1)"), r.put(ctx, 0, 0), r.ends(ctx, 0, "commit"))
	}},
	{
		group: "Transactions", name: "large object", effects: 1, body: func(ctx context.Context, r *run) error {
			return all(r.do(ctx, "begin"), r.do(ctx, "select lo_create(1000000 + $run)"),
				r.do(ctx, "select lowrite(lo_open(1000000 + $run, 131072), 'large')"), r.ends(ctx, 0, "commit"))
		},
		times: "select count(*)::int from pg_largeobject where loid = 1000000 + $run and data = 'large'",
	},
	{group: "Transactions", name: "temporary table, dropped on commit", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "create temp table mine on commit drop as select $run as run"),
			r.do(ctx, "insert into boundaries.effects select run, 0, 0 from mine"), r.ends(ctx, 0, "commit"))
	}},
	{
		group: "Transactions", name: "create table in a transaction", effects: 1, body: func(ctx context.Context, r *run) error {
			return all(r.do(ctx, "begin"), r.do(ctx, "create table boundaries.made_$run (i int)"),
				r.do(ctx, "insert into boundaries.made_$run values (1)"), r.ends(ctx, 0, "commit"))
		},
		times: "select count(*)::int from pg_class where relname = 'made_$run'",
	},
	{group: "Transactions", name: "notify", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "notify boundaries, 'run'"), r.put(ctx, 0, 0), r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "notify by a function", effects: 1, notifies: true, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.expects(ctx, []string{"told"}, "select boundaries.tell($1)", r.id), r.ends(ctx, 0, "commit"))
	}},
	{group: "Transactions", name: "do in a transaction", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "do $$ begin "+putFirst+"; end $$"), r.ends(ctx, 0, "commit"))
	}},
	{
		group: "Transactions", name: "prepare transaction", effects: 1,
		body: func(ctx context.Context, r *run) error {
			return all(r.do(ctx, "begin"), r.put(ctx, 0, 0), r.ends(ctx, 0, "prepare transaction 'run-$run'"))
		},
		times: "select count(*)::int from pg_prepared_xacts where gid = 'run-$run'",
		after: []string{"rollback prepared 'run-$run'"},
	},
	{
		group: "Transactions", name: "commit prepared", effects: 1,
		before: []string{"set role app", "begin", putFirst, "prepare transaction 'run-$run'", "reset role"},
		body:   one("commit prepared 'run-$run'"),
		after:  []string{"rollback prepared 'run-$run'"},
	},
}

var states = []unit{
	{group: "State of the session", name: "set, then insert", effects: 1, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "set application_name = 'run-$run'"), func() error {
			return r.commits(0, r.expects(ctx, []string{r.sql("run-$run")},
				"insert into boundaries.effects values ($1, 0, 0) returning current_setting('application_name')", r.id)())
		})
	}},
	{group: "State of the session", name: "temporary table, then insert from it", effects: 1, leaves: true, may: []string{"08006"}, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "create temporary table t (i int)"), r.do(ctx, "insert into t values (0)"),
			r.ends(ctx, 0, "insert into boundaries.effects select $run, 0, i from t"))
	}},
	{group: "State of the session", name: "advisory lock of the session", effects: 1, leaves: true, may: []string{"08006"}, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "select pg_advisory_lock(2)"), r.ends(ctx, 0, putFirst), r.do(ctx, "select pg_advisory_unlock(2)"))
	}},
	{group: "State of the session", name: "cursor with hold", effects: 1, leaves: true, may: []string{"08006"}, body: func(ctx context.Context, r *run) error {
		return all(r.do(ctx, "begin"), r.do(ctx, "declare c cursor with hold for select i::text from generate_series(1, 4) i"),
			r.do(ctx, putFirst), r.ends(ctx, 0, "commit"), r.expects(ctx, []string{"1", "2"}, "fetch 2 from c"), r.do(ctx, "close c"))
	}},
	{
		group: "State of the session", name: "listen",
		body: listens,
	},
	{
		group: "State of the session", name: "prepared statement whose table has changed", clients: []string{clientPgx, clientSQL},
		before: []string{"create table boundaries.changing_$run (i text)", "alter table boundaries.changing_$run owner to app"},
		body:   afterChange, fails: "0A000", may: []string{"0A000"},
	},
}

// fails is a step that the server is to refuse.
func (r *run) fails(ctx context.Context, code, query string, args ...any) func() error {
	return func() error {
		err := r.exec(ctx, query, args...)
		switch {
		case sqlState(err) == code:
			return nil
		case err == nil:
			return &wrongError{query + " did not fail"}
		}
		return err
	}
}
