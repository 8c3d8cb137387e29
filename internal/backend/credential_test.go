package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
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
		l := loginTo(t, "host=a user=u sslmode=disable", func(user, password string) string {
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
	l := loginTo(t, "host=a sslmode=disable", func(string, string) string { tried++; return "28P01" })
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
	l := loginTo(t, "host=a sslmode=disable", func(string, string) string { tried++; return "53300" })
	l.Credentials = inTurn("1", "2")
	if _, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil); tried != 1 || err == nil {
		t.Errorf("%d attempts: %v", tried, err)
	}
}

func TestACredentialThatCannotBeHadYetIsWaitedForInTheSameLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var tried []string
		l := loginTo(t, "host=a sslmode=disable connect_timeout=60", func(_, password string) string {
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

func TestATokenIsNotSentInTheClear(t *testing.T) {
	token := credentials.Static(credentials.Credential{Password: credentials.NewSecret("token"), Bearer: true})
	for _, mode := range []string{"disable", "prefer", "allow", "require"} {
		l := loginTo(t, "host=a sslmode="+mode, func(string, string) string { t.Errorf("%s: it was sent", mode); return "" })
		l.Credentials = token
		if _, err := l.Probe(t.Context(), topology.Endpoint{Host: "a", Port: 5432}, nil); err == nil {
			t.Errorf("%s: logged in", mode)
		}
		cfg, err := with(l.config(topology.Endpoint{Host: "a", Port: 5432}, nil), must(token.Credential(t.Context(), credentials.Target{}, nil)))
		if mode == "disable" {
			if err == nil || !strings.Contains(err.Error(), "sslmode=verify-full") {
				t.Errorf("%s: %v", mode, err)
			}
			continue
		}
		if err != nil || cfg.TLSConfig == nil || slices.ContainsFunc(cfg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.TLSConfig == nil }) {
			t.Errorf("%s: a way without TLS is left; %v", mode, err)
		}
	}
}

func must(c *credentials.Credential, _ error) *credentials.Credential { return c }

func TestAHostOutsideTheClusterGetsNothing(t *testing.T) {
	l := loginTo(t, "host=app.cluster-xyz.eu-west-1.rds.amazonaws.com,10.0.0.1 port=5432,6432 sslmode=disable", func(string, string) string { return "" })
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
