package pooler_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/internal/wire"
	"github.com/fairlead-go/fairlead/pooler"
)

// wildClient is one that can say anything.
type wildClient struct {
	net.Conn
	buf []byte
}

// dialWild logs in.
func dialWild(t testing.TB, dsn string) *wildClient {
	t.Helper()
	pg, err := pgconn.Connect(testContext(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	h, err := pg.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Conn.Close() })
	return &wildClient{Conn: h.Conn}
}

// next is a message of the server's.
func (c *wildClient) next() ([]byte, error) {
	for {
		if n, ok := wire.Size(c.buf); ok && n > 0 && n <= len(c.buf) {
			msg := c.buf[:n]
			c.buf = c.buf[n:]
			return msg, nil
		}
		b := make([]byte, 8<<10)
		n, err := c.Read(b)
		c.buf = append(c.buf, b[:n]...)
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// marked is a Query whose row is the end of what told returns.
var marked = &pgproto3.Query{String: "rollback; select 'the end'"}

// told says something, and returns what is answered: the types of messages, of errors with their severity and SQLSTATE.
func (c *wildClient) told(b []byte) (answer []string, closed bool, err error) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(slices.Concat(b, said(&pgproto3.Sync{}, marked))); err != nil && !errors.Is(err, net.ErrClosed) {
		return nil, true, nil // it was closed over the first part
	}
	for {
		msg, err := c.next()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return answer, false, err
		}
		if err != nil {
			return answer, true, nil
		}
		switch msg[0] {
		case wire.DataRow:
			if bytes.HasSuffix(msg, []byte("the end")) {
				for { // the rest of its answer
					if msg, err := c.next(); err != nil || msg[0] == wire.ReadyForQuery {
						return answer, err != nil, nil
					}
				}
			}
			answer = append(answer, "D")
		case wire.ErrorResponse:
			e := wire.ParseError(wire.Body(msg))
			answer = append(answer, e.Severity+" "+e.Code+" "+e.Message)
		case wire.ReadyForQuery:
			answer = append(answer, "Z"+string(msg[wire.HeaderLen:]))
		case wire.ParameterStatus, wire.NoticeResponse:
		default:
			answer = append(answer, string(msg[0]))
		}
	}
}

// A client cannot tell from what it is told of a malformed message whether a PostgreSQL server or a pooler has told it.
func TestAMalformedMessageIsAnsweredAsByTheServer(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Logger, c.Clusters["main"].VerifyClean = nil, pooler.VerifyOff
	})
	var server, ours *wildClient
	begin := func() {
		server, ours = dialWild(t, shared.AddressDSN(shared.Writer())+"&sslmode=disable"), dialWild(t, url(shared, addr))
	}
	begin()
	prepare := said(&pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Parse{Name: "s", Query: "select $1::int, $2::int"}, &pgproto3.Sync{})
	r := rand.New(rand.NewPCG(13, 1))
	for _, msg := range malformed.Frontend() {
		for _, m := range malformed.All(msg) {
			if n := binary.BigEndian.Uint32(m.Bytes[1:]); !m.Framed && n > 4 && n <= 1<<30-2 {
				continue // the rest is waited for
			}
			b := slices.Concat(prepare, m.Bytes)
			if r.IntN(4) == 0 {
				b = slices.Concat(prepare, said(&pgproto3.Query{String: "rollback; begin"}), m.Bytes)
			}
			want, closed, err := server.told(b)
			if err != nil {
				t.Fatalf("%q (%s): the server: %v", m.Bytes, m.What, err)
			}
			got, ended, err := ours.told(b)
			if err != nil {
				t.Fatalf("%q (%s): %v", m.Bytes, m.What, err)
			}
			switch {
			case ended != closed:
				t.Errorf("%q (%s): closed %t, by the server %t; %q and %q", m.Bytes, m.What, ended, closed, got, want)
			case ended && msg[0] != wire.Terminate && !slices.ContainsFunc(got, func(a string) bool { return strings.HasPrefix(a, "FATAL 08P01") }):
				t.Errorf("%q (%s): the end came with %q", m.Bytes, m.What, got)
			case !ended && !sameAnswer(got, want):
				t.Errorf("%q (%s):\n got %q\nwant %q", m.Bytes, m.What, got, want)
			}
			if closed || ended {
				_, _ = server.Close(), ours.Close()
				begin()
			}
		}
	}
}

// sameAnswer compares what is told with what a server tells. That looks at what a name means, and at bytes that its encoding does not
// know, before it looks for the end of a message, and tells of the first thing that it has found. Names of statements are the
// client's own affair here, whatever their bytes.
func sameAnswer(got, want []string) bool {
	if slices.ContainsFunc(want, func(a string) bool { return strings.HasPrefix(a, "ERROR 22021") }) {
		return true
	}
	return slices.EqualFunc(got, want, func(g, w string) bool {
		return g == w || strings.HasPrefix(g, "ERROR 08P01") && strings.HasPrefix(w, "ERROR ") &&
			(!strings.HasPrefix(w, "ERROR 08P01") || strings.Contains(w, " message supplies ") || strings.Contains(w, " message contains "))
	})
}
