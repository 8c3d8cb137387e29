package pooler_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"github.com/fairlead-go/fairlead/pooler"
)

// stepwise is a client that logs in a step at a time.
type stepwise struct {
	t    *testing.T
	conn net.Conn
	f    *pgproto3.Frontend
	user string
	talk *scram.ClientConversation
	cert *tls.Certificate

	challenge string
	err       error
}

// steps are those of a login, each after what the one before has led to.
var steps = []string{"connected", "encrypted", "started", "challenged"}

func newStepwise(t *testing.T, addr net.Addr, user, password string, cert *tls.Certificate) *stepwise {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return &stepwise{t: t, conn: conn, user: user, talk: c.NewConversation(), cert: cert}
}

// to goes on up to a step; past the last one it is the end of the login.
func (s *stepwise) to(from, step int) {
	for ; from < step && s.err == nil; from++ {
		switch from {
		case 0:
			s.err = s.encrypt()
		case 1:
			s.f = pgproto3.NewFrontend(s.conn, s.conn)
			s.f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": s.user, "database": "app"}})
			s.err = s.f.Flush()
			s.await()
		case 2:
			s.answer("")
		case 3:
			s.answer("final")
		}
	}
}

func (s *stepwise) encrypt() error {
	if _, err := s.conn.Write(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, 80877103)); err != nil {
		return err
	}
	var b [1]byte
	if _, err := io.ReadFull(s.conn, b[:]); err != nil || b[0] != 'S' {
		return err
	}
	cfg := &tls.Config{InsecureSkipVerify: true}
	if s.cert != nil {
		cfg.Certificates = []tls.Certificate{*s.cert}
	}
	c := tls.Client(s.conn, cfg)
	s.conn = c
	return c.Handshake()
}

var errLoggedIn = errors.New("logged in")

// await takes what the pooler says next.
func (s *stepwise) await() {
	for s.err == nil {
		m, err := s.f.Receive()
		switch m := m.(type) {
		case nil:
			s.err = err
		case *pgproto3.ErrorResponse:
			s.err = fmt.Errorf("%s %s", m.Code, m.Message)
		case *pgproto3.AuthenticationSASL:
			return
		case *pgproto3.AuthenticationSASLContinue:
			s.challenge = string(m.Data)
			return
		case *pgproto3.ReadyForQuery:
			s.err = errLoggedIn
		}
	}
}

func (s *stepwise) answer(what string) {
	if what == "" {
		first, err := s.talk.Step("")
		if err != nil {
			s.t.Fatal(err)
		}
		s.f.Send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte(first)})
	} else {
		last, err := s.talk.Step(s.challenge)
		if err != nil {
			s.t.Fatal(err)
		}
		s.f.Send(&pgproto3.SASLResponse{Data: []byte(last)})
	}
	if s.err = s.f.Flush(); s.err == nil {
		s.await()
	}
}

// A client that has connected before a reload, however far it has come, logs in by what holds after it.
func TestAClientOnItsWayInLogsInByTheNewRules(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		change func(t *testing.T, cfg *pooler.Config)
		want   string // "": it comes in
	}{
		"nothing changes": {func(*testing.T, *pooler.Config) {}, ""},
		"other bounds":    {func(_ *testing.T, cfg *pooler.Config) { cfg.QueryTimeout = time.Minute }, ""},
		"another password": {func(_ *testing.T, cfg *pooler.Config) {
			cfg.Users = map[string]pooler.User{"listed": {Password: "other"}}
		}, "28P01"},
		"another user": {func(_ *testing.T, cfg *pooler.Config) { cfg.Users = map[string]pooler.User{"other": {Password: "pw"}} }, "28P01"},
		"no password": {func(t *testing.T, cfg *pooler.Config) {
			cfg.Users = map[string]pooler.User{"listed": {}, "other": {Password: "pw"}}
			cfg.Listeners = append(append([]pooler.Listener(nil), cfg.Listeners...), pooler.Listener{Address: fixed(t), Login: pooler.LoginTrust})
		}, "28P01"},
		"too many clients of his": {func(_ *testing.T, cfg *pooler.Config) {
			cfg.Users = map[string]pooler.User{"listed": {Password: "pw", MaxClients: 1}}
		}, "53300"},
		"no such listener": {func(t *testing.T, cfg *pooler.Config) {
			cfg.Listeners = []pooler.Listener{cfg.Listeners[0]}
			cfg.Listeners[0].Address = fixed(t)
		}, "57P03"},
		"certificates": {func(t *testing.T, cfg *pooler.Config) {
			cfg.Listeners = []pooler.Listener{cfg.Listeners[0]}
			cfg.Listeners[0].Login = pooler.LoginCert
			withClientCerts(t, &cfg.Listeners[0], ours)
		}, "28P01"},
		"certificates beside": {func(t *testing.T, cfg *pooler.Config) {
			cfg.Listeners = []pooler.Listener{cfg.Listeners[0]}
			withClientCerts(t, &cfg.Listeners[0], others)
		}, "28P01"},
	} {
		for step, at := range steps {
			t.Run(name+", "+at, func(t *testing.T) {
				s, addr, cfg := reloadable(t, func(cfg *pooler.Config) {
					cfg.Listeners[0].Address = fixed(t)
					withServerCert(t, &cfg.Listeners[0])
					cfg.Users = map[string]pooler.User{"listed": {Password: "pw"}}
				})
				if name == "too many clients of his" {
					connect(t, "host=127.0.0.1 port="+strings.TrimPrefix(addr.String(), "127.0.0.1:")+" user=listed password=pw dbname=app sslmode=require")
				}
				client := newStepwise(t, addr, "listed", "pw", nil)
				client.to(0, step)
				if client.err != nil {
					t.Fatal(client.err)
				}
				time.Sleep(20 * time.Millisecond) // it is accepted
				c.change(t, &cfg)
				if err := s.Reload(cfg); err != nil {
					t.Fatal(err)
				}
				client.to(step, len(steps))
				switch got := client.err; {
				case c.want == "" && !errors.Is(got, errLoggedIn), errors.Is(got, errLoggedIn) && c.want != "":
					t.Errorf("%v, want %q", got, c.want)
				case c.want != "" && !strings.HasPrefix(got.Error(), c.want) && !(step == 0 && strings.HasPrefix(name, "certificates")): // the handshake fails
					t.Errorf("%v, want %q", got, c.want)
				}
			})
		}
	}
}

// A certificate that an authority has signed which is not trusted any more is good for nothing, though the handshake took it.
func TestACertificateIsOfAnAuthorityOfNow(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	for _, now := range []*authority{ours, others} {
		s, addr, cfg := reloadable(t, func(cfg *pooler.Config) {
			l := &cfg.Listeners[0]
			l.Address, l.Login = fixed(t), pooler.LoginCert
			withClientCerts(t, l, ours)
		})
		client := newStepwise(t, addr, "app", "", pairOf(t, ours.sign(t, "app", "", time.Hour)))
		client.to(0, 1)
		cfg.Listeners = []pooler.Listener{cfg.Listeners[0]}
		cfg.Listeners[0].TLS = cfg.Listeners[0].TLS.Clone()
		cfg.Listeners[0].TLS.ClientCAs = x509.NewCertPool()
		cfg.Listeners[0].TLS.ClientCAs.AddCert(now.cert)
		if err := s.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		client.to(1, 2)
		if in := errors.Is(client.err, errLoggedIn); in != (now == ours) {
			t.Errorf("%v", client.err)
		}
	}
}

// pairOf reads what authority.sign has written.
func pairOf(t *testing.T, params string) *tls.Certificate {
	t.Helper()
	var cert, key string
	for _, p := range strings.Fields(params) {
		name, path, _ := strings.Cut(p, "=")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if name == "sslcert" {
			cert = string(text)
		} else {
			key = string(text)
		}
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}
