package sqltext

import (
	"slices"
	"strings"
	"testing"
)

func texts(list []Statement) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Text)
	}
	return out
}

func TestSplitEndsStatementsAtTheirSemicolons(t *testing.T) {
	for _, c := range []struct {
		sql  string
		o    Options
		want []string
	}{
		{sql: ""}, {sql: " ;; -- x\n ; /* y */"},
		{sql: "select 1", want: []string{"select 1"}},
		{sql: " select 1 ; ;select 2;", want: []string{"select 1", "select 2"}},
		{sql: "/* a;b */ select /* c;d */ 1 -- e;f\n; -- g\nselect 2 -- h", want: []string{"select /* c;d */ 1", "select 2"}},
		{sql: "select /* /* ; */ ; */ 1; select 2", want: []string{"select /* /* ; */ ; */ 1", "select 2"}},
		{sql: `select ';', "a;b", 'it''s;'; select 2`, want: []string{`select ';', "a;b", 'it''s;'`, "select 2"}},
		{sql: `select 'a\'; select 2`, want: []string{`select 'a\'`, "select 2"}},
		{sql: `select 'a\'; select 2'`, o: Options{NonStandardStrings: true}, want: []string{`select 'a\'; select 2'`}},
		{sql: `select n'a\'; select 2'`, o: Options{NonStandardStrings: true}, want: []string{`select n'a\'; select 2'`}},
		{sql: `select E'a\';b'; select e'\\'; select 3`, want: []string{`select E'a\';b'`, `select e'\\'`, "select 3"}},
		{sql: `select B'1\', X'f\', U&'\'; select 2`, want: []string{`select B'1\', X'f\', U&'\'`, "select 2"}},
		{sql: "select E'a'\n  '\\';b'; select 2", want: []string{"select E'a'\n  '\\';b'", "select 2"}},
		{sql: "select E'a' -- c\n '\\';b'; select 2", want: []string{"select E'a' -- c\n '\\';b'", "select 2"}},
		{sql: "select E'a' '\\'; select 2", want: []string{"select E'a' '\\'", "select 2"}},
		{sql: `select U&"a;b", "c"";d"; select 2`, want: []string{`select U&"a;b", "c"";d"`, "select 2"}},
		{sql: "do $$ begin; end $$; select $a$ $b$ ; $$ ; $a$ ; select 3", want: []string{"do $$ begin; end $$", "select $a$ $b$ ; $$ ; $a$", "select 3"}},
		{sql: "select a$b$; select $1; select c$d$", want: []string{"select a$b$", "select $1", "select c$d$"}},
		{sql: "select 1E'\\'; select 2", want: nil},
		{sql: "create rule r as on insert to t do (select 1; select 2); select 3", want: []string{"create rule r as on insert to t do (select 1; select 2)", "select 3"}},
		{sql: "select 1); select 2", want: []string{"select 1)", "select 2"}},
		{
			sql: "create or replace function f() returns int language sql begin atomic select case when true then 1 end; select 2 as end; select t.case; end; select 3",
			want: []string{
				"create or replace function f() returns int language sql begin atomic select case when true then 1 end; select 2 as end; select t.case; end", "select 3",
			},
		},
		{sql: "create procedure p() BEGIN /* x */ ATOMIC insert into t values (1); END; select 3", want: []string{"create procedure p() BEGIN /* x */ ATOMIC insert into t values (1); END", "select 3"}},
		{sql: "create function f() returns int return 1; begin; select 2; end", want: []string{"create function f() returns int return 1", "begin", "select 2", "end"}},
		{sql: "begin atomic; end; create table function(a int); begin; end", want: []string{"begin atomic", "end", "create table function(a int)", "begin", "end"}},
		{sql: "select 1 - -1; select a--b;\n; select 2*/*;*/3", want: []string{"select 1 - -1", "select a", "select 2*/*;*/3"}},
	} {
		list, err := Split(c.sql, c.o)
		if c.want == nil && strings.Contains(c.sql, "1E") {
			if err == nil {
				t.Errorf("%q: no error", c.sql) // older servers see an escape string begin there
			}
			continue
		}
		if err != nil || !slices.Equal(texts(list), c.want) {
			t.Errorf("%q:\n got %q, %v\nwant %q", c.sql, texts(list), err, c.want)
		}
		for _, s := range list {
			if c.sql[s.Offset:s.Offset+len(s.Text)] != s.Text {
				t.Errorf("%q: offset %d is not that of %q", c.sql, s.Offset, s.Text)
			}
		}
	}
}

func TestSplitRefusesWhatHasNoEnd(t *testing.T) {
	for _, sql := range []string{
		"select 'a", "select 'a''", `select E'a\'`, `select "a`, "select $$ a $", "select $a$ b $A$", "/* /* */", `select U&"a`, "select X'1", "select 1; select '",
		"select E'a'\n'b",
	} {
		if list, err := Split(sql, Options{}); err == nil {
			t.Errorf("%q: %q", sql, texts(list))
		}
	}
}

func TestClassify(t *testing.T) {
	for sql, want := range map[string]Kind{
		"": Empty, " ; -- x": Empty, "()": Unknown, "((": Unknown, "nonsense": Unknown, "'select'": Unknown, `"select" 1`: Unknown, "select 'a": Unknown,
		"select 1": Select, "/* a */ -- b\n SeLeCt 1": Select, "(select 1) union (select 2)": Select, "((values (1)))": Select, "(with a as (select 1) table a)": With,
		"((((((((((((((((select 1))))))))))))))))": Select, ";;;;;;;;;;;; commit": Commit, "(delete from t)": Unknown,
		"select a into b from c": SelectInto, "; select into b": SelectInto, "select 'into'": Select, "select (select a into b)": Select, "select t.into from t": Select,
		"select a as into": Select, "select 1; select 2 into t": Select, "select a into temp b": CreateTemp, "select a into temporary table b": CreateTemp,
		"values (1)": Values, "table t": Table, "with a as (select 1) select 1": With, "show a": Show, "explain select 1": Explain,
		"insert into t values (1)": Insert, "update t set a=1": Update, "delete from t": Delete, "merge into t": Merge,
		"begin": Begin, "begin work isolation level serializable": Begin, "begin bogus": Unknown, "begin; bogus": Begin,
		"begin isolation level bogus": Unknown, "BEGIN transaction isolation level repeatable read, read only not deferrable;": Begin,
		"begin read only,": Unknown, "begin, read only": Unknown, "start transaction bogus": Unknown, "begin read write, deferrable": Begin,
		"start transaction read only": Begin, "start": Unknown,
		"commit": Commit, "end": Commit, "commit work": Commit, "end transaction;": Commit, "commit and chain": CommitChain, "end work and chain": CommitChain, "commit and no chain": Commit,
		"commit prepared 'x'": CommitPrepared, "end prepared 'x'": Unknown, "commit nonsense": Unknown,
		"rollback": Rollback, "abort": Rollback, "rollback and chain": RollbackChain, "abort transaction and no chain": Rollback, "rollback to a": RollbackTo,
		"rollback work to savepoint a": RollbackTo, "rollback prepared 'x'": RollbackPrepared, "abort to a": RollbackTo,
		"savepoint a": Savepoint, "release a": Release, "release savepoint a": Release, "prepare transaction 'x'": PrepareTransaction,
		"prepare transaction as select 1": Prepare, "prepare transaction(int) as select 1": Prepare, "prepare a as select 1": Prepare, "execute a": Execute, "deallocate all": Deallocate,
		"set a = 1": Set, "set session a to 1": Set, "set local a = 1": SetLocal, "set time zone 'UTC'": Set, "set local time zone utc": SetLocal, "set session authorization a": Set,
		"set local session authorization a": SetLocal, "set session session authorization a": Set, "set role a": Set, "set local = 1": Set, "set session = 1": Set, "set local.a = 1": Set,
		"set transaction read only": SetTransaction, "set local transaction read only": SetTransaction, "set session transaction read only": SetTransaction,
		"set transaction.a = 1": Set, "set transaction_isolation = 'serializable'": SetTransaction, "set local transaction_read_only to on": SetTransaction, "set \"TRANSACTION_READ_ONLY\" to on": SetTransaction,
		"set session characteristics as transaction read only": SetCharacteristics, "set constraints all deferred": SetConstraints, "set constraints.a = 1": Set, "set": Unknown,
		"reset all": Reset, "reset a": Reset, "discard all": Discard, "discard temp": Discard,
		"declare c cursor for select 1": Declare, "fetch c": Fetch, "move c": Move, "close c": CloseCursor, "listen a": Listen, "unlisten *": Unlisten, "notify a": Notify,
		"copy t from stdin": Copy, "lock t": Lock, "call p()": Call, "do $$ $$": Do, "load 'a'": Load, "vacuum": Vacuum, "analyze t": Analyze, "cluster": Cluster,
		"reindex table t": Reindex, "checkpoint": Checkpoint, "truncate t": Truncate,
		"create table t (a int)": DDL, "create temp table t (a int)": CreateTemp, "create local temporary view v as select 1": CreateTemp, "create or replace temp view v as select 1": CreateTemp,
		"create temporary sequence s": CreateTemp, "create table pg_temp.t (a int)": CreateTemp, "create function pg_temp_3.f() returns int return 1": CreateTemp, `create table "pg_temp".t ()`: CreateTemp,
		"create table template (temp int)": DDL, "create database d": DDLNoBlock, "create unique index concurrently i on t (a)": DDLNoBlock, "create index i on t (a)": DDL,
		"create tablespace t location ''": DDLNoBlock, "create subscription s": DDLNoBlock, "create": Unknown, "create (": Unknown,
		"alter table t add a int": DDL, "alter system set a = 1": DDLNoBlock, "drop table t": DDL, "drop database d": DDLNoBlock, "drop index concurrently i": DDLNoBlock, "drop": Unknown,
		"grant a to b": DDL, "revoke a from b": DDL, "comment on table t is 'x'": DDL, "refresh materialized view v": DDL, "security label on a is 'b'": DDL,
		"identify_system": Replication, "start_replication slot a": Replication,
	} {
		if got := Classify(sql, Options{}); got != want {
			t.Errorf("%q is %s, want %s", sql, got, want)
		}
	}
}

func TestEveryKindHasItsName(t *testing.T) {
	seen := map[string]Kind{}
	for k := Unknown; k <= Replication; k++ {
		if prev, ok := seen[k.String()]; ok || k.String() == "" {
			t.Errorf("%d is called %q, as %d is", k, k, prev)
		}
		seen[k.String()] = k
	}
	if s := Kind(255).String(); s != "Unknown" {
		t.Error(s)
	}
}
