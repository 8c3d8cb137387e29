package driver

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// fakeSocket names the environment variable that makes this test binary a fake server, which listens there.
const fakeSocket = "FAIRLEAD_TEST_FAKE_SERVER"

// fakeRows is how many rows a statement with "rows" in it returns there.
const fakeRows = 100_000

func TestMain(m *testing.M) {
	if path := os.Getenv(fakeSocket); path != "" {
		if err := serveFake(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// startFakeProcess starts a fake server in a process of its own, which ends with the test, or with this process.
func startFakeProcess(tb testing.TB) pgconn.DialFunc {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "s")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fakeSocket+"="+path)
	cmd.Stderr = os.Stderr
	life, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = life.Close()
		_ = cmd.Wait()
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := dial(context.Background(), "", "")
		if err == nil {
			_ = conn.Close()
			return dial
		}
		if time.Now().After(deadline) {
			tb.Fatal(err)
		}
	}
}

// serveFake serves until standard input ends.
func serveFake(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	server := newFakeServer(fakeRows)
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		go server.serve(conn)
	}
}

// serve answers one client.
func (f *fakeServer) serve(conn net.Conn) {
	defer conn.Close()
	inner, err := f.dial(context.Background(), "", "")
	if err != nil {
		return
	}
	c := inner.(*fakeConn)
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		whole := 0
		if !c.started {
			if len(buf) < 4 || len(buf) < int(binary.BigEndian.Uint32(buf)) {
				continue
			}
			whole = int(binary.BigEndian.Uint32(buf))
		} else {
			for {
				n, ok := wire.Size(buf[whole:])
				if !ok || n > len(buf)-whole {
					break
				}
				whole += n
			}
		}
		_, _ = c.Write(buf[:whole])
		buf = buf[:copy(buf, buf[whole:])]
		if _, err := conn.Write(c.out[c.at:]); err != nil {
			return
		}
		c.at = len(c.out)
	}
}
