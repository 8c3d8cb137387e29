package commit_test

import (
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
)

func (c *conn) check(s commit.Setting) string {
	m, err := commit.Check(c.w.ctx, c, s)
	if c.TxStatus() != 'I' {
		c.w.t.Errorf("check %s leaves the connection in state %c", s, c.TxStatus())
	}
	if err != nil {
		return "error " + err.Error()
	}
	return m.String()
}

// checks compares what the settings lead to: modes, or parts of errors.
func (c *conn) checks(what, auto, marker, lsn string) {
	c.w.t.Helper()
	for s, want := range map[commit.Setting]string{commit.SettingAuto: auto, commit.SettingMarker: marker, commit.SettingLSN: lsn, commit.SettingOff: "off"} {
		got := c.check(s)
		if got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, "error") && strings.Contains(got, strings.TrimPrefix(want, "error "))) {
			c.w.t.Errorf("%s: %s gives %q, want %q", what, s, got, want)
		}
	}
}

func TestCheckOfPlainPostgreSQL(t *testing.T) {
	w := start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: 1})
	writer, reader := w.app(w.Writer()), w.app(w.Readers()[0])
	admin := w.admin(w.Writer())
	writer.checks("no table", "lsn", "error fairlead commits-table", "lsn")
	reader.checks("no table, on a reader", "lsn", "error fairlead commits-table", "lsn")
	admin.run("create schema fairlead; create function fairlead.mark(uuid, bigint) returns text language sql as $$ select 'marked' $$; grant usage on schema fairlead to public")
	writer.checks("a function of another kind", "lsn", "error fairlead.mark(", "lsn")
	admin.run("drop schema fairlead cascade")
	admin.run("create schema fairlead; create function fairlead.mark(uuid, bigint, bigint) returns text language sql as $$ select 'marked 0' $$; grant usage on schema fairlead to public")
	if got := writer.check(commit.SettingAuto); got != "lsn" {
		t.Errorf("a function that would run as the session's user is taken for the marker: %s", got)
	}
	admin.run("drop schema fairlead cascade")

	w.migrate()
	w.migrate()
	w.must(w.WaitSettled(w.ctx))
	writer.checks("all there", "marker", "marker", "lsn")
	reader.checks("all there, on a reader", "marker", "marker", "lsn")
	admin.run("alter role app set default_transaction_isolation = 'serializable'; alter role app set default_transaction_read_only = on")
	readOnly := w.app(w.Writer())
	readOnly.checks("a role that writes when asked to", "marker", "marker", "lsn")
	if n := admin.run("select count(*) from fairlead.commits"); n != "0" {
		t.Errorf("checks left %s rows", n)
	}

	admin.run("revoke usage on schema fairlead from public")
	writer.checks("no right to use it", "lsn", "error permission denied", "lsn")
	admin.run("grant usage on schema fairlead to public; alter table fairlead.commits rename to other")
	writer.checks("the function without its table", "lsn", "error does not exist", "lsn")
	readOnly.checks("the function without its table, for a role that writes when asked to", "lsn", "error does not exist", "lsn")
	admin.run("alter table fairlead.other rename to commits")
	writer.checks("all there again", "marker", "marker", "lsn")
	admin.run("revoke execute on function pg_catalog.pg_walfile_name(pg_lsn) from public; alter schema fairlead rename to other")
	writer.checks("neither", "off", "error fairlead commits-table", "error commit_resolution=marker")
}

func TestCheckOfAurora(t *testing.T) {
	w := start(t, rdstest.Config{Readers: 1})
	writer, reader := w.app(w.Writer()), w.app(w.Readers()[0])
	writer.checks("no table", "off", "error fairlead commits-table", "error wal_level")
	reader.checks("no table, on a reader", "off", "error fairlead commits-table", "error an Aurora")
	w.migrate()
	w.must(w.WaitSettled(w.ctx))
	writer.checks("with the table", "marker", "marker", "error wal_level")
	reader.checks("with the table, on a reader", "marker", "marker", "error an Aurora")
}

func TestACheckOfADeadConnectionIsNoMode(t *testing.T) {
	w := shared(t)
	admin := w.admin(w.Writer())
	for _, s := range []commit.Setting{commit.SettingAuto, commit.SettingMarker, commit.SettingLSN} {
		c := w.app(w.Writer())
		admin.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app' and backend_type = 'client backend'")
		if m, err := commit.Check(w.ctx, c, s); m != commit.Off || err == nil {
			t.Errorf("%s: %v, %v", s, m, err)
		}
	}
}

func TestARoleReachesMarkersByFunctionsOnly(t *testing.T) {
	w := shared(t)
	c := w.app(w.Writer())
	for _, sql := range []string{
		"select * from fairlead.commits", "insert into fairlead.commits values (gen_random_uuid(), 1)", "delete from fairlead.commits",
		"select fairlead.prune()", "select fairlead.forget(gen_random_uuid(), 1)", "select fairlead.sweep()", "create table fairlead.x ()",
	} {
		if _, err := c.Query(w.ctx, sql); code(err) != "42501" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	// Nor do they do what a caller's search path says.
	t.Cleanup(func() { c.run("drop schema trap cascade") })
	c.run(`create schema trap; set search_path = trap, pg_catalog;
		create function trap.clock_timestamp() returns timestamptz language plpgsql as $$ begin raise 'trapped'; end $$;
		create function trap.count() returns bigint language plpgsql as $$ begin raise 'trapped'; end $$;
		create function trap.refuse(uuid, uuid) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
		create operator trap.= (function = trap.refuse, leftarg = uuid, rightarg = uuid);
		create function trap.refuse(bigint, bigint) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
		create operator trap.= (function = trap.refuse, leftarg = bigint, rightarg = bigint);
		create operator trap.<= (function = trap.refuse, leftarg = bigint, rightarg = bigint);
		create function trap.refuse(numeric, integer) returns numeric language plpgsql as $$ begin raise 'trapped'; end $$;
		create operator trap.* (function = trap.refuse, leftarg = numeric, rightarg = integer);
		create function trap.refuse(name, text) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
		create operator trap.= (function = trap.refuse, leftarg = name, rightarg = text);
		create function trap.refuse(name, name) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
		create operator trap.= (function = trap.refuse, leftarg = name, rightarg = name);
		create function trap.refuse(oid, oid) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
		create operator trap.= (function = trap.refuse, leftarg = oid, rightarg = oid)`)
	key := newKey()
	for range 3 {
		c.run("begin")
		c.inject(commit.Marker, key)
		e := c.inject(commit.LSN, commit.Key{})
		c.run("commit")
		key = next(key)
		for s, want := range map[commit.Setting]string{commit.SettingAuto: "marker", commit.SettingMarker: "marker", commit.SettingLSN: "lsn"} {
			if got := c.check(s); got != want {
				t.Errorf("%s: %s", s, got)
			}
		}
		e.XID = 3 // some transaction of long ago
		for _, e := range []commit.Evidence{e, {Mode: commit.Marker, Key: key, NotReadOnly: true}} {
			if _, err := commit.Decide(w.ctx, c, e, w.reign()); err != nil {
				t.Errorf("%v: %v", e.Mode, err)
			}
		}
		key = next(key)
	}
}

func TestAnAnswerTellsTheServer(t *testing.T) {
	w := plain(t, 1)
	reign := w.reign()
	c := w.app(w.Writer())
	c.run("begin")
	e := c.inject(commit.LSN, commit.Key{})
	if !e.Answered || e.XID != 0 || e.LSN == 0 || e.Timeline != reign.Timeline || e.System != reign.SystemID || e.Boot != reign.Boot {
		t.Errorf("%+v, reign %+v", e, reign)
	}
	if e.Serializable {
		t.Errorf("outside of a serializable transaction: %+v", e)
	}
	for _, sql := range []string{"rollback", "set default_transaction_isolation = serializable", "begin"} {
		c.run(sql)
	}
	if e = c.inject(commit.LSN, commit.Key{}); !e.Serializable || e.XID != 0 {
		t.Errorf("in a serializable transaction: %+v", e)
	}
	at := e.LSN
	c.run("insert into t values ('x')")
	if e = c.inject(commit.LSN, commit.Key{}); e.XID == 0 || e.LSN <= at {
		t.Errorf("after a write: %+v", e)
	}
	c.run("commit")
	if e = w.app(w.Readers()[0]).inject(commit.LSN, commit.Key{}); e.XID != 0 || e.LSN != 0 || !e.Answered {
		t.Errorf("on a reader: %+v", e)
	}
}
