package driver

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// fakeServer is a server in memory, without a goroutine or a system call: it answers while it is written to. It is for
// measuring what the mount costs, and nothing else; everything that is about behaviour runs against PostgreSQL.
type fakeServer struct {
	rows  []byte // the answer to a statement that has "rows" in it
	large []byte // the answer to one that has "large" in it: 20 rows of 1 MB
}

func newFakeServer(rows int) *fakeServer {
	f := &fakeServer{}
	for range rows {
		f.rows = encode(f.rows, &pgproto3.DataRow{Values: [][]byte{{0, 0, 0, 1}, []byte("a value of some length, 32 bytes")}})
	}
	for range min(rows, 20) {
		f.large = encode(f.large, &pgproto3.DataRow{Values: [][]byte{{0, 0, 0, 1}, bytes.Repeat([]byte("1 MB in 16 bytes"), 1e6/16)}})
	}
	return f
}

func (f *fakeServer) dial(context.Context, string, string) (net.Conn, error) {
	c := &fakeConn{server: f, statements: make(map[string]string), status: wire.StatusIdle}
	c.more = sync.NewCond(&c.mu)
	return c, nil
}

type fakeConn struct {
	server     *fakeServer
	statements map[string]string
	bound      string
	status     byte
	started    bool

	mu   sync.Mutex // pgx reads in the background while a write is slow
	more *sync.Cond
	out  []byte
	at   int
	shut bool
}

func encode(b []byte, msgs ...pgproto3.BackendMessage) []byte {
	for _, m := range msgs {
		b, _ = m.Encode(b)
	}
	return b
}

var (
	fakeColumns = encode(nil, &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{
		{Name: []byte("a"), DataTypeOID: 23, DataTypeSize: 4, TypeModifier: -1, Format: 1},
		{Name: []byte("b"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1},
	}})
	fakeRow      = encode(nil, &pgproto3.DataRow{Values: [][]byte{{0, 0, 0, 1}, []byte("x")}})
	fakeNoData   = encode(nil, &pgproto3.NoData{})
	fakeParsed   = encode(nil, &pgproto3.ParseComplete{})
	fakeBound    = encode(nil, &pgproto3.BindComplete{})
	fakeClosed   = encode(nil, &pgproto3.CloseComplete{})
	fakeOne      = encode(nil, &pgproto3.ParameterDescription{ParameterOIDs: []uint32{23}})
	fakeNone     = encode(nil, &pgproto3.ParameterDescription{})
	fakeSelected = encode(nil, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	fakeInserted = encode(nil, &pgproto3.CommandComplete{CommandTag: []byte("INSERT 0 1")})
	fakeBegun    = encode(nil, &pgproto3.CommandComplete{CommandTag: []byte("BEGIN")})
	fakeDone     = encode(nil, &pgproto3.CommandComplete{CommandTag: []byte("COMMIT")})
)

func (c *fakeConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.more.Signal()
	if c.at == len(c.out) {
		c.out, c.at = c.out[:0], 0
	}
	n := len(p)
	if !c.started {
		c.started = true
		c.out = encode(c.out, &pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "15.0"},
			&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"},
			&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
			&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: wire.StatusIdle})
		return n, nil
	}
	for len(p) > 0 {
		size := int(binary.BigEndian.Uint32(p[1:])) + 1
		c.message(p[0], p[wire.HeaderLen:size])
		p = p[size:]
	}
	return n, nil
}

func (c *fakeConn) message(kind byte, body []byte) {
	switch kind {
	case wire.Query:
		c.execute(string(body[:len(body)-1]), true)
		c.ready()
	case wire.Parse:
		name, rest, _ := bytes.Cut(body, []byte{0})
		sql, _, _ := bytes.Cut(rest, []byte{0})
		c.statements[string(name)] = string(sql)
		c.out = append(c.out, fakeParsed...)
	case wire.Bind:
		_, rest, _ := bytes.Cut(body, []byte{0})
		name, _, _ := bytes.Cut(rest, []byte{0})
		c.bound = c.statements[string(name)]
		c.out = append(c.out, fakeBound...)
	case wire.Describe:
		sql := c.bound
		if body[0] == 'S' {
			sql = c.statements[string(body[1:len(body)-1])]
			if strings.Contains(sql, "$1") {
				c.out = append(c.out, fakeOne...)
			} else {
				c.out = append(c.out, fakeNone...)
			}
		}
		if strings.HasPrefix(sql, "select") {
			c.out = append(c.out, fakeColumns...)
		} else {
			c.out = append(c.out, fakeNoData...)
		}
	case wire.Execute:
		c.execute(c.bound, false)
	case wire.Close:
		c.out = append(c.out, fakeClosed...)
	case wire.Sync:
		c.ready()
	}
}

func (c *fakeConn) execute(sql string, describe bool) {
	switch {
	case strings.HasPrefix(sql, "select"):
		if describe {
			c.out = append(c.out, fakeColumns...)
		}
		switch {
		case strings.Contains(sql, "rows"):
			c.out = append(c.out, c.server.rows...)
		case strings.Contains(sql, "large"):
			c.out = append(c.out, c.server.large...)
		default:
			c.out = append(c.out, fakeRow...)
		}
		c.out = append(c.out, fakeSelected...)
	case strings.HasPrefix(sql, "begin"):
		c.status = wire.StatusTransaction
		c.out = append(c.out, fakeBegun...)
	case strings.HasPrefix(sql, "commit"), strings.HasPrefix(sql, "rollback"):
		c.status = wire.StatusIdle
		c.out = append(c.out, fakeDone...)
	default:
		c.out = append(c.out, fakeInserted...)
	}
}

func (c *fakeConn) ready() { c.out = append(c.out, wire.ReadyForQuery, 0, 0, 0, 5, c.status) }

func (c *fakeConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.at == len(c.out) {
		if c.shut {
			return 0, io.EOF
		}
		c.more.Wait()
	}
	n := copy(p, c.out[c.at:])
	c.at += n
	return n, nil
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	c.more.Broadcast()
	return nil
}

func (c *fakeConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *fakeConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *fakeConn) SetDeadline(time.Time) error      { return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }
