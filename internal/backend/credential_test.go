package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/topology"
)

// loginTo is a Login with a server that is a function: it gets a password and answers with an SQLSTATE, or "".
func loginTo(t *testing.T, dsn string, answer func(user, password string) string) *Login {
	t.Helper()
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serve(server, answer)
		return client, nil
	}
	return NewLogin(cfg, topology.WantAny, nil)
}

func serve(conn net.Conn, answer func(user, password string) string) {
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	start, err := b.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if _, ok := start.(*pgproto3.SSLRequest); ok {
		_, _ = conn.Write([]byte("N"))
		if start, err = b.ReceiveStartupMessage(); err != nil {
			return
		}
	}
	user := start.(*pgproto3.StartupMessage).Parameters["user"]
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return
	}
	msg, err := b.Receive()
	if err != nil {
		return
	}
	if code := answer(user, msg.(*pgproto3.PasswordMessage).Password); code != "" {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"})
	} else {
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
	_ = b.Flush()
	_, _ = b.Receive()
}

// inTurn is a provider that gives one password after the other.
func inTurn(passwords ...string) credentials.Provider {
	return credentials.Func(func(_ context.Context, _ credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
		if len(refused) == len(passwords) {
			return nil, credentials.ErrExhausted
		}
		return &credentials.Credential{User: "clone", Password: credentials.NewSecret(passwords[len(refused)])}, nil
	})
}

func TestWhatIsRefusedIsReplacedAtOnce(t *testing.T) {
	for _, code := range []string{"28P01", "28000"} {
		var tried []string
		l := loginTo(t, "host=a user=u sslmode=disable require_auth=password", func(user, password string) string {
			if tried = append(tried, user+" "+password); password == "third" {
				return ""
			}
			return code
		})
		l.Credentials = inTurn("first", "second", "third")
		pg, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = pg.Close(t.Context())
		if !slices.Equal(tried, []string{"clone first", "clone second", "clone third"}) {
			t.Errorf("%s: %q", code, tried)
		}
	}
}

func TestAttemptsWithCredentialsAreBounded(t *testing.T) {
	tried := 0
	l := loginTo(t, "host=a sslmode=disable require_auth=password", func(string, string) string { tried++; return "28P01" })
	l.Credentials = inTurn("1", "2", "3", "4", "5", "6", "7", "8")
	_, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil)
	var refused *topology.LoginRefusedError
	var pg *pgconn.PgError
	if tried != maxRefused || !errors.As(err, &refused) || !errors.As(err, &pg) || pg.Code != "28P01" {
		t.Errorf("after %d attempts: %v", tried, err)
	}
	tried = 0
	l.Credentials = inTurn("same", "same")
	if _, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil); tried != 1 || err == nil {
		t.Errorf("the same was tried %d times: %v", tried, err)
	}
}

func TestOtherErrorsAreNoneOfTheCredentials(t *testing.T) {
	tried := 0
	l := loginTo(t, "host=a sslmode=disable require_auth=password", func(string, string) string { tried++; return "53300" })
	l.Credentials = inTurn("1", "2")
	if _, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil); tried != 1 || err == nil {
		t.Errorf("%d attempts: %v", tried, err)
	}
}

func TestACredentialThatCannotBeHadYetIsWaitedForInTheSameLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var tried []string
		l := loginTo(t, "host=a sslmode=disable require_auth=password connect_timeout=60", func(_, password string) string {
			if tried = append(tried, password); password == "second" {
				return ""
			}
			return "28P01"
		})
		l.Credentials = credentials.Func(func(_ context.Context, _ credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
			switch {
			case len(refused) == 0:
				return &credentials.Credential{Password: credentials.NewSecret("first")}, nil
			case time.Since(begin) < 10*time.Second:
				return nil, &credentials.UnavailableError{Err: errors.New("away")}
			}
			return &credentials.Credential{Password: credentials.NewSecret("second")}, nil
		})
		pg, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = pg.Close(t.Context())
		if !slices.Equal(tried, []string{"first", "second"}) {
			t.Errorf("%q", tried)
		}
		l.Credentials = credentials.Func(func(context.Context, credentials.Target, []credentials.Refusal) (*credentials.Credential, error) {
			return nil, &credentials.UnavailableError{Err: errors.New("away")}
		})
		var busy *topology.BusyError
		if _, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil); !errors.As(err, &busy) {
			t.Errorf("an instance is blamed for AWS: %v", err)
		}
	})
}

// Of several hosts those are left that prove who they are.
func TestATokenGoesToVerifiedHostsOnly(t *testing.T) {
	verified, any := &tls.Config{ServerName: "b"}, &tls.Config{InsecureSkipVerify: true}
	cfg := &pgconn.Config{Host: "a", Port: 1, TLSConfig: any, Fallbacks: []*pgconn.FallbackConfig{{Host: "a", Port: 1}, {Host: "b", Port: 2, TLSConfig: verified}, {Host: "b", Port: 2}}}
	if err := Guard(cfg, true); err != nil || cfg.Host != "b" || cfg.Port != 2 || cfg.TLSConfig != verified || len(cfg.Fallbacks) != 0 {
		t.Errorf("%v, %+v", err, cfg)
	}
}

func TestAHostOutsideTheClusterGetsNothing(t *testing.T) {
	l := loginTo(t, "host=app.cluster-xyz.eu-west-1.rds.amazonaws.com,10.0.0.1 port=5432,6432 sslmode=disable require_auth=password", func(string, string) string { return "" })
	l.HostPattern = "?.xyz.eu-west-1.rds.amazonaws.com"
	asked := 0
	l.Credentials = credentials.Func(func(context.Context, credentials.Target, []credentials.Refusal) (*credentials.Credential, error) {
		asked++
		return &credentials.Credential{}, nil
	})
	for host, want := range map[string]bool{
		"app.cluster-xyz.eu-west-1.rds.amazonaws.com":       true,
		"App-1.xyz.eu-west-1.rds.amazonaws.com":             true,
		"app-1.abc.eu-west-1.rds.amazonaws.com":             false,
		"evil.example.com":                                  false,
		"evil.example.com/.xyz.eu-west-1.rds.amazonaws.com": false,
		"a.b.xyz.eu-west-1.rds.amazonaws.com":               false,
		".xyz.eu-west-1.rds.amazonaws.com":                  false,
		"10.0.0.1":                                          false, // at another port
		"":                                                  false,
	} {
		asked = 0
		pg, err := l.Probe(t.Context(), topology.Endpoint{Host: host, Port: 5432}, nil)
		if err == nil {
			_ = pg.Close(t.Context())
		}
		if got := asked > 0; got != want || want != (err == nil) {
			t.Errorf("%q: %v, want %v; %v", host, got, want, err)
		}
	}
}

func TestTLSIsOfThisDecade(t *testing.T) {
	cfg, err := pgconn.ParseConfig("host=a,b sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig.MinVersion = tls.VersionTLS10
	l := NewLogin(cfg, topology.WantAny, nil)
	for _, h := range l.hosts {
		if way := l.config(h.endpoint, nil).TLSConfig; way.MinVersion != tls.VersionTLS12 || way.ClientSessionCache == nil {
			t.Errorf("%v: %x", h.endpoint, way.MinVersion)
		}
	}
}

// Whoever asks for a password in the clear gets it if it is the server, by its certificate, or if that is wished.
func TestACredentialInTheClearIsForVerifiedServers(t *testing.T) {
	for _, c := range []struct {
		dsn, host string
		bearer    bool
		want      string // "": it is sent
	}{
		{"host=a sslmode=disable", "a", false, "sslmode=verify-full"},
		{"host=a sslmode=prefer", "a", false, "sslmode=verify-full"},
		{"host=a sslmode=disable require_auth=!md5", "a", false, "sslmode=verify-full"},
		{"host=a sslmode=disable require_auth=password", "a", false, ""},
		{"host=/tmp", "/tmp", false, ""},
		{"host=a sslmode=disable", "a", true, "sslmode=verify-full"},
		{"host=a sslmode=allow", "a", true, "sslmode=verify-full"},
		{"host=a sslmode=prefer", "a", true, "sslmode=verify-full"},
		{"host=a sslmode=require", "a", true, "sslmode=verify-full"},
		{"host=a sslmode=disable require_auth=password", "a", true, "sslmode=verify-full"},
	} {
		var tried atomic.Int32
		l := loginTo(t, c.dsn, func(string, string) string { tried.Add(1); return "" })
		l.Credentials = credentials.Static(credentials.Credential{User: "u", Password: credentials.NewSecret("confidential"), Bearer: c.bearer})
		pg, err := l.Probe(t.Context(), topology.Endpoint{Host: c.host, Port: 5432}, nil)
		if err == nil {
			_ = pg.Close(t.Context())
		}
		if c.want == "" && (err != nil || tried.Load() != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || tried.Load() != 0) {
			t.Errorf("%s, a token: %v: it was sent %d times, %v", c.dsn, c.bearer, tried.Load(), err)
		}
	}
}

func TestWhichConnectionsAreVerified(t *testing.T) {
	roots := x509.NewCertPool()
	peer := func([][]byte, [][]*x509.Certificate) error { return nil }
	for name, c := range map[string]struct {
		cfg  *tls.Config
		want bool
	}{
		"none":                              {nil, false},
		"verify-full":                       {&tls.Config{ServerName: "a"}, true},
		"require":                           {&tls.Config{InsecureSkipVerify: true}, false},
		"verify-ca":                         {&tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: peer, RootCAs: roots}, true},
		"verify-ca by any public authority": {&tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: peer}, false},
		"a check of one's own":              {&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return nil }}, true},
	} {
		if got := Verifies(c.cfg); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
