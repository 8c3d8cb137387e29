package front_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// A wait that ends a test which would hang; nothing depends on how long it is.
const patience = 20 * time.Second

// A wait for something that must not come.
const quiet = 100 * time.Millisecond

func TestMain(m *testing.M) {
	code := m.Run()
	stopPostgres()
	if err := goleak.Find(); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// listen starts a front on a free port for a server at addr.
func listen(t testing.TB, network, addr string, change ...func(*front.Config)) *front.Front {
	t.Helper()
	cfg := front.Config{
		Network: "tcp",
		Address: "127.0.0.1:0",
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	f, err := front.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func onUnix(t testing.TB) func(*front.Config) {
	path := filepath.Join(t.TempDir(), "s")
	return func(cfg *front.Config) { cfg.Network, cfg.Address = "unix", path }
}

func dial(t testing.TB, f *front.Front) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout(f.Addr().Network(), f.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// acceptor is a server whose connections a test takes one by one.
type acceptor struct {
	net.Listener
	conns chan net.Conn
}

func newAcceptor(t testing.TB) *acceptor {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &acceptor{Listener: ln, conns: make(chan net.Conn, 64)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				close(a.conns)
				return
			}
			a.conns <- conn
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
		for conn := range a.conns {
			_ = conn.Close()
		}
	})
	return a
}

func (a *acceptor) next(t testing.TB) net.Conn {
	t.Helper()
	select {
	case conn := <-a.conns:
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	case <-time.After(patience):
		t.Fatal("the front did not reach the server")
		return nil
	}
}

// pair is a connection through a front that has just proved to work.
func pair(t testing.TB, f *front.Front, a *acceptor) (client, server net.Conn) {
	t.Helper()
	client = dial(t, f)
	server = a.next(t)
	send(t, client, "hello")
	receive(t, server, "hello")
	return client, server
}

func send(t testing.TB, conn net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(conn, s); err != nil {
		t.Fatalf("send %q: %v", s, err)
	}
}

func receive(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("received %q, %v, want %q", got[:n], err, want)
	}
}

// hearNothing fails if anything comes, be it an end.
func hearNothing(t testing.TB, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(quiet))
	if n, err := conn.Read(make([]byte, 100)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("heard %d bytes, %v; want nothing", n, err)
	}
}

// hearEnd fails if the connection does not end with want as the next thing.
func hearEnd(t testing.TB, conn net.Conn, want error) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 100)); n > 0 || !errors.Is(err, want) {
		t.Fatalf("heard %d bytes, %v; want %v", n, err, want)
	}
}

func hearReset(t testing.TB, conn net.Conn) {
	t.Helper()
	hearEnd(t, conn, syscall.ECONNRESET)
}

// eventually waits for what another process or goroutine is about to do.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}
