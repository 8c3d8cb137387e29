package pooler_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/pooler"
)

// said is what messages are on the wire.
func said(messages ...pgproto3.FrontendMessage) (b []byte) {
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

// Whatever a client says that has logged in, the next one is served on the only connection as if nobody had been there.
func FuzzSession(f *testing.F) {
	_, addr := start(f, shared, shared.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].BorrowTimeout = 10 * time.Second
		cfg.Logger = nil
	})
	hello := said(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"}})
	sync := &pgproto3.Sync{}
	raw := func(kind byte, n uint32, body string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, n), body...)
	}
	for _, seed := range [][]byte{
		said(&pgproto3.Query{String: "begin; set application_name = 'x'; create temp table t ()"}),
		said(&pgproto3.Query{String: "select 1; select 1/0; select 2"}, &pgproto3.Query{String: "listen c"}, &pgproto3.Terminate{}),
		said(&pgproto3.Parse{Name: "s", Query: "select $1::int", ParameterOIDs: []uint32{23}}, &pgproto3.Describe{ObjectType: 'S', Name: "s"},
			&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("1")}}, &pgproto3.Execute{MaxRows: 1}, &pgproto3.Close{ObjectType: 'S', Name: "s"}, sync),
		said(&pgproto3.Parse{Query: "set work_mem = '1MB'"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Flush{}, sync),
		said(&pgproto3.Parse{Query: "select pg_advisory_lock(1)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, sync),
		said(&pgproto3.Query{String: "copy (select 1) to stdout"}, &pgproto3.Query{String: "create temp table c (n int)"},
			&pgproto3.Query{String: "copy c from stdin"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}),
		said(&pgproto3.Query{String: "create temp table c (n int)"}, &pgproto3.Query{String: "copy c from stdin"}, &pgproto3.CopyFail{Message: "no"}, sync),
		said(&pgproto3.FunctionCall{Function: 1598, ResultFormatCode: 1}, sync), // random()
		said(&pgproto3.Bind{PreparedStatement: "nothing"}, &pgproto3.Execute{Portal: "nothing"}, sync, sync),
		append(said(&pgproto3.Query{String: "begin"}), raw('P', 6, "ab")...),
		append(said(sync), raw('Q', 0, "")...),
		raw('Q', 1<<30, "select"),
		raw('!', 4, ""),
	} {
		f.Add(seed)
	}
	for _, msg := range malformed.Frontend() {
		for _, b := range malformed.Seeds(msg) {
			f.Add(append(b, said(sync)...))
		}
	}
	connectGood := func(t testing.TB) *pgx.Conn {
		good, err := pgx.Connect(testContext(t), url(shared, addr))
		if err != nil {
			t.Fatal(err)
		}
		return good
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		conn, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, err = conn.Write(hello)
		if err != nil {
			t.Fatal(err)
		}
		if err := ready(pgproto3.NewFrontend(conn, conn)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(b) // the pooler may have had enough before the end
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()

		good := connectGood(t)
		defer func() { _ = good.Close(context.Background()) }()
		const clean = "select current_setting('application_name') || current_setting('work_mem') || current_user"
		if got := value(t, good, clean); got != "4MBapp" {
			t.Errorf("the next client has %q", got)
		}
	})
}
