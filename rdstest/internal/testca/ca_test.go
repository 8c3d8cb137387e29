package testca_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/rdstest/internal/testca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCA(t *testing.T) *testca.CA {
	t.Helper()
	ca, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// handshake reports what each end of a TLS connection says to the other's certificate.
func handshake(client, server *tls.Config) (clientErr, serverErr error) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	accepted := make(chan error, 1)
	go func() {
		conn := tls.Server(there, server)
		err := conn.Handshake()
		// The client sees a refusal of its certificate only when it reads.
		_ = there.SetDeadline(time.Now().Add(10 * time.Second))
		if err == nil {
			_, err = conn.Write([]byte{1})
		}
		accepted <- err
	}()
	conn := tls.Client(here, client)
	_ = here.SetDeadline(time.Now().Add(10 * time.Second))
	clientErr = conn.Handshake()
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	if clientErr != nil {
		_ = here.Close()
	}
	return clientErr, <-accepted
}

func TestServersAreTrustedForTheirNamesAlone(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	cert, err := ca.Issue(
		[]string{"db1.c1.eu-central-1.rds.amazonaws.com", "*.cluster.example"},
		[]netip.Addr{netip.MustParseAddr("127.3.1.2"), netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:127.3.1.3")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		roots *x509.CertPool
		want  bool
	}{
		{"db1.c1.eu-central-1.rds.amazonaws.com", ca.Pool(), true},
		{"any.cluster.example", ca.Pool(), true},
		{"127.3.1.2", ca.Pool(), true},
		{"127.3.1.3", ca.Pool(), true},
		{"::1", ca.Pool(), true},
		{"db2.c1.eu-central-1.rds.amazonaws.com", ca.Pool(), false},
		{"a.b.cluster.example", ca.Pool(), false},
		{"127.3.1.4", ca.Pool(), false},
		{"any.cluster.example", other.Pool(), false},
	} {
		clientErr, _ := handshake(
			&tls.Config{RootCAs: c.roots, ServerName: c.name},
			&tls.Config{Certificates: []tls.Certificate{cert}})
		if got := clientErr == nil; got != c.want {
			t.Errorf("%s: trusted %t, want %t (%v)", c.name, got, c.want, clientErr)
		}
	}
}

func TestClientsAreKnownByTheirCommonName(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	serverCert, err := ca.Issue([]string{"db.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		issue func() (tls.Certificate, error)
		want  bool
	}{
		"its own":            {func() (tls.Certificate, error) { return ca.IssueClient("app") }, true},
		"another's":          {func() (tls.Certificate, error) { return other.IssueClient("app") }, false},
		"that of a server":   {func() (tls.Certificate, error) { return ca.Issue([]string{"app"}, nil) }, false},
		"no certificate":     {func() (tls.Certificate, error) { return tls.Certificate{}, nil }, false},
		"the name of nobody": {func() (tls.Certificate, error) { return ca.IssueClient("") }, true},
	} {
		cert, err := c.issue()
		if err != nil {
			t.Fatal(err)
		}
		client := &tls.Config{RootCAs: ca.Pool(), ServerName: "db.example", Certificates: []tls.Certificate{cert}}
		server := &tls.Config{
			Certificates: []tls.Certificate{serverCert},
			ClientCAs:    ca.Pool(),
			ClientAuth:   tls.RequireAndVerifyClientCert,
		}
		if _, serverErr := handshake(client, server); (serverErr == nil) != c.want {
			t.Errorf("%s: %v", name, serverErr)
		}
		if name == "its own" && cert.Leaf.Subject.CommonName != "app" {
			t.Errorf("common name %q, want app", cert.Leaf.Subject.CommonName)
		}
	}
}

func TestPEMIsTheAuthority(t *testing.T) {
	ca := newCA(t)
	block, rest := pem.Decode(ca.PEM())
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		t.Fatalf("not one certificate: %q", ca.PEM())
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.PEM()) || !pool.Equal(ca.Pool()) {
		t.Error("PEM and Pool hold different certificates")
	}
	now := time.Now()
	for _, at := range []time.Time{now.Add(-59 * time.Minute), now.Add(24 * time.Hour)} {
		if at.Before(root.NotBefore) || at.After(root.NotAfter) {
			t.Errorf("valid from %v to %v, which leaves out %v", root.NotBefore, root.NotAfter, at)
		}
	}
}
