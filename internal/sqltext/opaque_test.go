package sqltext

import "testing"

func TestOpaque(t *testing.T) {
	for sql, want := range map[string]bool{
		"select 1": false,
		"select count(*), lower(name), coalesce(a, b), now() from users where id in (1, 2)": false,
		"select app.login('x')":                                                             true,
		"select my_login($1)":                                                               true,
		`select "My Fn"(1)`:                                                                 true,
		"select * from set_tenant('a')":                                                     true,
		"select * from generate_series(1, 3) g(n)":                                          false,
		"select * from generate_series(1, 3) as g(n)":                                       false,
		"select pg_catalog.set_config('a.b', '1', false)":                                   false,
		"select set_config('a.b', '1', false)":                                              false,
		"insert into t (a, b) values ($1, $2) returning id":                                 false,
		"insert into app.t (a, b) values ($1, f($2))":                                       true,
		`insert into "T" (a) values (uuid_generate_v4())`:                                   false,
		"insert into t (a) values (public.gen_salt('bf'))":                                  false,
		"insert into t (a) values (1) on conflict (a) do update set (a, b) = (1, 2)":        false,
		"insert into t values (1::numeric(10, 2), cast(2 as varchar(3)))":                   false,
		"update t set a = next_price(a) where id = 1":                                       true,
		"update t set a = a + 1 where (a > 1) and (b)":                                      false,
		"with x (a) as (select 1), y(b) as materialized (select 2) select * from x, y":      false,
		"with recursive x(a) as (select f()) select * from x":                               true,
		"with x as (select touch(1)) select * from x":                                       true,
		"select sum(a) filter (where b) over (partition by c) from t":                       false,
		"select rank() over (order by f(a)) from t":                                         true,
		"select a from t group by rollup (a), grouping sets ((a), ())":                      false,
		"select * from t join u using (id) join lateral (select 1) l on (true)":             false,
		"select * from t where exists (select 1) and a = any (array(select 1))":             false,
		"select * from t tablesample system (1)":                                            false,
		"merge into t using s on (t.a = s.a) when not matched then insert (a) values (s.a)": false,
		"create table t (a int, b text default f('x'), check (g(a)))":                       false,
		"create index on t (f(a))":                                                          false,
		"create or replace function f(a int) returns int as 'select g(1)' language sql":     false,
		"create view v (a) as select f(1)":                                                  false,
		"create table t (a) as select f(1)":                                                 true,
		"create temp table t as (select 1)":                                                 false,
		"create materialized view v as with x as (select f(1)) select * from x":             true,
		"grant execute on function f(int) to public":                                        false,
		"analyze t (a)":                   false,
		"vacuum (full) t":                 false,
		"copy t (a, b) from stdin":        false,
		"copy (select f(1)) to stdout":    true,
		"explain analyze select f(1)":     true,
		"execute p(f(1))":                 true,
		"call refresh()":                  true,
		"do $$ begin end $$":              true,
		"select 'f(' || a -- f(":          false,
		"prepare p (int) as select f($1)": true,
		"select extract(epoch from now()), position('a' in b), trim(both from c)": false,
		"select interval(3) '1 day'": false,
		"select f(1), 'unfinished":   true,
	} {
		if got := Opaque(sql, Options{}); got != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
}
