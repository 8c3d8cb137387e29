package driver

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// pgx reads in the background when a write takes long, so a Read can be there before the startup message.
func TestReadBeforeTheStartupLeavesTheUpstreamAlone(t *testing.T) {
	cfg, err := ParseConfig("host=127.0.0.1 user=u dbname=d sslmode=disable topology=none target_session_attrs=any")
	if err != nil {
		t.Fatal(err)
	}
	server := newFakeServer(0)
	var upstream net.Conn
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		upstream, _ = server.dial(ctx, network, addr)
		return upstream, nil
	}
	p, err := newPool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := p.DialContext(context.Background(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	read := make(chan byte, 1)
	go func() {
		b := make([]byte, 8192)
		if n, _ := conn.Read(b); n > 0 {
			read <- b[0]
		}
		close(read)
	}()
	upstream.Close() // the server goes away
	for range 100 {
		time.Sleep(time.Millisecond)
	}
	msg, err := (&pgproto3.StartupMessage{ProtocolVersion: 196608, Parameters: map[string]string{"user": "u", "database": "d"}}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(msg); err != nil {
		t.Fatal(err)
	}
	if kind := <-read; kind != 'R' {
		t.Errorf("first answer is %q, not AuthenticationOk", kind)
	}
}
