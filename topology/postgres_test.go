package topology

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// fakePostgres answers simple queries by the first key that they contain.
type fakePostgres struct {
	net.Listener
	wg      sync.WaitGroup
	mu      sync.Mutex
	answers map[string][]string // key: rows of comma-separated values, "!code" for an error, "~" for silence
	asked   []string
}

func startFake(t *testing.T, answers map[string][]string) *fakePostgres {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakePostgres{Listener: l, answers: answers}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() {
				defer func() { _ = c.Close() }()
				f.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.wg.Wait()
	})
	return f
}

func (f *fakePostgres) serve(c net.Conn) {
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		q, ok := m.(*pgproto3.Query)
		if !ok {
			return
		}
		if f.answer(b, q.String) {
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}

func (f *fakePostgres) answer(b *pgproto3.Backend, sql string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, sql)
	best := ""
	for key := range f.answers {
		if strings.Contains(sql, key) && len(key) > len(best) {
			best = key
		}
	}
	for _, row := range f.answers[best] {
		switch {
		case row == "~":
			return false
		case row[0] == '!':
			b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: row[1:], Message: "refused"})
			return true
		case row[0] == '#':
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: row[1:], Message: "terminating"})
			return true
		}
		r := &pgproto3.DataRow{}
		for _, v := range strings.Split(row, ",") {
			if v == "null" {
				r.Values = append(r.Values, nil)
			} else {
				r.Values = append(r.Values, []byte(v))
			}
		}
		b.Send(r)
	}
	b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT")})
	return true
}

func (f *fakePostgres) set(key string, rows ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[key] = rows
}

// open opens a session to the fake.
func (f *fakePostgres) open(t *testing.T, kind Kind) (Session, error) {
	t.Helper()
	ap := netip.MustParseAddrPort(f.Addr().String())
	s, err := NewPostgresProber(kind, dialFake).Open(t.Context(), Endpoint{Host: ap.Addr().String(), Port: ap.Port()}, nil)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func dialFake(ctx context.Context, ep Endpoint, _ []netip.Addr) (*pgconn.PgConn, error) {
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%d user=u dbname=d sslmode=disable", ep.Host, ep.Port))
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, cfg)
}

// plainAnswers are those of a PostgreSQL server that is out of recovery.
func plainAnswers() map[string][]string {
	return map[string][]string{
		"pg_postmaster_start_time": {"1000"}, "stats_reset": {"2000"}, "pg_control_system": {"77"}, "to_regproc": {"f"},
		"pg_is_in_recovery": {"f,off,0,0000002A000000000000000F"}, "default_transaction_read_only'), -1": {"f,off,-1"},
	}
}

func auroraAnswers() map[string][]string {
	a := plainAnswers()
	a["to_regproc"] = []string{"t"}
	a["aurora_db_instance_identifier"] = []string{"inst-1"}
	a["aurora_replica_status()"] = []string{"f,off,inst-1,t,null,250.5", "f,off,inst-2,f,18.5,1000", "f,off,inst-3,null,null,null"}
	return a
}

func probeOnce(t *testing.T, s Session) Report {
	t.Helper()
	r, err := s.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAPlainServersReport(t *testing.T) {
	f := startFake(t, plainAnswers())
	s, err := f.open(t, KindAuto)
	if err != nil {
		t.Fatal(err)
	}
	r := probeOnce(t, s)
	if r.Kind != KindReplication || r.InRecovery || r.Timeline != 0x2A || r.SystemID != "77" || r.Boot != "1000.2000" || r.Lag != 0 || r.Addr.String() != "127.0.0.1" {
		t.Fatalf("%+v", r)
	}
	f.set("pg_is_in_recovery", "t,on,1500.5,null")
	if r = probeOnce(t, s); !r.InRecovery || !r.ReadOnly || r.Timeline != 0 || r.Lag != 1500500*time.Microsecond {
		t.Fatalf("%+v", r)
	}
	f.set("pg_is_in_recovery", "t,on,null,null")
	if r = probeOnce(t, s); r.Lag != -1 {
		t.Fatalf("%+v", r)
	}
}

func TestAServerThatRefusesItsWALFunctionsIsAskedForTheRest(t *testing.T) {
	a := plainAnswers()
	a["pg_current_wal_insert_lsn"] = []string{"!0A000"}
	a["stats_reset"] = []string{"!42501"}
	a["pg_control_system"] = []string{"!42501"}
	f := startFake(t, a)
	s, err := f.open(t, KindAuto)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := probeOnce(t, s); r.Kind != KindReplication || r.InRecovery || r.Timeline != 0 || r.SystemID != "" || r.Boot != "1000." || r.Lag != -1 {
			t.Fatalf("%+v", r)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := strings.Count(strings.Join(f.asked, "\n"), "pg_walfile_name"); n != 1 {
		t.Errorf("the refused functions were called %d times", n)
	}
}

func TestAnAuroraInstancesReport(t *testing.T) {
	for _, kind := range []Kind{KindAuto, KindAurora} {
		f := startFake(t, auroraAnswers())
		s, err := f.open(t, kind)
		if err != nil {
			t.Fatal(err)
		}
		r := probeOnce(t, s)
		if r.Kind != KindAurora || r.ID != "inst-1" || r.WriterID != "inst-1" || r.InRecovery || r.Timeline != 0 || len(r.Members) != 3 {
			t.Fatalf("%+v", r)
		}
		want := []Member{{"inst-1", true, 0, 250500 * time.Microsecond}, {"inst-2", false, 18500 * time.Microsecond, time.Second}, {"inst-3", false, -1, -1}}
		for i, m := range want {
			if r.Members[i] != m {
				t.Errorf("%+v, want %+v", r.Members[i], m)
			}
		}
		f.set("aurora_replica_status()", "t,off,null,null,null,null")
		if r = probeOnce(t, s); !r.InRecovery || r.WriterID != "" || len(r.Members) != 0 {
			t.Fatalf("an empty view: %+v", r)
		}
	}
}

func TestWhatIsNotAuroraIsNotTakenForIt(t *testing.T) {
	f := startFake(t, plainAnswers())
	if _, err := f.open(t, KindAurora); err == nil || !strings.Contains(err.Error(), "not an Aurora instance") {
		t.Fatalf("error: %v", err)
	}
	a := auroraAnswers()
	a["aurora_db_instance_identifier"] = []string{"!42883"}
	f = startFake(t, a)
	if _, err := f.open(t, KindAuto); err == nil || !strings.Contains(err.Error(), "identifier") {
		t.Fatalf("error: %v", err)
	}
}

func TestAServerThatCannotBeAskedIsUsedUnasked(t *testing.T) {
	f := startFake(t, map[string][]string{"": {"!42601"}, "select": {"!42601"}})
	ap := netip.MustParseAddrPort(f.Addr().String())
	c, err := New(Config{Seeds: []Endpoint{{Host: "127.0.0.1", Port: ap.Port()}, {Host: "127.0.0.1", Port: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Attach(NewPostgresProber(KindAuto, dialFake))()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	in, s, err := c.Pick(ctx, WantWriter, 0)
	if err != nil || s.Kind != KindNone || in.Endpoint.Port != ap.Port() {
		t.Fatalf("%+v, %v", in, err)
	}
	c.Suspect(in.ID, errGone)
	if in, _, err = c.Pick(ctx, WantWriter, 0); err != nil || in.Endpoint.Port != 1 {
		t.Fatalf("after a suspicion: %+v, %v", in, err)
	}
	f.mu.Lock()
	asked := len(f.asked)
	f.mu.Unlock()
	time.Sleep(300 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) != asked {
		t.Errorf("it is asked on, though that is no use")
	}
}

func TestASilentServerIsLeftWhenTheContextEnds(t *testing.T) {
	f := startFake(t, plainAnswers())
	s, err := f.open(t, KindAuto)
	if err != nil {
		t.Fatal(err)
	}
	f.set("pg_is_in_recovery", "~")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := s.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestErrorsOfAProbeAreTold(t *testing.T) {
	for rows, want := range map[string]string{"#57P01": "57P01", "!53200": "53200", "": "0 rows"} {
		f := startFake(t, plainAnswers())
		s, err := f.open(t, KindAuto)
		if err != nil {
			t.Fatal(err)
		}
		answer := []string{rows}
		if rows == "" {
			answer = nil
		}
		f.set("pg_is_in_recovery", answer...)
		f.set("default_transaction_read_only'), -1", answer...)
		if _, err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", rows, err)
		}
	}
}

func TestWhichLoginsAreRefused(t *testing.T) {
	code := func(c string) error { return fmt.Errorf("connect: %w", &pgconn.PgError{Code: c}) }
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{code("28P01"), true}, {code("28000"), true}, {code("3D000"), true}, {code("42501"), true},
		{code("22023"), true}, {code("55000"), true}, {code("55P02"), true}, {code("42704"), true}, {code("42602"), true}, {code("55006"), false},
		{code("57P03"), false}, {code("53300"), false}, {code("57P01"), false}, {code("08006"), false},
		{errors.New("not pgconn's"), false},
	} {
		if got := RefusesLogin(tc.err); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}), false},
		{fmt.Errorf("tls: %w", x509.HostnameError{Certificate: &x509.Certificate{}}), false},
		{errors.New("server refused TLS connection"), false},
		{fmt.Errorf("tls: %w", &net.OpError{Op: "remote error", Err: errors.New("bad certificate")}), false},
		{context.DeadlineExceeded, true}, {context.Canceled, true}, {net.ErrClosed, true}, {io.EOF, true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true}, {&net.DNSError{Err: "no such host"}, true},
	} {
		if got := mayPass(tc.err); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
}
