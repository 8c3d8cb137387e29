package pooler_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// A TLS record of one byte holds back nothing: what is read of it must not wait for another one.
func TestAMessageMayEndInARecordOfItsOwn(t *testing.T) {
	raw := dialEncrypted(t)
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
	startup := &pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"},
	}
	b, err := startup.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	front := pgproto3.NewFrontend(conn, conn)
	untilReady(t, front)
	query, err := (&pgproto3.Query{String: "select 'in pieces'"}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{len(query) - 1, 1} {
		if _, err := conn.Write(query[:size]); err != nil {
			t.Fatal(err)
		}
		query = query[size:]
	}
	untilReady(t, front)
}

// What somebody puts behind an SSLRequest, before the encryption begins, is not taken for what the client says.
func TestBytesBeforeTheHandshakeAreNotTheClients(t *testing.T) {
	raw := dialEncrypted(t)
	injected := binary.BigEndian.AppendUint32(nil, 8)
	injected = binary.BigEndian.AppendUint32(injected, 80877103)
	startup := &pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"},
	}
	injected, err := startup.Encode(injected)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write(injected); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(raw, answer); err != nil || answer[0] != 'S' {
		t.Fatalf("the request was answered with %q: %v", answer, err)
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
	if err := conn.Handshake(); err == nil {
		t.Error("a handshake succeeded behind bytes that nobody has encrypted")
	}
}

// dialEncrypted is a connection to a pooler that offers TLS, before a word was said.
func dialEncrypted(t *testing.T) net.Conn {
	t.Helper()
	cert, _ := certificate(t)
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Listeners[0].TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	})
	raw, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(time.Minute))
	return raw
}

func untilReady(t *testing.T, front *pgproto3.Frontend) {
	t.Helper()
	if err := ready(front); err != nil {
		t.Fatal(err)
	}
}
