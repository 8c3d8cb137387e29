package pooler_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

func TestStartupParametersAreTheSessions(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	base := url(shared, addr)
	a := connect(t, base+`&application_name=a&options=-c%20work_mem%3D7MB%20--search-path%3Da,b%5C%20&TimeZone=Asia/Tokyo`)
	b := connect(t, base)
	exec(t, b, "set timezone = 'UTC'")
	for range 2 {
		got := value(t, a, "select concat_ws('|', current_setting('application_name'), current_setting('work_mem'), current_setting('search_path'), current_setting('TimeZone'))")
		if want := "a|7MB|a,b |Asia/Tokyo"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		value(t, b, "select current_setting('work_mem')")
	}
	exec(t, a, "set work_mem = '9MB'")
	exec(t, a, "reset all")
	if got := value(t, a, "select current_setting('work_mem')"); got != "7MB" {
		t.Errorf("RESET ALL went back to %s", got)
	}
	for query, want := range map[string]string{"&work_mem=much": "22023", "&options=-x": "42601", "&replication=database": "0A000", "&no_such=1": "42704"} {
		if _, err := pgx.Connect(testContext(t), base+query); code(err) != want {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

func TestACancelRequestMeetsTheSessionThatItNamesAndNoOther(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Clusters["main"].VerifyClean = pooler.VerifyOff })
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	ctx := testContext(t)
	value(t, a, "select 'warm'")
	sleeping := make(chan error, 1)
	go func() {
		_, err := b.Exec(ctx, "select pg_sleep(1)")
		sleeping <- err
	}()
	for range 20 {
		if err := a.PgConn().CancelRequest(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := <-sleeping; err != nil {
		t.Errorf("a request that named another session ended this one's statement: %v", err)
	}
	go func() {
		_, err := b.Exec(ctx, "select pg_sleep(100)")
		sleeping <- err
	}()
	for {
		if err := b.PgConn().CancelRequest(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-sleeping:
			if code(err) != "57014" {
				t.Errorf("canceled with %v", err)
			}
			value(t, a, "select 'served'")
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestWhoWaitsTooLongIsToldWhy(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Clusters["main"].BorrowTimeout = 100 * time.Millisecond })
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, a, "begin")
	_, err := b.Exec(testContext(t), "select 1")
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "53300" || !strings.Contains(pg.Message, "100ms") || !strings.Contains(pg.Detail, "All 1 connections") {
		t.Errorf("%v", err)
	}
	exec(t, a, "commit")
	if got := value(t, b, "select 'again'"); got != "again" {
		t.Error(got)
	}
	if n := s.Stats().Timeouts; n != 1 {
		t.Errorf("%d timeouts", n)
	}
}

func TestATemporaryTableKeepsItsConnectionUntilItIsGone(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize = 2
		c.Clusters["main"].BorrowTimeout = 20 * time.Second
	})
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, a, "create temp table mine as select 1 as n")
	own := value(t, a, "select pg_backend_pid()::text")
	if other := value(t, b, "select pg_backend_pid()::text"); other == own {
		t.Error("the connection with the temporary table was given to somebody else")
	}
	if n := value(t, a, "select n::text from mine"); n != "1" {
		t.Error(n)
	}
	exec(t, a, "drop table mine")
	c := connect(t, url(shared, addr))
	for _, conn := range []*pgx.Conn{b, c} { // with a third connection in use, one of them would wait in vain
		exec(t, conn, "begin")
		defer exec(t, conn, "rollback")
	}
}

func TestNotificationsReachAClientThatWaits(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) { c.Clusters["main"].PoolSize = 2 })
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, a, "listen news")
	for i := range 3 {
		exec(t, b, fmt.Sprintf("notify news, '%d'", i))
		n, err := a.WaitForNotification(testContext(t))
		if err != nil || n.Payload != fmt.Sprint(i) {
			t.Fatalf("%v, %v", n, err)
		}
		if got := value(t, a, "select 'still here'"); got != "still here" {
			t.Error(got)
		}
	}
	exec(t, a, "unlisten *")
}

func TestCopyGoesBothWays(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), nil)
	a := connect(t, url(shared, addr))
	ctx := testContext(t)
	exec(t, a, "drop table if exists copied")
	exec(t, a, "create table copied (n int, pad text)")
	const rows = 50000
	n, err := a.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n", "pad"}, pgx.CopyFromSlice(rows, func(i int) ([]any, error) {
		return []any{i, strings.Repeat("x", 100)}, nil
	}))
	if err != nil || n != rows {
		t.Fatalf("%d rows: %v", n, err)
	}
	var out bytes.Buffer
	if _, err := a.PgConn().CopyTo(ctx, &out, "copy (select n from copied order by n) to stdout"); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != rows {
		t.Errorf("%d lines", lines)
	}
	_, err = a.PgConn().CopyFrom(ctx, strings.NewReader("1\tx\nnot a number\ty\n"), "copy copied from stdin")
	if code(err) != "22P02" {
		t.Errorf("a bad line: %v", err)
	}
	var batch pgx.Batch
	for i := range 5000 {
		batch.Queue("select $1::int, repeat('y', 500)", i)
	}
	if err := a.SendBatch(ctx, &batch).Close(); err != nil {
		t.Errorf("a long pipeline: %v", err)
	}
	exec(t, a, "drop table copied")
}

func certificate(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestLoginWithAPassword(t *testing.T) {
	cert, ca := certificate(t)
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Users = map[string]pooler.User{
			"alice": {Password: "wonder land"},
			"bob":   {Password: "SCRAM-SHA-256$4096:YWJjZGVmZ2hpamtsbW5vcA==$Q+jm0LuAGwGvC3T2+7cb+RFXfhWqbYTWz2YBuyo2FTo=:VXzZ2zMc9vUIlHZpQjtvZV4tsPgsu63NqGyw5BuqaKE="},
		}
		c.Listeners[0].TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	})
	as := func(user, password, rest string) error {
		conn, err := pgx.Connect(testContext(t), fmt.Sprintf("host=127.0.0.1 port=%d user=%s password='%s' dbname=app %s", addr.(*net.TCPAddr).Port, user, password, rest))
		if err != nil {
			return err
		}
		defer conn.Close(context.Background())
		return conn.QueryRow(testContext(t), "select current_user").Scan(new(string))
	}
	plain, bound := "sslmode=disable", "sslmode=verify-full sslrootcert="+ca+" channel_binding=require"
	for _, c := range []struct {
		name, user, password, rest, code string
	}{
		{"in the clear", "alice", "wonder land", plain, ""},
		{"over TLS, bound to it", "alice", "wonder land", bound, ""},
		{"over TLS from the start", "alice", "wonder land", bound + " sslnegotiation=direct", ""},
		{"a wrong password", "alice", "wonderland", plain, "28P01"},
		{"a wrong password over TLS", "alice", "", bound, "28P01"},
		{"somebody unknown", "mallory", "wonder land", plain, "28P01"},
		{"a verifier, and what it is not of", "bob", "nonsense", plain, "28P01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := as(c.user, c.password, c.rest); code(err) != c.code || c.code == "" && err != nil {
				t.Errorf("%v, want %q", err, c.code)
			}
		})
	}
}

func TestHostileClientsHarmNobody(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.LoginTimeout = time.Second
		c.Clusters["main"].BorrowTimeout = 10 * time.Second
		c.Logger = nil
	})
	good := connect(t, url(shared, addr))
	startup := func(params ...string) []byte {
		b := binary.BigEndian.AppendUint32(make([]byte, 4), pgproto3.ProtocolVersion30)
		for _, p := range params {
			b = append(append(b, p...), 0)
		}
		b = append(b, 0)
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		return b
	}
	in := startup("user", "app", "database", "app")
	ssl := []byte{0, 0, 0, 8, 4, 210, 22, 47}
	message := func(kind byte, n uint32, body string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, n), body...)
	}
	for name, bytes := range map[string][]byte{
		"nothing":                       {},
		"half a length":                 {0, 0},
		"a length of 1 GB":              {0x40, 0, 0, 0, 0, 3, 0, 0},
		"a length of 4":                 {0, 0, 0, 4},
		"HTTP":                          []byte("GET / HTTP/1.1\r\n\r\n"),
		"a storm of SSLRequests":        append(append(ssl, ssl...), ssl...),
		"no terminator":                 startup("user")[:10],
		"no user":                       startup("database", "app"),
		"somebody else":                 startup("user", "mallory", "database", "app"),
		"a database that is not there":  startup("user", "app", "database", "nowhere"),
		"a cancel of nobody":            append([]byte{0, 0, 0, 16, 4, 210, 22, 46}, 1, 2, 3, 4, 5, 6, 7, 8),
		"a cancel too short":            {0, 0, 0, 8, 4, 210, 22, 46},
		"a message of 1 GB":             append(in, message('Q', 1<<30, "select ")...),
		"a message of 4 GB":             append(in, message('Q', 1<<32-1, "select ")...),
		"a message of no length":        append(in, message('Q', 0, "")...),
		"half a Query":                  append(in, message('Q', 100, "select 1")...),
		"a Query without an end":        append(in, message('Q', 12, "select 1")...),
		"an unknown message":            append(in, message('!', 4, "")...),
		"a Bind of nonsense":            append(in, append(message('B', 8, "\x00\x00\xff\xff"), message('S', 4, "")...)...),
		"a Parse without a name":        append(in, append(message('P', 6, "ab"), message('S', 4, "")...)...),
		"a shared statement's own name": append(in, append(message('D', 15, "Sfairlead_x"[:11]), message('S', 4, "")...)...),
		"CopyData out of the blue":      append(in, message('d', 8, "abcd")...),
		"goodbye":                       append(in, message('X', 4, "")...),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(bytes); err != nil {
				t.Log(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			_, _ = io.Copy(io.Discard, conn)
			if got := value(t, good, "select 'served'"); got != "served" {
				t.Error(got)
			}
			_ = conn.Close()
		})
	}
	for s.Stats().Clients != 1 {
		select {
		case <-testContext(t).Done():
			t.Fatalf("%+v", s.Stats())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestANameInUseIsRefusedAfterATextThatWas(t *testing.T) {
	_, addr := start(t, shared, shared.AddressDSN(shared.Writer()), nil)
	conn := connect(t, url(shared, addr)).PgConn()
	ctx := testContext(t)
	if _, err := conn.Exec(ctx, "select pg_advisory_lock(77)").ReadAll(); err != nil { // it keeps its connection
		t.Fatal(err)
	}
	for i, c := range []struct{ text, code string }{
		{"select 1", ""}, {"select * from no_such_table", "42P01"}, {"select 1", "42P05"}, {"select 2", "42P05"},
	} {
		_, err := conn.Prepare(ctx, "q", c.text, nil)
		if got := code(err); got != c.code {
			t.Errorf("%d, %s: %q (%v), want %q", i, c.text, got, err, c.code)
		}
	}
}
