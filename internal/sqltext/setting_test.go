package sqltext

import (
	"reflect"
	"testing"
)

func TestParseSetting(t *testing.T) {
	off := Options{NonStandardStrings: true}
	for _, c := range []struct {
		sql  string
		o    Options
		want Setting
	}{
		{sql: "set a = 1", want: Setting{Name: "a", SQL: "set a = 1"}},
		{sql: " /* x */ SET Search_Path /* y */ TO app, \"My App\" ; ", want: Setting{Name: "search_path", SQL: `SET Search_Path TO app, "My App"`}},
		{sql: "set session a to on", want: Setting{Name: "a", SQL: "set session a to on"}},
		{sql: "set local a to on", want: Setting{Name: "a", Scope: Local, SQL: "set local a to on"}},
		{sql: "set \"TimeZone\" = -5", want: Setting{Name: "timezone", SQL: "set \"TimeZone\" = -5"}},
		{sql: "set App.Tenant = 'x'", want: Setting{Name: "app.tenant", SQL: "set App.Tenant = 'x'"}},
		{sql: "set local = 1", want: Setting{Name: "local", SQL: "set local = 1"}},
		{sql: "set local.a = 1", want: Setting{Name: "local.a", SQL: "set local.a = 1"}},
		{sql: "set session to 1", want: Setting{Name: "session", SQL: "set session to 1"}},
		{sql: "set a to default", want: Setting{Name: "a", Op: OpReset, SQL: "set a to default"}},
		{sql: "set local a = default", want: Setting{Name: "a", Op: OpReset, Scope: Local, SQL: "set local a = default"}},
		{sql: "set a to 'default'", want: Setting{Name: "a", SQL: "set a to 'default'"}},
		{sql: `set a to "default"`, want: Setting{Name: "a", SQL: `set a to "default"`}},
		{sql: "set time zone 'UTC'", want: Setting{Name: "timezone", SQL: "set time zone 'UTC'"}},
		{sql: "set local time zone interval '1' hour to minute", want: Setting{Name: "timezone", Scope: Local, SQL: "set local time zone interval '1' hour to minute"}},
		{sql: "set time zone local", want: Setting{Name: "timezone", Op: OpReset, SQL: "set time zone local"}},
		{sql: "set names 'latin1'", want: Setting{Name: "client_encoding", SQL: "set names 'latin1'"}},
		{sql: "set names", want: Setting{Name: "client_encoding", Op: OpReset, SQL: "set names"}},
		{sql: "set schema 'x'", want: Setting{Name: "search_path", SQL: "set schema 'x'"}},
		{sql: "set role admin", want: Setting{Name: "role", SQL: "set role admin"}},
		{sql: "set role = admin", want: Setting{Name: "role", SQL: "set role = admin"}},
		{sql: "set local role none", want: Setting{Name: "role", Scope: Local, SQL: "set local role none"}},
		{sql: "set session authorization 'a'", want: Setting{Name: "session_authorization", SQL: "set session authorization 'a'"}},
		{sql: "set session session authorization default", want: Setting{Name: "session_authorization", Op: OpReset, SQL: "set session session authorization default"}},
		{sql: "set xml option document", want: Setting{Name: "xmloption", SQL: "set xml option document"}},
		{sql: "set session characteristics as transaction isolation level serializable", want: Setting{
			Name: "default_transaction_isolation", SQL: "set session characteristics as transaction isolation level serializable",
		}},
		{sql: "set session characteristics as transaction read only, not deferrable isolation level read committed", want: Setting{
			Name: "default_transaction_deferrable,default_transaction_isolation,default_transaction_read_only",
			SQL:  "set session characteristics as transaction read only, not deferrable isolation level read committed",
		}},
		{sql: "reset a.B", want: Setting{Name: "a.b", Op: OpReset, SQL: "reset a.B"}},
		{sql: "reset all", want: Setting{Op: OpResetAll, SQL: "reset all"}},
		{sql: "reset role;", want: Setting{Name: "role", Op: OpReset, SQL: "reset role"}},
		{sql: "reset time zone", want: Setting{Name: "timezone", Op: OpReset, SQL: "reset time zone"}},
		{sql: "reset session authorization", want: Setting{Name: "session_authorization", Op: OpReset, SQL: "reset session authorization"}},
		{sql: "discard all", want: Setting{Op: OpDiscardAll, SQL: "discard all"}},
		{sql: `set a to'b\c'`, want: Setting{Name: "a", SQL: `set a to E'b\\c'`}},
		{sql: `set a to 'b\c', E'\n'`, o: off, want: Setting{Name: "a", SQL: `set a to E'b\c', E'\n'`}},
		{sql: `set a to n'b\';c'`, o: off, want: Setting{Name: "a", SQL: `set a to E'b\';c'`}},
		{sql: "set a to 'it''s', $$x;y$$", want: Setting{Name: "a", SQL: "set a to 'it''s', $$x;y$$"}},
	} {
		got, ok := ParseSetting(c.sql, c.o)
		if !ok || got != c.want {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", c.sql, got, ok, c.want)
		}
		again, ok := ParseSetting(got.SQL, Options{})
		if !ok || again != got {
			t.Errorf("%q: its SQL reads as %+v, %v", c.sql, again, ok)
		}
	}
}

func TestParseSettingLeavesTheRest(t *testing.T) {
	for _, sql := range []string{
		"", "select 1", "set", "set local", "set a", "set a =", "set a = 1; set b = 2", "set 'a' = 1", "set a from current", "reset", "reset a b", "reset 'a'", "reset all b",
		"discard plans", "discard temp", "discard sequences", "discard", "set transaction isolation level serializable", "set local transaction read only", "set transaction_isolation = 'serializable'",
		"reset transaction isolation level", "reset transaction_isolation", "set constraints all deferred", "set session characteristics as transaction", "set catalog 'x'", "set a = 'x", "set role", "set time zone",
		"set schema", "update a set b = 1",
	} {
		if s, ok := ParseSetting(sql, Options{}); ok {
			t.Errorf("%q: %+v", sql, s)
		}
	}
}

func TestSetConfigCalls(t *testing.T) {
	lit := func(s string) Arg { return Arg{Kind: ArgLiteral, Text: s} }
	param := func(n int) Arg { return Arg{Kind: ArgParam, Param: n} }
	for sql, want := range map[string][]SetConfigCall{
		"select 1":                             nil,
		"select set_config('a.b', 'c', false)": {{lit("a.b"), lit("c"), lit("false")}},
		"SELECT set_config(name, 'view', false) FROM pg_settings WHERE name = 'a_b'":                            {{lit("a_b"), lit("view"), lit("false")}},
		"SELECT set_config('bytea_output','hex',false) FROM pg_show_all_settings() WHERE name = 'bytea_output'": {{lit("bytea_output"), lit("hex"), lit("false")}},
		"select set_config('a', 'v', false) from pg_catalog.pg_show_all_settings() where name = 'b'":            {{lit("a"), lit("v"), lit("false")}},
		"select pg_catalog.set_config(name, 'v', 't') from pg_catalog.pg_settings where name = 'a';":            {{lit("a"), lit("v"), lit("true")}},
		"SELECT pg_catalog.SET_CONFIG($1, $2::text, $3::bool) AS x;":                                            {{param(1), param(2), param(3)}},
		"select set_config('a', null, 't') y, \"set_config\"('b', '', 'ON') \"z\"":                              {{lit("a"), Arg{}, lit("true")}, {lit("b"), lit(""), lit("true")}},
		"select set_config(E'it\\'s\\n', $q$v$q$, true) /* x */":                                                {{lit("it's\n"), lit("v"), lit("true")}},
		"select set_config('it''s', 'v', NULL)":                                                                 {{lit("it's"), lit("v"), Arg{}}},
	} {
		got, ok := SetConfigCalls(sql, Options{})
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", sql, got, ok, want)
		}
	}
	for _, sql := range []string{
		"select set_config('a', 'b', false) from t", "select set_config('a', b, false)", "select set_config('a', 'b' || 'c', false)", "select 1, set_config('a', 'b', false)",
		"select set_config('a', 'b', false) where false", "select (set_config('a', 'b', false))", "select lower(set_config('a', 'b', false))", "with x as (select set_config('a', 'b', false)) table x",
		"do $$ begin perform set_config('a', 'b', false); end $$", "select 'set_config'", "select U&\"set\\005fconfig\"('a', 'b', false)", "select app.set_config('a', 'b', false)",
		"select set_config('a', 'b', false); select 1", "select set_config('a', 'b')", "select set_config('a', 'b', 'perhaps')", "select set_config('a', 'b', false", "select set_config('a', 'b', false) as",
		"select set_config(E'\\x41', 'b', false)", "select set_config('a'\n'b', 'b', false)", "select set_config('a', 'b', false) union select set_config('c', 'd', false)", "select set_config('a'::name, 'b', false)",
		"select set_config('a', 'b', false) limit 0", "select set_config('a', 'b', false) over ()", "values (set_config('a', 'b', false))", "select set_config('a', 'b', false),",
		"select set_config($99999999999999999999, 'b', false)",
		"select set_config(name, 'v', false) from pg_settings", "select set_config(name, 'v', false) from pg_settings where name = 'a' or true",
		"select set_config(name, 'v', false) from other where name = 'a'", "select set_config(name, 'v', false) from app.pg_settings where name = 'a'",
		"select set_config('a', 'v', false) from app.pg_show_all_settings() where name = 'a'", "select set_config('a', 'v', false) from pg_show_all_settings() where name = 'a' or f()",
		"select set_config('a', 'v', false) from pg_show_all_settings(1) where name = 'a'", "select set_config($1, 'v', false) from pg_settings where name = 'a'",
		"select set_config(name, setting, false) from pg_settings where name = 'a'", "select set_config(name, 'v', false) from pg_settings where name = $1",
		"select set_config(name, 'v', false), 1 from pg_settings where name = 'a'", "select set_config(name, 'v', false)",
	} {
		if calls, ok := SetConfigCalls(sql, Options{}); ok {
			t.Errorf("%q: %+v", sql, calls)
		}
	}
	if _, ok := SetConfigCalls(`select set_config('a', 'b\c', false)`, Options{NonStandardStrings: true}); ok {
		t.Error("a backslash was taken for itself where it escapes")
	}
}
