// Package twins has two sessions told the same, each in a database of its own. One of them loses its connection again and again,
// between two statements and in the midst of one. Whatever it says that the other would not have said, it has to have a reason for:
// 08006, 40001 or 08007; or 0A000, where a statement has another result by now.
//
//	err := twins.Prepare(ctx, cluster)
//	...
//	(&twins.Twins{Front: cluster.Writer().Front(), Lost: connect, Alone: dsn}).Run(t)
package twins

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// patience bounds what is waited for; nothing here is measured.
const patience = 30 * time.Second

// The databases that Prepare makes.
const (
	Lost  = "lost"
	Alone = "alone"
)

// Twins are two sessions that are told the same.
type Twins struct {
	// Front is where the connections of the one that loses them pass.
	Front *front.Front
	// Lost opens the session that loses its connections, of the database of that name.
	Lost func(context.Context) (*pgconn.PgConn, error)
	// Alone is the DSN of the other one's database.
	Alone string
	// Relayed says that notifications come from elsewhere than the session's own server process.
	Relayed bool

	said, losses, told int

	lost, alone *pgconn.PgConn
	conn        atomic.Int64      // number of the connection that lost has
	hurt        bool              // it may have been lost since both began anew
	names       map[string]string // of prepared statements, by their texts
}

// Run has the two talk, for as many programs as -rapid.checks says. They are the same each time, so that what is found elsewhere does not
// stop somebody's change; with -rapid.checks or -rapid.seed on the command line they are others.
func (w *Twins) Run(t *testing.T) {
	t.Helper()
	seed := flag.Lookup("rapid.seed")
	asked := seed.Value.String() != "0"
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		_ = seed.Value.Set("1")
		defer func() { _ = seed.Value.Set("0") }()
	}
	rapid.Check(t, w.program)
	t.Logf("%d statements, %d losses, of which %d were told", w.said, w.losses, w.told)
	if w.told == 0 || w.told > w.losses*3/4 {
		t.Errorf("of %d losses %d were told", w.losses, w.told)
	}
}

// program has the two talk for a while.
func (w *Twins) program(t *rapid.T) {
	ctx := context.Background()
	var err error
	if w.lost, err = w.Lost(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.lost.Close(ctx) }()
	if w.alone, err = pgconn.Connect(ctx, w.Alone); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.alone.Close(ctx) }()
	w.again(t, "discard all")
	look := lookAtSession
	if !w.Relayed {
		look += lookAtChannels
	}
	acts := map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if w.alone.TxStatus() != 'E' {
				w.query(t, look)
			}
		},
		"lose": w.lose,
		"lose, and look": func(t *rapid.T) {
			w.lose(t)
			w.query(t, "select count(*), sum(a) from data")
		},
	}
	for name, list := range statements {
		acts[name] = func(t *rapid.T) { w.say(t, w.draw(t, list)) }
		acts[name+", and lose"] = func(t *rapid.T) { w.loseAmid(t, w.draw(t, list)) }
	}
	t.Repeat(acts)
}

// statements are what the twins are told, by subject.
var statements = map[string][]string{
	"transactions": {
		"begin", "begin isolation level repeatable read", "commit", "rollback", "savepoint x", "rollback to x", "release x", "select 1/0",
		"begin; insert into data values (7); commit", "begin; set work_mem = '8MB'; rollback",
	},
	"settings": {
		"set work_mem = '5MB'", "set local work_mem = '6MB'", "reset work_mem", "set search_path = s2, s1, public", "set timezone = 'Asia/Tokyo'", "reset all",
		"set app.tenant = 't'", "set role r1", "reset role", "set session characteristics as transaction isolation level serializable",
		"select set_config('app.tenant', 'u', false)", "select set_config('app.tenant', 'v', true)", "select set_config('app.tenant', b, false) from s1.t",
		"set work_mem = '9MB'; select 1", "discard all",
	},
	"functions": {"outside: select leaky('f')", "outside: do $$ begin perform leaky('g'); end $$", "outside: select b, leaky(b) from s1.t"},
	"statements": {
		"prepare p as select set_config('app.tenant', 'p', false), 1", "prepare p as select leaky('p')", "outside: execute p", "deallocate p", "deallocate all",
		"prepare q (int) as insert into data values ($1)", "execute q (3)", "deallocate q",
	},
	"temporary": {
		"create temp table tt (a int); insert into tt values (1)", "create temp table tt as select 2 as a", "select 7 as a into temp tt",
		"with x as (select 8 as a) select * into temp tt from x", "create temp table tt on commit drop as select 1 as a", "drop table if exists tt",
		"select * from tt", "create temp view tt as select 4 as a", "discard temp",
	},
	"locks": {
		"select pg_advisory_lock(1)", "select pg_try_advisory_lock(2)", "select pg_advisory_xact_lock(3)", "select pg_advisory_unlock_all()",
	},
	"cursors":       {"declare h cursor with hold for select a from s1.t", "declare c cursor for select b from s1.t", "fetch h", "fetch c", "close h", "close c"},
	"notifications": {"listen a", "listen b", "unlisten a", "unlisten *", "notify elsewhere"},
	"chance":        {"select setseed(0.5)", "outside: select nextval('sq')"},
	"work": {
		"insert into data values (1)", "insert into data select 2 where false", "update data set a = a + 1", "delete from data where a = 2",
		"select count(*), sum(a) from data", "select a from s1.t for update", "",
	},
}

const lookAtSession = `select current_setting('search_path'), current_setting('work_mem'), current_setting('TimeZone'),
coalesce(current_setting('app.tenant', true), ''), current_user, current_setting('default_transaction_isolation'),
(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
(select string_agg(relname, ',' order by relname) from pg_class where relnamespace = pg_my_temp_schema()),
(select string_agg(name, ',' order by name) from pg_cursors where is_holdable)`

const lookAtChannels = `, (select string_agg(name, ',' order by name) from pg_listening_channels() name)`

var schema = []string{
	"create schema s1", "create schema s2", "create table s1.t (a int, b text)", "insert into s1.t values (1, 'one')", "create table s2.tt (a int)",
	"create table data (a int)", "create sequence sq",
	"create function leaky(text) returns text language plpgsql as $$ begin perform set_config('app.tenant', $1, false); return 'set'; end $$",
	"grant all on schema s1, s2 to public", "grant all on all tables in schema s1, s2, public to public", "grant all on sequence sq to public",
}

// Prepare makes the two databases in a cluster, and what is in them.
func Prepare(ctx context.Context, c *rdstest.Cluster) error {
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		return fmt.Errorf("twins: %w", err)
	}
	defer func() { _ = admin.Close(ctx) }()
	for _, sql := range []string{
		"do $$ begin create role r1; exception when duplicate_object then null; end $$", "grant r1 to app",
		"create database " + Lost, "create database " + Alone,
	} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("twins: %w", err)
		}
	}
	for _, name := range []string{Lost, Alone} {
		cfg := admin.Config()
		cfg.Database = name
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return fmt.Errorf("twins: %w", err)
		}
		for _, sql := range append(schema, commit.Migration()) {
			if _, err := conn.Exec(ctx, sql); err != nil {
				_ = conn.Close(ctx)
				return fmt.Errorf("twins: %w", err)
			}
		}
		_ = conn.Close(ctx)
	}
	return nil
}

// again has both begin anew, when only one of them has done what was said. They keep their prepared statements if it was not about those.
func (w *Twins) again(t *rapid.T, said string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	anew := []string{
		"rollback", "reset all; reset role; close all; unlisten *; discard temp; select pg_advisory_unlock_all()", "truncate data; select setval('sq', 1)",
	}
	for _, word := range []string{"parse", "prepare ", "deallocate", "discard"} {
		if strings.HasPrefix(said, word) || strings.HasPrefix(said, "prepared "+word) {
			anew[1] = "discard all"
			w.names = make(map[string]string)
		}
	}
	for _, sql := range anew {
		for _, conn := range []*pgconn.PgConn{w.lost, w.alone} {
			out := show(conn.Exec(ctx, sql).ReadAll())
			if strings.HasSuffix(out, "08006!") {
				out = show(conn.Exec(ctx, sql).ReadAll())
			}
			if conn.TxStatus() != 'I' || strings.HasSuffix(out, "!") {
				t.Fatalf("%s to begin anew: %s", sql, out)
			}
		}
	}
	w.hurt = false
}

// draw takes one of the statements that may be said now.
func (w *Twins) draw(t *rapid.T, list []string) string {
	sql := rapid.SampledFrom(list).Draw(t, "sql")
	if outside, ok := strings.CutPrefix(sql, "outside: "); ok {
		if sql = outside; w.alone.TxStatus() != 'I' {
			t.Skip("in a transaction")
		}
	}
	return sql
}

// say has both do a statement, in one of the ways to do so.
func (w *Twins) say(t *rapid.T, sql string) {
	done := false
	switch how := rapid.SampledFrom([]string{"simple", "extended", "prepared"}).Draw(t, "how"); {
	case how == "simple" || strings.Contains(sql, "; "):
		done = w.query(t, sql)
	case how == "extended" || w.alone.TxStatus() == 'E': // where a statement cannot be prepared again, and is missed first
		done = w.both(t, sql, func(ctx context.Context, c *pgconn.PgConn) string {
			return showOne(c.ExecParams(ctx, sql, nil, nil, nil, nil).Read())
		})
	default:
		done = w.prepared(t, sql)
	}
	if done && (sql == "discard all" || sql == "deallocate all") {
		w.names = make(map[string]string)
	}
}

func (w *Twins) prepared(t *rapid.T, sql string) bool {
	name := w.names[sql]
	if name == "" {
		name = fmt.Sprintf("s%d", len(w.names))
		if !w.both(t, "parse "+sql, func(ctx context.Context, c *pgconn.PgConn) string {
			_, err := c.Prepare(ctx, name, sql, nil)
			return showError(err)
		}) {
			return false
		}
		w.names[sql] = name
	}
	return w.both(t, "prepared "+sql, func(ctx context.Context, c *pgconn.PgConn) string {
		return showOne(c.ExecPrepared(ctx, name, nil, nil, nil).Read())
	})
}

func (w *Twins) query(t *rapid.T, sql string) bool {
	return w.both(t, sql, func(ctx context.Context, c *pgconn.PgConn) string { return show(c.Exec(ctx, sql).ReadAll()) })
}

// both does something in both sessions. It reports whether it was done; if not, both have begun anew.
func (w *Twins) both(t *rapid.T, what string, do func(ctx context.Context, c *pgconn.PgConn) string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.said++
	want, got := do(ctx, w.alone), do(ctx, w.lost)
	t.Logf("%s: %s", what, got)
	if got != want && w.hurt && tells(got) {
		w.told++
		w.again(t, what)
		return false
	}
	if strings.HasSuffix(got, "!") && strings.HasSuffix(want, "!") &&
		// A statement that the server refuses to prepare again is missed, in the place of why. A failed transaction may have no server.
		(strings.HasSuffix(got, "26000!") || w.alone.TxStatus() == 'E') {
		got = want
	}
	if got != want {
		t.Fatalf("%s: %s, and alone %s", what, got, want)
	}
	if a, b := w.lost.TxStatus(), w.alone.TxStatus(); a != b {
		t.Fatalf("%s: status %c, and alone %c", what, a, b)
	}
	return !strings.HasSuffix(got, "!")
}

// tells reports whether an answer says that something was lost.
func tells(answer string) bool {
	for _, code := range []string{"08006!", "40001!", "08007!", "0A000!"} {
		if strings.HasSuffix(answer, code) {
			return true
		}
	}
	return false
}

// lose has the session lose its connection when it has answered a statement.
func (w *Twins) lose(t *rapid.T) {
	if w.alone.TxStatus() == 'E' {
		t.Skip("a failed transaction tells nothing")
	}
	w.conn.Store(0)
	cut := w.Front.Cut(front.Cut{From: front.Server, When: front.After, Match: func(m front.Message) bool {
		return m.Type == 'Z' && int64(m.Conn) == w.conn.Load()
	}})
	defer cut.Stop()
	if !w.mark(t) {
		return
	}
	select {
	case <-cut.Done():
		w.losses++
		w.hurt = true
	case <-time.After(patience):
		t.Fatal("the connection was not cut")
	}
}

// loseAmid has the session lose its connection in the midst of a statement.
func (w *Twins) loseAmid(t *rapid.T, sql string) {
	if w.alone.TxStatus() == 'E' {
		t.Skip("a failed transaction tells nothing")
	}
	if strings.Contains(sql, "nextval") {
		t.Skip("a replay leaves a gap")
	}
	if !w.mark(t) {
		return
	}
	cut := w.Front.Cut(front.Cut{
		From:  rapid.SampledFrom([]front.Side{front.Client, front.Server}).Draw(t, "from"),
		When:  rapid.SampledFrom([]front.Moment{front.Before, front.After}).Draw(t, "when"),
		N:     rapid.IntRange(1, 8).Draw(t, "message"),
		Match: func(m front.Message) bool { return int64(m.Conn) == w.conn.Load() },
	})
	w.hurt = true
	w.say(t, sql)
	if !cut.Stop() {
		w.losses++
		w.hurt = true
	}
}

// mark learns which connection is the session's.
func (w *Twins) mark(t *rapid.T) bool {
	const mark = "/* mark */"
	spy := w.Front.Cut(front.Cut{From: front.Client, Match: func(m front.Message) bool {
		if m.Type == 'Q' && bytes.Contains(m.Body, []byte(mark)) {
			w.conn.Store(int64(m.Conn))
		}
		return false
	}})
	defer spy.Stop()
	return w.both(t, "mark", func(ctx context.Context, c *pgconn.PgConn) string {
		sql := "select 1"
		if c == w.lost {
			sql += mark
		}
		return show(c.Exec(ctx, sql).ReadAll())
	})
}

// show is all that a client can tell of an answer. An error ends with an exclamation mark.
func show(results []*pgconn.Result, err error) string {
	var b strings.Builder
	for _, r := range results {
		b.WriteString(showOne(r))
	}
	return b.String() + showError(err)
}

func showOne(r *pgconn.Result) string {
	var b strings.Builder
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "%q ", row)
	}
	return b.String() + r.CommandTag.String() + ";" + showError(r.Err)
}

func showError(err error) string {
	if err == nil {
		return ""
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return " " + pg.Code + "!"
	}
	return " " + err.Error() + "!"
}
