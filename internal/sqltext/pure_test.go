package sqltext

import (
	"strings"
	"testing"
)

// pureStatements can be run again.
var pureStatements = []string{
	"select 1", "SELECT 1;", "select 1 ;; ", "select", "select -1, +2, - -3", "select 'a', E'\\'b', $$c$$, $1, 1.5e3, B'1', X'ff', N'n'",
	"select * from t", "select t.*, u.a from s.t, u", "table t", "table only s.t", "values (1, 'a'), (2, null)",
	"(select 1)", "((select 1) union all (select 2)) order by 1 limit 5 offset 2 rows",
	"select a from t where b = $1 and c <> 'x' or not d is null order by a desc nulls last, b using < limit all",
	"select distinct on (a, b) a as x, b y, c \"Z\" from t order by a, b fetch first 5 rows with ties",
	"select lower(a), pg_catalog.upper(b), count(*), count(distinct a), \"length\"(c) from t group by 1, 2, 5",
	"select sum(a) filter (where a > 1) over (partition by b order by c rows between 1 preceding and unbounded following exclude ties) from t",
	"select rank() over w, first_value(a) over (w rows current row) from t window w as (order by a)",
	"select percentile_cont(0.5) within group (order by a) from t",
	"select array_agg(a order by b desc), string_agg(a, ',' order by a) from t group by grouping sets ((a, b), (), cube (a, b), rollup (c))",
	"select coalesce(a, b), nullif(a, 1), greatest(1, 2), least(1, 2), grouping(a) from t group by a",
	"select cast(a as numeric(10, 2)), a::varchar(10)[], a::timestamp(3) with time zone, a::double precision, '1'::interval day to second(3), a::pg_catalog.text from t",
	"select extract(epoch from a), extract('year' from now()), position('a' in b || 'c'), substring(a from 1 for 2), substring(a, 1), overlay(a placing 'x' from 1 for 2), trim(both 'x' from a), trim(a), normalize(a, nfc) from t",
	"select current_date, current_timestamp(3), current_user, localtime, current_schema, current_schema(), user",
	"select date '2020-01-01', interval '1 day', interval '1' day, interval (3) '1 s', timestamp with time zone '2020-01-01', jsonb '{}', double precision '1', varchar(3) 'abc', int4 '5'",
	"select array[1, 2], array[[1], [2]], array(select 1), row(1, 2), row(), (1, 2) = (3, 4), a[1], a[1:2], a[:2], (array[1])[1] from t",
	"select exists (select 1 from t), a in (1, 2), a not in (select 1), a = any ($1), a <> all (array[1]), a like 'x%' escape '!', a not ilike 'b', a similar to 'c', a between symmetric 1 and 2 and b from t",
	"select a at time zone 'UTC', a collate \"C\", a is distinct from b, a isnull, a is not true, a is nfc normalized, (a, b) overlaps (c, d) from t",
	"select case when a then 1 when b then 2 else 3 end, case a when 1 then 'x' end from t",
	"select a->'b'->>'c', a #> '{x}', a @> '{}', a ? 'k', a ?| array['x'], a && b, a || b, |/ 4, @ -1, a ~* 'x', a !~ 'y', a != 1, a<-1 from t",
	"with x as (select 1), y(a, b) as materialized (values (1, 2)) select * from x, y",
	"with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) search depth first by n set o cycle n set c using p select * from r",
	"select * from a join b on a.x = b.x left outer join c using (x, y) as j natural full join d cross join e",
	"select * from a join b join c on b.i = c.i on a.i = b.i", "select * from (a join b on true) x, ((select 1) union (select 2)) y(n)",
	"select * from generate_series(1, 3) with ordinality as g(i, n), lateral (select g.i) s, rows from (unnest(a), generate_series(1, 2)) z",
	"select * from json_to_recordset('[]') as x(a int, b text[]), json_to_record($1) as (c numeric(3, 1))",
	"select * from t as x tablesample system (10) repeatable (1) where x.a > 0",
	"select * from only (t) x, u * y", "select json_build_object('a', 1), make_interval(days => 1), format('%s', variadic array['a'])",
	"show search_path", "show all", "show time zone", "show transaction isolation level", "show app.tenant",
	"explain select 1", "explain verbose select a from t", "explain (verbose, costs off, format json) with x as (select 1) table x", "explain (select 1)",
	"select random(), clock_timestamp(), gen_random_uuid(), pg_sleep(1), pg_is_in_recovery(), pg_relation_size('t'::regclass)",
	"select now(), current_setting('a.b', true), version(), pg_backend_pid(), inet_server_addr()",
	"select /* nextval('s') */ 1 -- setval('s', 1)\n + 2", "select 'nextval(''s'')', $f$ lo_unlink(1) $f$, \"nextval\" from \"delete\"",
	"select left(a, 1), right(a, 2), time, position, values, name, timestamp, row from t",
	"select t.update, t.\"from\", t.from as delete from t", "select ((select 1) + 1)", "select (((select (1))))",
	"select count(*) filter (where true) from (values (1), (2)) as v (x)", "select 1 where false group by all 1 having true",
	"select text 'a', a.b.c.d from a.b.c", "select 5 as for, 6 as into", "select 1 union select 2 intersect select 3 except all select 4",
	"SELECT \"u\".\"id\" AS \"id\" FROM \"users\" AS \"u\" WHERE (\"u\".\"deleted_at\" IS NULL) AND \"u\".\"id\" = ANY($1::bigint[]) LIMIT $2",
}

// impureStatements must not be run again, or are not understood.
var impureStatements = []string{
	"", ";", "-- only a comment", "insert into t values (1)", "update t set a = 1", "delete from t", "merge into t using u on true when matched then delete",
	"begin", "commit", "rollback", "set a = 1", "reset a", "discard all", "prepare x as select 1", "execute x", "declare c cursor for select 1", "fetch c",
	"create table t (a int)", "drop table t", "truncate t", "vacuum", "call p()", "do $$ begin end $$", "copy t to stdout", "copy (select 1) to program 'x'",
	"listen x", "notify x", "lock t", "load 'x'", "grant select on t to u",
	"select 1; select 2", "select 1; delete from t", "select 'a", "select \"a", "select $a$ b", "select /* x", "select 1)", "(select 1", "select (1",
	"select * from t for update", "select * from t for no key update of t nowait", "select 1 from t for share limit 1", "select * from (select * from t for key share) x", "table t for update",
	"select * into u from t", "select 1 into temp x", "with x as (select 1) select * into u from x",
	"with x as (insert into t values (1) returning *) select * from x", "with x as (delete from t) select 1", "with x as (select 1) insert into t table x",
	"with x as (update t set a = 1) select 1", "with x as (with y as (delete from t returning 1) table y) table x",
	"select nextval('s')", "select setval('s', 1)", "select currval('s')", "select lastval()", "select pg_catalog.nextval('s')", "select \"nextval\"('s')", "select NEXTVAL ( 's' )",
	"select nextval/**/('s')", "select nextval -- x\n ('s')", "select pg_advisory_lock(1)", "select pg_advisory_xact_lock(1)", "select set_config('a', 'b', false)",
	"select pg_notify('a', 'b')", "select lo_unlink(1)", "select lo_export(1, 'f')", "select pg_terminate_backend(1)", "select pg_reload_conf()", "select setseed(0.5)",
	"select txid_current()", "select pg_current_xact_id()", "select pg_export_snapshot()", "select pg_logical_emit_message(true, 'a', 'b')", "select pg_read_file('x')",
	"select query_to_xml('delete from t', true, true, '')", "select table_to_xml('t', true, true, '')", "select cursor_to_xml('c', 1, true, true, '')", "select ts_stat('select 1')", "select ts_rewrite('a', 'select 1')",
	"select domain_in('a', 1, 1)", "select dblink('x', 'y')", "select my_function()", "select app.lower('x')", "select public.lower('x')", "select \"Lower\"('x')", "select \"pg_catalog \".lower('x')",
	"select a from my_function() a", "select * from lateral my_function()", "select * from rows from (unnest(a), my_function()) z", "select * from t, my_function(1) with ordinality",
	"select 1 where my_function()", "select 1 order by my_function()", "select 1 group by my_function()", "select 1 having my_function()", "select 1 limit my_function()", "select 1 offset my_function() rows",
	"select 1 fetch first (my_function()) rows only", "select lower(my_function())", "select lower(a order by my_function())", "select count(*) filter (where my_function())", "select count(*) over (partition by my_function())",
	"select count(*) over (order by a rows my_function() preceding)", "select count(*) over w from t window w as (order by my_function())", "select percentile_cont(1) within group (order by my_function())",
	"select case my_function() when 1 then 2 end", "select case when a then my_function() end", "select case when a then 1 else my_function() end", "select array[my_function()]", "select array[[my_function()]]",
	"select array(select my_function())", "select (select my_function())", "select row(my_function())", "select (1, my_function())", "select a[my_function()]", "select a[1:my_function()]", "select a in (my_function())",
	"select a = any (my_function())", "select a between 1 and my_function()", "select a between my_function() and 1", "select a like my_function()", "select a like 'b' escape my_function()", "select a at time zone my_function()",
	"select a is distinct from my_function()", "select exists (select my_function())", "select coalesce(a, my_function())", "select cast(my_function() as int)", "select extract(day from my_function())",
	"select position(my_function() in b)", "select position(a in my_function())", "select substring(a from my_function())", "select trim(my_function() from a)", "select overlay(a placing my_function() from 1)",
	"select not my_function()", "select - my_function()", "select a + my_function()", "select a::int + my_function()", "select a collate \"C\" || my_function()", "select distinct my_function()", "select distinct on (my_function()) a",
	"select all my_function()", "values (1), (my_function())", "with x as (select my_function()) select 1", "select * from a join b on my_function()", "select * from (a join my_function() on true)",
	"select * from t tablesample system (my_function())", "select * from t tablesample my_method(1)", "select lower(a => my_function())", "select format('x', variadic my_function())", "select 1 union select my_function()",
	"(select 1) union (select my_function())", "select ((((my_function()))))", "explain select my_function()", "explain analyze select 1", "explain (analyze) select 1", "explain (verbose, analyze false) select 1", "explain verbose analyze select 1",
	"explain insert into t values (1)", "explain execute x", "explain create table x as select 1",
	"select by(1)", "select first(a)", "select over(1)", "select filter(1)", "select cube(1)", "select similar(1)", "select join(1)", "select operator(1)", "select zone(1)", "select a from sets(1)", "select escape(1)",
	"select a operator(public.+) b", "select operator(pg_catalog.-) 1", "select a +* b", "select a <<<< b", "select @#@ a", "select a order by b using @#@", "select 1 order by a using operator(public.<)",
	"select 'x'::my_domain", "select 'x'::public.text", "select cast('x' as my_type)", "select my_type 'x'", "select 'x'::my_type[]", "select pg_catalog.my_type 'x'", "select 'x'::pg_catalog.my_type", "select '1'::t.a%type",
	"select * from json_to_record('{}') as x(a my_domain)", "select * from json_to_record('{}') as (a my_domain)", "select * from rows from (json_to_record('{}') as (a my_domain)) x",
	"select (t).f from t", "select (5).lo_unlink", "select ('s'::regclass).nextval", "select t.nextval from unnest($1::regclass[]) t", "select a[1].lo_unlink from t", "select $1.nextval",
	"select xmlelement(name a)", "select json_exists(a, '$')", "select * from xmltable('/a' passing b columns c int)", "select * from json_table(a, '$' columns (b int))", "select collation for (a)", "select treat(a as b)",
	"select a is json", "select u&\"nextval\"('s')", "select U&\"\\006eextval\"('s')", "select 1a", "select nextval\x00('s')", "select \xff", "select {fn now()}", "select a ? : b",
	"select 1 from t where current of c", "show", "show a; delete from t", "select case when", "select a from", "with x as select 1", "select * from t where", "select 1 +",
	"select a nextval('s')", "select 1 as nextval('s')", "select * from t nextval('s')", "select * from t x(nextval('s'))", "select 1 from a.b.c(1)", "select pg_catalog.pg_catalog.lower('x')",
	"analyze", "create function f() returns int begin atomic select 1; end", "explain (nextval('s')) select 1", "select count(*) over nextval('s')",
}

func TestPureStatementsMayRunAgain(t *testing.T) {
	for _, sql := range pureStatements {
		if ok, reason := Pure(sql, Options{}); !ok {
			t.Errorf("%s\n\tnot pure: %s", sql, reason)
		}
	}
}

func TestWhatIsNotKnownToBePureIsNot(t *testing.T) {
	for _, sql := range impureStatements {
		ok, reason := Pure(sql, Options{})
		if ok {
			t.Errorf("pure: %s", sql)
		} else if reason == "" {
			t.Errorf("no reason: %s", sql)
		}
	}
}

func TestImpurityIsSeenThroughEveryPureShape(t *testing.T) {
	wraps := []string{
		"select (%s)", "select * from (%s) x", "with x as (%s) select 1", "select 1 where exists (%s)", "select a in (%s)", "select array(%s)",
		"(%s) union select 1", "select 1 union (%s)", "explain (%s)", "select case when (%s) then 1 end", "select lower((%s))", "select 1 order by (%s)",
		"select * from t join lateral (%s) x on true", "select 1 limit (%s)", "select a[(%s)]", "values ((%s))",
	}
	for _, wrap := range wraps {
		if ok, reason := Pure(strings.Replace(wrap, "%s", "select abs(1) from t", 1), Options{}); !ok {
			t.Errorf("%s: %s", wrap, reason)
		}
		for _, sql := range []string{"select nextval('s')", "select 1 from t for update", "select f(1)", "delete from t returning 1", "select 1 into x"} {
			if ok, _ := Pure(strings.Replace(wrap, "%s", sql, 1), Options{}); ok {
				t.Errorf("pure: %s of %s", wrap, sql)
			}
		}
	}
}

func TestBackslashesAreReadAsTheSessionDoes(t *testing.T) {
	const sql = `select '\', nextval('s'), '`
	if ok, _ := Pure(sql+`'`, Options{}); ok {
		t.Error("pure, though a standard string ends at its second quote")
	}
	const hidden = `select '\'', lower('a'), '`
	if ok, _ := Pure(hidden+`'`, Options{}); ok {
		t.Error("pure, though the quotes do not match in a standard string")
	}
	if ok, reason := Pure(`select '\'', lower('a')`, Options{NonStandardStrings: true}); !ok {
		t.Error(reason)
	}
}

func TestReasonsKeepValuesToThemselves(t *testing.T) {
	for _, sql := range []string{"select 'secret' 'secret'", "select f('secret')", "select a 5 'secret'", "select 'secret", "select $$secret$$ $$secret$$"} {
		if ok, reason := Pure(sql, Options{}); ok || strings.Contains(reason, "secret") {
			t.Errorf("%s: %v, %q", sql, ok, reason)
		}
	}
}

func TestReasonsNameTheCause(t *testing.T) {
	for sql, want := range map[string]string{
		"select * from t for update":        "lock rows",
		"select 1 into t":                   "INTO",
		"select my_function(1)":             "my_function",
		"select app.lower('x')":             "app",
		"select 'x'::my_domain":             "my_domain",
		"select a @#@ b":                    "@#@",
		"with x as (delete from t) table x": "DELETE",
		"explain analyze select 1":          "ANALYZE",
		"create table t (a int)":            "create",
		"select 'a":                         "unterminated",
		"select '\xff'":                     "UTF-8",
		"select 1 +":                        "ends early",
		"select " + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000):        "too deeply nested",
		"select " + strings.Repeat("((select ", 22) + "1" + strings.Repeat(")+1)", 22): "too entangled",
	} {
		if ok, reason := Pure(sql, Options{}); ok || !strings.Contains(reason, want) {
			t.Errorf("%.60s: %v, %q, want %q in it", sql, ok, reason, want)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	for _, sql := range []string{
		"select " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000),
		strings.Repeat("(", 100_000) + "select 1" + strings.Repeat(")", 100_000),
		"select " + strings.Repeat("((select ", 60) + "1" + strings.Repeat(")+1)", 60),
		"select * from " + strings.Repeat("(", 10_000) + "(select 1) x join",
		"select " + strings.Repeat("array[", 10_000),
		"select " + strings.Repeat("case when ", 10_000),
		"select 1 group by " + strings.Repeat("grouping sets (", 10_000),
		"select * from " + strings.Repeat("a join ", 10_000) + "a",
	} {
		if ok, _ := Pure(sql, Options{}); ok {
			t.Errorf("pure: %.40s...", sql)
		}
	}
	if ok, reason := Pure("select 1"+strings.Repeat(" + 1", 100_000), Options{}); !ok {
		t.Error(reason)
	}
}

func TestSearchPathSafeWhenPgCatalogStandsFirst(t *testing.T) {
	for path, want := range map[string]bool{
		``: true, `""`: true, `public`: true, `"$user", public`: true, `$user,public`: true, `pg_catalog, public`: true, `"pg_catalog", a`: true,
		`PG_CATALOG,a`: true, `pg_catalog`: true, ` a , b `: true, `"a,pg_catalog"`: true, `"PG_CATALOG", pg_catalog`: false,
		`public, pg_catalog`: false, `a, "pg_catalog"`: false, `a,b,pg_catalog`: false, `pg_temp, pg_catalog`: false, `a, PG_Catalog`: false,
		`"a`: false, `a,`: false, `a b`: false, `,a`: false, `"a" b`: false, `a,,b`: false,
	} {
		if got := SearchPathSafe(path); got != want {
			t.Errorf("SearchPathSafe(%s) = %v", path, got)
		}
	}
}
