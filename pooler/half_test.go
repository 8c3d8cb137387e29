package pooler_test

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// half is a message of n bytes, of which only the first have bytes are there.
func half(kind byte, body string, n, have int) []byte {
	b := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(n-1)), body...)
	return append(b, strings.Repeat(" ", have-len(b))...)
}

// A message that has not come to its end costs nobody a server connection, as long as the server was given nothing of it.
func TestHalfAMessageHoldsNoConnection(t *testing.T) {
	whole, err := (&pgproto3.Query{String: "select 1"}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string][]byte{
		"a part of a header":           {'Q', 0, 0},
		"a header":                     half('B', "", 1<<20, 5),
		"a short part of a query":      half('Q', "select 1", 1<<20, 1000),
		"a long part of a query":       half('Q', "select 1", 1<<20, 200<<10),
		"a long part of a statement":   half('P', "\x00select 1", 1<<20, 200<<10),
		"a part of a long statement":   half('P', "s\x00select 1", 4<<20, 2<<20),
		"a short part of a Bind":       half('B', "\x00\x00", 1<<20, 1000),
		"behind a statement":           append(append([]byte(nil), whole...), half('Q', "select 1", 1<<20, 1000)...),
		"a header behind a statement":  append(append([]byte(nil), whole...), 'Q', 0),
		"in a message of no good size": half('B', "\x00\x00", 1<<30, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.Clusters["main"].BorrowTimeout = 20 * time.Second }))
			conn, _ := session(t, addr)
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			victim := connect(t, url(shared, addr))
			for range 20 {
				value(t, victim, "select 'served'")
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

// What was begun on a server and is not gone on with ends with its client, and so does what is gone on with too slowly.
func TestTheRestOfAMessageIsNotWaitedForWithoutEnd(t *testing.T) {
	copyIn := func(t *testing.T, front *pgproto3.Frontend) {
		front.Send(&pgproto3.Query{String: "create table if not exists half(t text); copy half from stdin"})
		if err := front.Flush(); err != nil {
			t.Fatal(err)
		}
		for {
			msg, err := front.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := msg.(*pgproto3.CopyInResponse); ok {
				return
			}
		}
	}
	for _, c := range []struct {
		name    string
		before  func(*testing.T, *pgproto3.Frontend)
		sent    []byte
		trickle bool
	}{
		{name: "a Bind", sent: half('B', "\x00\x00", 1<<20, 200<<10)},
		{name: "a query", sent: half('Q', "select 1", 4<<20, 3<<20)},
		{name: "a call", sent: half('F', "", 1<<20, 200<<10)},
		{name: "COPY data", before: copyIn, sent: half('d', "", 1<<20, 1000)},
		{name: "a Bind that trickles", sent: half('B', "\x00\x00", 1<<20, 200<<10), trickle: true},
		{name: "COPY data that trickles", before: copyIn, sent: half('d', "", 1<<20, 1000), trickle: true},
		{name: "what no server has", sent: half('Q', "select 1", 1<<20, 1000)},
		{name: "what no server has, and trickles", sent: half('Q', "select 1", 1<<20, 1000), trickle: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.ClientMessageTimeout = 500 * time.Millisecond }))
			conn, front := session(t, addr)
			if c.before != nil {
				c.before(t, front)
			}
			if _, err := conn.Write(c.sent); err != nil {
				t.Fatal(err)
			}
			if c.trickle {
				stop := make(chan struct{})
				defer close(stop)
				go trickle(conn, stop)
			}
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			msg, err := front.Receive()
			if err != nil {
				t.Fatalf("the client is not cut off: %v", err)
			}
			e, ok := msg.(*pgproto3.ErrorResponse)
			if !ok || e.Severity != "FATAL" || e.Code != "57P05" || !strings.Contains(e.Message, "client_message_timeout") {
				t.Errorf("the client gets %#v", msg)
			}
			value(t, connect(t, url(shared, addr)), "select 'served'")
		})
	}
}

// trickle sends a byte from time to time.
func trickle(conn net.Conn, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := conn.Write([]byte{' '}); err != nil {
			return
		}
	}
}

// A line that is slow and goes on is waited for.
func TestASlowUploadIsNotCutOff(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.ClientMessageTimeout = 2 * time.Second }))
	conn, front := session(t, addr)
	value := strings.Repeat("x", 600<<10)
	var b []byte
	for _, msg := range []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: "select length($1)::text"}, &pgproto3.Bind{Parameters: [][]byte{[]byte(value)}}, &pgproto3.Execute{}, &pgproto3.Sync{},
	} {
		var err error
		if b, err = msg.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	for len(b) > 0 { // for longer than the timeout
		n := min(20<<10, len(b))
		if _, err := conn.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		time.Sleep(120 * time.Millisecond)
	}
	for {
		msg, err := front.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			t.Fatalf("%s: %s", msg.Code, msg.Message)
		case *pgproto3.ReadyForQuery:
			return
		}
	}
}
