package session

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/malformed"
)

// FuzzBytes drives the machine with any bytes in both directions, and takes the upstream away at any moment: it must
// neither panic nor deliver part of a message.
func FuzzBytes(f *testing.F) {
	exchange := func(client []byte, server []byte, lose byte) { f.Add(client, server, lose) }
	exchange(fe(f, query("select a from t")), be(f, columns("a"), row("1"), tag("SELECT 1"), ready('I')), 2)
	exchange(fe(f, query("begin"), query("insert into t values (1)"), query("commit")),
		be(f, tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T'), tag("COMMIT"), ready('I')), 4)
	exchange(fe(f, &pgproto3.Parse{Name: "n", Query: "select $1"}, &pgproto3.Describe{ObjectType: 'S', Name: "n"},
		&pgproto3.Bind{PreparedStatement: "n"}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "n"}, &pgproto3.Sync{}),
		be(f, &pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, columns("a"), &pgproto3.BindComplete{}, row("1"),
			tag("SELECT 1"), &pgproto3.CloseComplete{}, ready('I')), 3)
	exchange(fe(f, query("copy t from stdin"), &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}),
		be(f, &pgproto3.CopyInResponse{}, tag("COPY 1"), ready('I')), 1)
	exchange(fe(f, query("set search_path to x; savepoint y; rollback to y")),
		be(f, tag("SET"), &pgproto3.ErrorResponse{Severity: "ERROR", Code: "25P01"}, ready('I')), 9)

	for _, msg := range malformed.Frontend() {
		for i, b := range malformed.Seeds(msg) {
			exchange(append(b, msgSync...), be(f, serverError("08P01"), ready('I')), byte(i))
		}
	}
	for _, msg := range malformed.Backend() {
		for i, b := range malformed.Seeds(msg) {
			exchange(fe(f, query("select a from t")), append(b, be(f, ready('I'))...), byte(i+1))
		}
	}

	f.Fuzz(func(t *testing.T, client, server []byte, lose byte) {
		s := New(Full, 4096)
		s.Adopt(map[string]string{"standard_conforming_strings": "on"})
		client = append([]byte(nil), client...)
		server = append([]byte(nil), server...)
		for step := byte(0); len(client) > 0 || len(server) > 0; step++ {
			if n := min(len(client), int(step)*3+7); n > 0 {
				if out := s.Client(client[:n]); out.Lost {
					return
				}
				s.Sent()
				client = client[n:]
			}
			if n := min(len(server), int(step)*5+11); n > 0 {
				b := server[:n]
				v := s.Server(b)
				if v.Deliver > v.Keep || v.Keep > len(b) {
					t.Fatalf("delivers %d and keeps from %d of %d bytes", v.Deliver, v.Keep, len(b))
				}
				if v.Event == Broken || v.Keep == 0 && v.Event == None {
					server = server[n:]
				} else {
					server = server[v.Keep:]
				}
				switch v.Event {
				case ReadOnly:
					s.AcceptReadOnly()
				case Gone, Diverged:
					s.Lost("gone")
				}
			}
			if step == lose {
				if verdict, _ := s.Lost("lost"); verdict == Replay {
					s.BeginReplay()
				}
				s.Attached(map[string]string{"TimeZone": "UTC"}, 7)
			}
			whole(t, s.TakeOut())
		}
		s.Refuse(Problem{Code: CodeNoUpstream, Message: "none"})
		whole(t, s.TakeOut())
	})
}

// whole checks that what the session says consists of whole messages.
func whole(t *testing.T, b []byte) {
	t.Helper()
	n := 0
	eachMessage(b, func(msg []byte) { n += len(msg) })
	if n != len(b) {
		t.Fatalf("an incomplete message: %q", b[n:])
	}
}
