package pooler_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// streamEnv is how many MB go through in TestALongResultNeedsNoMemory, if not so few as to be quick.
const streamEnv = "FAIRLEAD_TEST_STREAM_MB"

// session is a client of the protocol alone, of which nothing reads ahead.
func session(t testing.TB, addr net.Addr) (net.Conn, *pgproto3.Frontend) {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	front := pgproto3.NewFrontend(conn, conn)
	front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"}})
	if err := front.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := ready(front); err != nil {
		t.Fatal(err)
	}
	return conn, front
}

// A client that asks for much and reads nothing is waited for, by the server too, and by nobody else.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 3
		cfg.Logger = nil
	}))
	good := connect(t, url(shared, addr))
	value(t, good, "select 'warm'")
	before := inUse()
	slow := make([]net.Conn, 2)
	for i := range slow {
		conn, front := session(t, addr)
		slow[i] = conn
		front.Send(&pgproto3.Query{String: "select repeat('x', 1000) from generate_series(1, 200000)"})
		if err := front.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the server sends on to clients that do not read", func() bool {
		return value(t, good, "select count(*)::text from pg_stat_activity where wait_event = 'ClientWrite'") == "2"
	})
	for range 200 {
		value(t, good, "select repeat('y', 100000)")
	}
	// The world's own fronts and the test's own client have most of it.
	if held := (inUse() - before) / len(slow); held > 1<<20 {
		t.Errorf("%d bytes are held for each client that does not read", held)
	}
	n, err := io.CopyN(io.Discard, slow[0], 150_000_000) // and then it reads
	if err != nil {
		t.Errorf("%v after %d bytes", err, n)
	}
}

// A row of no more than 1 MiB is held until it is whole; this allows for a few of them, and not for all.
func TestALongResultNeedsNoMemory(t *testing.T) {
	mb := 64
	if v := os.Getenv(streamEnv); v != "" {
		var err error
		if mb, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.Logger = nil }))
	conn, front := session(t, addr)
	before := inUse()
	began := time.Now()
	front.Send(&pgproto3.Query{String: "select repeat('x', 1048576 - 11) from generate_series(1, " + strconv.Itoa(mb) + ")"})
	if err := front.Flush(); err != nil {
		t.Fatal(err)
	}
	most := 0
	for i := range mb {
		if _, err := io.CopyN(io.Discard, conn, 1<<20); err != nil {
			t.Fatal(err)
		}
		if i%max(mb/8, 1) == 0 {
			most = max(most, inUse()-before)
		}
	}
	t.Logf("%d MB in %v, and %d bytes in use", mb, time.Since(began).Round(time.Millisecond), most)
	if most > 4<<20 {
		t.Errorf("%d bytes are held for %d MB", most, mb)
	}
}

// A statement that is larger than any buffer gets its answer, however its pieces fall in with what reads the answers. The
// others keep the scheduler on its toes.
func TestALongStatementMayComeInAnyTime(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 4
		cfg.Logger = nil
	}))
	over := make(chan struct{})
	var others sync.WaitGroup
	for range 3 {
		_, front := session(t, addr)
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				front.Send(&pgproto3.Query{String: "select 1"})
				if err := errors.Join(front.Flush(), ready(front)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer others.Wait()
	defer close(over)
	conn, front := session(t, addr)
	b, err := (&pgproto3.Query{String: "select length('" + strings.Repeat("x", 150_000) + "')"}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for rest := b; len(rest) > 0; {
			n := min(len(rest), 32<<10)
			if _, err := conn.Write(rest[:n]); err != nil {
				t.Fatalf("statement %d: %v", i, err)
			}
			rest = rest[n:]
			time.Sleep(time.Duration(i%10) * 20 * time.Microsecond)
		}
		if err := ready(front); err != nil {
			t.Fatalf("statement %d: %v", i, err)
		}
	}
}

// Who says goodbye before it has its answer gets the answer, and its server connection is for others.
func TestAGoodbyeBehindAStatementEndsTheSession(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.Logger = nil }))
	conn, front := session(t, addr)
	front.Send(&pgproto3.Query{String: "select pg_sleep(0.2)"})
	front.Send(&pgproto3.Terminate{})
	if err := front.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := ready(front); err != nil {
		t.Fatal(err)
	}
	if _, err := front.Receive(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end is %v", err)
	}
	eventually(t, "its server connection is held", func() bool { st := s.Stats(); return st.Open == st.Idle })
}
