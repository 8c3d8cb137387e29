package front_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/rdstest/front"
	"github.com/fairlead-go/fairlead/rdstest/internal/testca"
)

// secureFront serves TLS, and gives what a DSN needs for it.
func secureFront(t testing.TB) (*front.Front, string) {
	t.Helper()
	ca, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	f := postgresFront(t, func(cfg *front.Config) {
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	})
	return f, "sslmode=verify-full sslrootcert=" + root
}

// worlds are the ways through a front: for each, everything must pass unchanged.
func worlds(t *testing.T, test func(*testing.T, *front.Front, string)) {
	neverMatches := func(f *front.Front) {
		for _, side := range []front.Side{front.Client, front.Server} {
			f.Cut(front.Cut{From: side, Match: func(front.Message) bool { return false }})
		}
	}
	t.Run("plain", func(t *testing.T) {
		test(t, postgresFront(t), "")
	})
	t.Run("armed", func(t *testing.T) {
		f := postgresFront(t)
		neverMatches(f)
		test(t, f, "")
	})
	t.Run("tls refused", func(t *testing.T) {
		test(t, postgresFront(t), "sslmode=prefer")
	})
	t.Run("tls", func(t *testing.T) {
		f, params := secureFront(t)
		neverMatches(f)
		test(t, f, params)
	})
	t.Run("direct tls", func(t *testing.T) {
		f, params := secureFront(t)
		test(t, f, params+" sslnegotiation=direct")
	})
	t.Run("delayed tls", func(t *testing.T) {
		f, params := secureFront(t)
		f.Delay(2 * time.Millisecond)
		test(t, f, params)
	})
}

func TestCopyPassesUnchanged(t *testing.T) {
	worlds(t, func(t *testing.T, f *front.Front, params string) {
		conn := connect(t, f, params)
		ctx := background(t)
		if err := conn.Exec(ctx, "CREATE TEMP TABLE blobs (b text)").Close(); err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 1<<19)
		_, _ = rand.NewChaCha8([32]byte{7}).Read(raw)
		line := []byte(hex.EncodeToString(raw) + "\n")
		in := bytes.Repeat(line, 3)
		tag, err := conn.CopyFrom(ctx, bytes.NewReader(in), "COPY blobs FROM STDIN")
		if err != nil || tag.RowsAffected() != 3 {
			t.Fatalf("COPY FROM: %v, %v", tag, err)
		}
		results, err := conn.Exec(ctx, "SELECT DISTINCT md5(b) FROM blobs").ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(results[0].Rows[0][0]), fmt.Sprintf("%x", md5.Sum(line[:len(line)-1])); got != want {
			t.Errorf("the server has md5 %s, want %s", got, want)
		}
		var out bytes.Buffer
		if _, err := conn.CopyTo(ctx, &out, "COPY blobs TO STDOUT"); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), in) {
			t.Error("COPY TO gave other bytes than COPY FROM took")
		}
	})
}

func TestCancelRequestPasses(t *testing.T) {
	worlds(t, func(t *testing.T, f *front.Front, params string) {
		conn := connect(t, f, params)
		failed := make(chan error, 1)
		go func() { failed <- conn.Exec(context.Background(), "SELECT pg_sleep(100)").Close() }()
		eventually(t, "the query runs", func() bool {
			return len(aside(t, fmt.Sprintf("SELECT 1 FROM pg_stat_activity WHERE pid = %d AND state = 'active'", conn.PID()))) == 1
		})
		// pgx waits for the server to end this connection, and takes the end of ctx for that too.
		ctx := background(t)
		if err := errors.Join(conn.CancelRequest(ctx), ctx.Err()); err != nil {
			t.Fatal(err)
		}
		if pgErr, ok := errors.AsType[*pgconn.PgError](<-failed); !ok || pgErr.Code != "57014" {
			t.Errorf("the query: %v, want 57014", pgErr)
		}
	})
}

func TestReplicationPasses(t *testing.T) {
	worlds(t, func(t *testing.T, f *front.Front, params string) {
		conn := connect(t, f, params+" replication=database")
		ctx := background(t)
		results, err := conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		lsn := string(results[0].Rows[0][2])
		h := hijack(t, conn)
		aside(t, "SELECT pg_logical_emit_message(true, 'front', repeat('x', 200000))")
		h.send(&pgproto3.Query{String: "START_REPLICATION PHYSICAL " + lsn})
		got := 0
		for got < 200000 {
			m, err := h.fe.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := m.(*pgproto3.CopyData); ok && data.Data[0] == 'w' {
				got += len(data.Data)
			}
		}
	})
}

func TestErrorsOfTheServerPass(t *testing.T) {
	worlds(t, func(t *testing.T, f *front.Front, params string) {
		conn := connect(t, f, params)
		aside(t, fmt.Sprintf("SELECT pg_terminate_backend(%d)", conn.PID()))
		err := conn.Exec(background(t), "SELECT 1").Close()
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "57P01" {
			t.Errorf("the query: %v, want 57P01", err)
		}
	})
}

func TestDirectTLSHasToNameTheProtocol(t *testing.T) {
	f, _ := secureFront(t)
	for protocol, want := range map[string]bool{"postgresql": true, "http/1.1": false, "": false} {
		cfg := &tls.Config{InsecureSkipVerify: true}
		if protocol != "" {
			cfg.NextProtos = []string{protocol}
		}
		conn := tls.Client(dial(t, f), cfg)
		_ = conn.SetDeadline(time.Now().Add(patience))
		startup, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30,
			Parameters: map[string]string{"user": "postgres"}}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Write(startup)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		if got := err == nil; got != want {
			t.Errorf("protocol %q: %v", protocol, err)
		}
	}
}

func TestClientThatDoesNotTrustIsToldNothing(t *testing.T) {
	f, _ := secureFront(t)
	_, err := tryConnect(t, f, "sslmode=verify-full")
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("connect: %v, want an error about the certificate", err)
	}
}

func TestFrontOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".s.PGSQL.5432")
	postgresFront(t, func(cfg *front.Config) { cfg.Network, cfg.Address = "unix", path })
	conn, err := pgconn.Connect(background(t), "host="+filepath.Dir(path)+" user=postgres database=postgres")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(background(t), "SELECT 1").Close(); err != nil {
		t.Error(err)
	}
	_ = conn.Close(background(t))
}
