package pooler_test

import (
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// batch sends a statement of the extended protocol, without its Sync.
func batch(front *pgproto3.Frontend, sql string) {
	front.Send(&pgproto3.Parse{Query: sql})
	front.Send(&pgproto3.Bind{})
	front.Send(&pgproto3.Describe{ObjectType: 'P'})
	front.Send(&pgproto3.Execute{})
}

// heard receives up to an ErrorResponse or a ReadyForQuery, and returns it in words.
func heard(t *testing.T, conn net.Conn, front *pgproto3.Frontend) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var list []string
	for {
		msg, err := front.Receive()
		if err != nil {
			t.Fatalf("after %q: %v", list, err)
		}
		switch m := msg.(type) {
		case *pgproto3.ErrorResponse:
			return strings.Join(append(list, m.Code), " ")
		case *pgproto3.ReadyForQuery:
			return strings.Join(append(list, "Z"+string(m.TxStatus)), " ")
		case *pgproto3.CommandComplete:
			list = append(list, string(m.CommandTag))
		case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			list = append(list, strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3."))
		}
	}
}

// A server reports an error at once, with what stands before it, whether it was asked for that or not.
func TestAnErrorIsDeliveredWithoutASync(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	const one = "ParseComplete BindComplete RowDescription DataRow SELECT 1 "
	for _, c := range []struct {
		what  string
		begin bool
		list  []string
		want  string
		ready string
	}{
		{"the first", false, []string{"select x"}, "42703", "ZI"},
		{"behind another", false, []string{"select 1", "select 1/0"}, one + "ParseComplete 22012", "ZI"},
		{"in a transaction", true, []string{"select 1", "select x"}, one + "42703", "ZE"},
		{"and what follows is left out", true, []string{"select x", "select 1"}, "42703", "ZE"},
	} {
		t.Run(c.what, func(t *testing.T) {
			conn, front := session(t, addr)
			send := func() {
				t.Helper()
				if err := front.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			if c.begin {
				front.Send(&pgproto3.Query{String: "begin"})
				send()
				if got := heard(t, conn, front); got != "BEGIN ZT" {
					t.Fatal(got)
				}
			}
			for _, sql := range c.list {
				batch(front, sql)
				send() // each in a packet of its own
			}
			if got := heard(t, conn, front); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			front.Send(&pgproto3.Sync{})
			send()
			if got := heard(t, conn, front); got != c.ready {
				t.Errorf("behind the Sync: got %q, want %q", got, c.ready)
			}
			front.Send(&pgproto3.Query{String: "rollback"})
			send()
			if got := heard(t, conn, front); !strings.HasSuffix(got, "ROLLBACK ZI") {
				t.Errorf("afterwards: %q", got)
			}
		})
	}
}

// psycopg's pipelines wait for the answer to a statement before they have sent a Sync.
func TestPsycopgsPipelinesEnd(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := osexec.Command(python, "-c", "import psycopg").Run(); err != nil {
		t.Skip("there is no psycopg: scripts/setup-languages installs it")
	}
	_, addr := start(t, shared, shared.DSN(), nil)
	cmd := osexec.CommandContext(testContext(t), python, "-c", `
import os, psycopg
with psycopg.connect(os.environ["DSN"], autocommit=True) as conn:
    for bad in ("select x", "select 1/0", "insert into nowhere values (1)", "selec"):
        try:
            with conn.pipeline() as p:
                conn.execute("select 1")
                conn.execute(bad)
                conn.execute("select 2")
                p.sync()
        except psycopg.Error as e:
            print(e.sqlstate)
        try:
            with conn.pipeline():
                cur = conn.execute(bad)
                cur.fetchall()
        except psycopg.Error as e:
            print(e.sqlstate)
        try:
            with conn.pipeline(), conn.transaction():
                conn.execute("select 1")
                conn.execute(bad).fetchone()
        except psycopg.Error as e:
            print(e.sqlstate)
        print(conn.execute("select 'well'").fetchone()[0])
`)
	cmd.Env = append(os.Environ(), "DSN="+url(shared, addr))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want []string
	for _, code := range []string{"42703", "22012", "42P01", "42601"} {
		want = append(want, code, code, code, "well")
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", got, want)
	}
}
