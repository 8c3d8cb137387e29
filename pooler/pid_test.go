package pooler_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/pooler"
)

// cancelWith sends a CancelRequest, as anybody may.
func cancelWith(t *testing.T, addr net.Addr, pid uint32, key []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(key)))
	b = binary.BigEndian.AppendUint32(b, 80877102)
	b = append(binary.BigEndian.AppendUint32(b, pid), key...)
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Read(make([]byte, 1))
}

func TestInSessionModeTheProcessIDIsTheServers(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize = 4
		c.Listeners[0].Mode = pooler.Session
	})
	ctx := shortContext(t)
	a, b, c := connect(t, url(shared, addr)), connect(t, url(shared, addr)), connect(t, url(shared, addr))
	for _, conn := range []*pgx.Conn{a, b, c} {
		if got, want := fmt.Sprint(conn.PgConn().PID()), value(t, conn, "select pg_backend_pid()::text"); got != want {
			t.Errorf("the client was told %s, the server says %s", got, want)
		}
	}
	exec(t, a, "begin; select pg_advisory_xact_lock(90210)")
	blocked := make(chan error, 1)
	go func() {
		_, err := b.Exec(ctx, "begin; select pg_advisory_xact_lock(90210)")
		blocked <- err
	}()
	want := fmt.Sprintf("{%d}", a.PgConn().PID())
	eventually(t, "pg_blocking_pids does not know who blocks", func() bool {
		return value(t, c, "select pg_blocking_pids($1::int)::text", b.PgConn().PID()) == want
	})
	for range 50 {
		key := make([]byte, 4)
		_, _ = rand.Read(key)
		cancelWith(t, addr, b.PgConn().PID(), key)
	}
	key := binary.BigEndian.AppendUint32(nil, 0)
	copy(key, c.PgConn().SecretKey())
	cancelWith(t, addr, b.PgConn().PID(), key)
	select {
	case err := <-blocked:
		t.Fatalf("a key of somebody else's has canceled it: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := b.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; code(err) != "57014" {
		t.Errorf("its own key: %v", err)
	}
	exec(t, a, "rollback")
	exec(t, b, "rollback")
	_ = c.Close(context.Background())
	if got := value(t, connect(t, url(shared, addr)), "select 'served'"); got != "served" {
		t.Error(got)
	}
}
