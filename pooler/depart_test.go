package pooler_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// departure is how a client leaves.
type departure struct {
	say  []pgproto3.FrontendMessage // before that
	keep bool                       // the server connection stays in the pool
}

func query(sql ...string) (list []pgproto3.FrontendMessage) {
	for _, text := range sql {
		list = append(list, &pgproto3.Query{String: text})
	}
	return list
}

var departures = map[string]departure{
	"in a transaction":              {query("begin", "insert into public.departed values ('left')"), true},
	"in a failed transaction":       {query("begin", "select 1/0"), true},
	"behind savepoints":             {query("begin", "savepoint a", "set local work_mem = '7MB'", "savepoint b", "set statement_timeout = '77s'"), true},
	"with a name":                   {query("begin", "set application_name = 'left'"), true},
	"with a temporary table":        {query("begin", "create temp table departed_temp (n int)"), true},
	"with an older temporary table": {query("create temp table departed_temp (n int)", "begin"), true},
	"pinned":                        {query("create temp table departed_temp (n int)"), true},
	"with an advisory lock":         {query("begin", "select pg_advisory_lock(4711)"), true},
	"with a cursor":                 {query("begin", "declare c cursor with hold for select 1", "commit", "begin", "fetch c"), true},
	"listening":                     {query("listen departed", "begin", "notify departed"), true},
	"prepared":                      {query("begin", "prepare departed as select 1", "execute departed"), true},
	"with settings":                 {query("set work_mem = '9MB'", "begin"), true},
	"while a statement runs":        {query("begin", "insert into public.departed values ('left'); select pg_sleep(60)"), true},
	"while a lone statement runs":   {query("select pg_sleep(60)"), true},
	"while rows come":               {query("begin; select repeat('x', 500) from generate_series(1, 100000000)"), true},
	"behind an error without Sync":  {[]pgproto3.FrontendMessage{&pgproto3.Query{String: "begin"}, &pgproto3.Parse{Query: "select nothing"}, &pgproto3.Flush{}}, true},
	"without Sync": {[]pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: "insert into public.departed values ('left')"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{},
	}, false},
	"in a COPY":   {[]pgproto3.FrontendMessage{&pgproto3.Query{String: "copy public.departed from stdin"}, &pgproto3.CopyData{Data: []byte("left\n")}}, false},
	"with a seed": {query("begin", "select setseed(0.5)"), false},
}

func TestAClientThatLeavesCostsNoLogin(t *testing.T) {
	own := connect(t, shared.AddressDSN())
	exec(t, own, "drop table if exists public.departed; create table public.departed (what text)")
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Clusters["main"].BorrowTimeout = 15 * time.Second })
	dsn := url(shared, addr)
	const which = "select pg_backend_pid()::text"
	for how, leave := range map[string]func(conn net.Conn){
		"closes":    func(conn net.Conn) { _ = conn.Close() },
		"resets":    func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0); _ = conn.Close() },
		"terminate": func(conn net.Conn) { _, _ = conn.Write([]byte{'X', 0, 0, 0, 4}); _ = conn.Close() },
	} {
		for name, d := range departures {
			t.Run(how+" "+name, func(t *testing.T) {
				check := connect(t, dsn)
				before := value(t, check, which)
				front, conn := rawConn(t, dsn)
				for i, m := range d.say {
					front.Send(m)
					if err := front.Flush(); err != nil {
						t.Fatal(err)
					}
					if i == len(d.say)-1 {
						break
					}
					_, simple := m.(*pgproto3.Query)
					if _, copies := d.say[i+1].(*pgproto3.CopyData); simple && !copies {
						if err := ready(front); err != nil {
							t.Fatal(err)
						}
					}
				}
				time.Sleep(50 * time.Millisecond)
				leave(conn)
				after := value(t, check, which)
				if kept := before == after; kept != d.keep {
					t.Errorf("the connection was kept: %t, want %t", kept, d.keep)
				}
				for sql, want := range map[string]string{
					"select coalesce(max(what), 'none') from public.departed": "none",
					"show work_mem":         "4MB",
					"show role":             "none",
					"show application_name": "",
					"select coalesce(to_regclass('departed_temp')::text, 'none')":                      "none",
					"select count(*)::text from pg_locks where locktype = 'advisory' and objid = 4711": "0",
				} {
					if got := value(t, check, sql); got != want {
						t.Errorf("%s: %s, want %s", sql, got, want)
					}
				}
				_ = check.Close(context.Background())
			})
		}
	}
}

func TestTwentyClientsThatLeaveCostNoLogin(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(c *pooler.Config) { c.Clusters["main"].PoolSize = 20 }))
	dsn := url(shared, addr)
	pids := make(map[string]bool)
	for round := range 3 {
		var conns []*pgconn.PgConn
		for range 20 {
			conn, err := pgconn.Connect(testContext(t), dsn)
			if err != nil {
				t.Fatal(err)
			}
			results, err := conn.Exec(testContext(t), "begin; select pg_backend_pid()").ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			pids[string(results[1].Rows[0][0])] = true
			conns = append(conns, conn)
		}
		for i, conn := range conns {
			if (i+round)%2 == 0 {
				_ = conn.Conn().Close()
				continue
			}
			_ = conn.Close(testContext(t))
		}
	}
	if len(pids) != 20 {
		t.Errorf("60 clients that left their transactions have used %d server connections", len(pids))
	}
}

func TestWhoLeavesAfterALongStatementInPiecesHarmsNobody(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	dsn := url(shared, addr)
	for range 3 {
		_, conn := rawConn(t, dsn)
		q, err := (&pgproto3.Query{String: strings.Repeat("x", 200<<10)}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(q[:100<<10]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		_ = conn.Close()
		if got := value(t, connect(t, dsn), "select 'served'"); got != "served" {
			t.Error(got)
		}
	}
}

func TestASecondShutdownEndsTheWait(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), plain(func(c *pooler.Config) { c.DrainTimeout = time.Hour }))
	exec(t, connect(t, url(shared, addr)), "begin")
	first := make(chan struct{})
	go func() {
		defer close(first)
		s.Shutdown(context.Background())
	}()
	select {
	case <-first:
		t.Fatal("an open transaction was not waited for")
	case <-time.After(300 * time.Millisecond):
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(over)
	select {
	case <-first:
	case <-time.After(30 * time.Second):
		t.Error("the first Shutdown goes on")
	}
}
