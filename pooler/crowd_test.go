package pooler_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// crowdEnv has a process of the test's binary be a crowd of clients: so many, at this address.
const crowdEnv = "FAIRLEAD_TEST_CROWD"

// crowd logs clients in, each of which asks something once, says "in" when all are, and leaves with the end of its input.
func crowd(spec string) error {
	var n int
	var network, address string
	if _, err := fmt.Sscanf(spec, "%d %s %s", &n, &network, &address); err != nil {
		return err
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		conns[i] = conn
		front := pgproto3.NewFrontend(conn, conn)
		for _, m := range []pgproto3.FrontendMessage{
			&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"}},
			&pgproto3.Query{String: "select 1"},
		} {
			front.Send(m)
			if err := errors.Join(front.Flush(), ready(front)); err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
		}
	}
	fmt.Println("in")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// ready reads up to a ReadyForQuery.
func ready(front *pgproto3.Frontend) error {
	for {
		m, err := front.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("%s: %s", m.Code, m.Message)
		case *pgproto3.ReadyForQuery:
			return nil
		}
	}
}

// Ten thousand clients that do nothing have no server connection, and hardly any memory.
func TestIdleClientsHoldNothing(t *testing.T) {
	n := 10_000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(files.Max) - 1000; n > most {
		t.Logf("%d of %d clients: more than %d files cannot be open here", most, n, files.Max)
		n = most
	}
	s, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		k := cfg.Clusters["main"]
		k.PoolSize, k.MinPoolSize, k.ServerIdleTimeout = 4, 1, time.Second
		cfg.MaxClients = n + 10
		cfg.Logger = nil
	}))
	value(t, connect(t, url(shared, addr)), "select 'warm'")
	before := inUse()
	clients := osexec.Command(os.Args[0])
	clients.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s", crowdEnv, n, addr.Network(), addr))
	clients.Stderr = os.Stderr
	in, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(in.Close(), clients.Wait()); err != nil {
			t.Error(err)
		}
		eventually(t, "clients that have left are counted", func() bool { return s.Stats().Clients == 2 })
	}()
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(said) != "in" {
		t.Fatalf("the clients said %q: %v", said, err)
	}
	eventually(t, "idle clients hold connections", func() bool {
		st := s.Stats()
		return st.Open <= 1 && st.Idle == st.Open && st.Clients > n
	})
	each := (inUse() - before) / n
	t.Logf("%d clients, %d bytes each, with their goroutines", n, each)
	if each > 64<<10 {
		t.Errorf("an idle client holds %d bytes", each)
	}
	if got := value(t, connect(t, url(shared, addr)), "select 'served'"); got != "served" {
		t.Error(got)
	}
}

// inUse is the memory in use, in bytes.
func inUse() int {
	for range 2 { // what a pool holds outlives the first
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
