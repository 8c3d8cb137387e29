package pooler_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/pooler"
)

// startEncrypted is a pooler that offers TLS, and how clients reach it so.
func startEncrypted(t *testing.T, size int) (s *pooler.Server, addr net.Addr, dsn string) {
	t.Helper()
	cert, ca := certificate(t)
	s, addr = start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Listeners[0].TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		c.Clusters["main"].PoolSize = size
		c.Clusters["main"].VerifyClean = pooler.VerifyOff
		c.Logger = nil
	})
	return s, addr, strings.Replace(url(shared, addr), "sslmode=disable", "sslmode=verify-full&sslrootcert="+ca, 1)
}

// handshaken is a connection over TLS whose session listens on a channel, for those who say and hear single messages.
func handshaken(t *testing.T, addr net.Addr, channel string) (*tls.Conn, *pgproto3.Frontend) {
	t.Helper()
	raw, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(2 * time.Minute))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
	front := pgproto3.NewFrontend(conn, conn)
	front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"}})
	front.Send(&pgproto3.Query{String: "listen " + channel})
	if err := front.Flush(); err != nil {
		t.Fatal(err)
	}
	untilReady(t, front)
	untilReady(t, front)
	return conn, front
}

func TestNotificationsReachIdleClientsOverTLS(t *testing.T) {
	s, _, dsn := startEncrypted(t, 2)
	const listeners, workers, each = 20, 4, 100
	ctx := testContext(t)
	all := make([]*ears, listeners)
	for i := range all {
		all[i] = listener(t, dsn, "private")
		if _, ok := all[i].conn.PgConn().Conn().(*tls.Conn); !ok {
			t.Fatal("it is not encrypted")
		}
	}
	var wg sync.WaitGroup
	for i := range workers { // with answers of many records
		conn := connect(t, dsn)
		wg.Go(func() {
			for n := range each {
				err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					var size int
					err := tx.QueryRow(ctx, "select length(repeat('w', 100000)), repeat('w', 100000)").Scan(&size, nil)
					if err == nil {
						_, err = tx.Exec(ctx, "select pg_notify('private', $1)", fmt.Sprintf("%d:%d", i, n))
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i, e := range all {
		wg.Go(func() {
			if err := e.wait(ctx, workers*each, 0); err != nil {
				t.Errorf("listener %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i, e := range all {
		if payloads(e.heard) != payloads(all[0].heard) || len(e.notices) > 0 {
			t.Errorf("listener %d has heard something else than the first, and is told %q", i, e.notices)
		}
	}
	notPinned(t, s)
}

// What comes while a client is sending, or is being sent, reaches it behind that, or before it, and never within.
func TestNotificationsWaitForAWriteOverTLS(t *testing.T) {
	_, addr, dsn := startEncrypted(t, 3)
	witness, sender := listener(t, dsn, "written"), connect(t, dsn)
	exec(t, sender, "create table private_t (v text)")
	defer exec(t, sender, "drop table private_t")
	query := func(text string) []byte { return said(&pgproto3.Query{String: text}) }
	half := func(text string) (first, rest []byte) { b := query(text); return b[:len(b)-5], b[len(b)-5:] }
	conn, front := handshaken(t, addr, "written")
	begin := said(&pgproto3.Query{String: "copy private_t from stdin"})
	row := said(&pgproto3.CopyData{Data: []byte(strings.Repeat("r", 100_000) + "\n")})
	small1, small2 := half("select 'x'")
	large1, large2 := half("select '" + strings.Repeat("x", 200_000) + "'")
	for i, c := range []struct {
		name        string
		first, rest []byte
		begun       byte // the answer by which the server has begun
		want        []string
	}{
		{"half a statement", small1, small2, 0, []string{"ATDCZ", "TDCAZ", "TDCZA"}},
		{"half of one that is passed on as it comes", large1, large2, 0, []string{"ATDCZ", "TDCAZ", "TDCZA"}},
		{"COPY", append(begin, row...), append(row, said(&pgproto3.CopyDone{})...), 'G', []string{"GCAZ", "GCZA"}},
		{"half of a row of COPY", append(begin, row[:50_000]...), append(row[50_000:], said(&pgproto3.CopyDone{})...), 'G', []string{"GCAZ", "GCZA"}},
		{"a transaction", query("begin; select 1"), query("commit"), 'T', []string{"CTDCZCAZ", "CTDCZCZA"}},
		{"an answer that is not read", query("select repeat('x', 5000000)"), nil, 'T', []string{"TDCAZ", "TDCZA"}},
	} {
		if _, err := conn.Write(c.first); err != nil {
			t.Fatal(err)
		}
		var order []byte
		heard := ""
		receive := func() byte {
			m, err := front.Receive()
			if err != nil {
				t.Fatalf("%s: after %q: %v", c.name, order, err)
			}
			kind := byte('?')
			switch m := m.(type) {
			case *pgproto3.NotificationResponse:
				kind = 'A'
				heard += m.Payload + " "
			case *pgproto3.RowDescription:
				kind = 'T'
			case *pgproto3.DataRow:
				kind = 'D'
			case *pgproto3.CommandComplete:
				kind = 'C'
			case *pgproto3.CopyInResponse:
				kind = 'G'
			case *pgproto3.ReadyForQuery:
				kind = 'Z'
			}
			order = append(order, kind)
			return kind
		}
		for c.begun != 0 && receive() != c.begun {
		}
		exec(t, sender, "select pg_notify('written', $1)", fmt.Sprint(i))
		if err := witness.wait(testContext(t), i+1, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(c.rest); err != nil {
			t.Fatal(err)
		}
		for len(order) < len(c.want[0]) {
			receive()
		}
		if heard != fmt.Sprint(i, " ") || !slices.Contains(c.want, string(order)) {
			t.Errorf("%s: it heard %q, in the order %q", c.name, heard, order)
		}
	}
}

func TestNothingIsLeftOfListenersOverTLS(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("", func(t *testing.T) {
		s, addr, dsn := startEncrypted(t, 2)
		ctx := testContext(t)
		idle, sender := listener(t, dsn, "passing"), connect(t, dsn)
		deaf, _ := handshaken(t, addr, "passing")
		_ = deaf.NetConn().(*net.TCPConn).SetReadBuffer(4096)
		gone, _ := handshaken(t, addr, "passing")
		half, _ := handshaken(t, addr, "passing")
		if _, err := half.Write([]byte{'Q', 0}); err != nil {
			t.Fatal(err)
		}
		_ = gone.NetConn().Close() // without a word
		for n := 1; s.Stats().Missed == 0; n++ {
			exec(t, sender, "select pg_notify('passing', $1)", fmt.Sprint(n, strings.Repeat("p", 7900)))
			if err := idle.wait(ctx, n, 0); err != nil {
				t.Fatal(err)
			}
		}
		left, _ := handshaken(t, addr, "passing")
		_ = left.Close()
		eventually(t, "a client that is gone is still there", func() bool { return s.Stats().Clients == 4 })
		// Two of them are there when the pooler ends: one that does not read what is written to it, and one that has begun a message.
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
