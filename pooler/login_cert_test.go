package pooler_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/pooler"
)

// authority signs clients' certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// file is where the authority's own certificate is.
func (a *authority) file(t *testing.T) string { return pemFile(t, "CERTIFICATE", a.cert.Raw) }

// sign makes a certificate, and says as parameters of libpq where it is.
func (a *authority) sign(t *testing.T, cn, uri string, ends time.Duration, dns ...string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(ends),
		DNSNames: dns, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if uri != "" {
		u, err := neturl.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*neturl.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return " sslcert=" + pemFile(t, "CERTIFICATE", der) + " sslkey=" + pemFile(t, "EC PRIVATE KEY", private)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// withClientCerts has a listener ask for certificates of an authority.
func withClientCerts(t *testing.T, l *pooler.Listener, a *authority) (sslmode string) {
	t.Helper()
	cert, ca := certificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	l.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	l.Encryption = pooler.EncryptionRequired
	return "sslmode=verify-full sslrootcert=" + ca
}

func TestACertificateSpeaksForItsUser(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	const hour = time.Hour
	for _, c := range []struct {
		name, user, cert string
		rules            []pooler.CertRule
		in               bool
	}{
		{"the DSN's user", "app", ours.sign(t, "app", "", hour), nil, true},
		{"one of users", "listed", ours.sign(t, "listed", "", hour), nil, true},
		{"nobody's", "mallory", ours.sign(t, "mallory", "", hour), nil, false},
		{"somebody else's", "app", ours.sign(t, "listed", "", hour), nil, false},
		{"of another authority", "app", others.sign(t, "app", "", hour), nil, false},
		{"an old one", "app", ours.sign(t, "app", "", -time.Minute), nil, false},
		{"none", "app", "", nil, false},
		{"a mapped name", "alice", ours.sign(t, "laptop", "", hour), []pooler.CertRule{{Field: pooler.CertCN, Name: "laptop", User: "alice"}}, true},
		{"a name that is not mapped", "app", ours.sign(t, "app", "", hour), []pooler.CertRule{{Field: pooler.CertCN, Name: "laptop", User: "alice"}}, false},
		{"a part of a name", "alice", ours.sign(t, "laptop2", "", hour), []pooler.CertRule{{Field: pooler.CertCN, Name: "/laptop", User: "alice"}}, false},
		{"a group", "orders", ours.sign(t, "", "", hour, "x.example.org", "orders.example.com"), []pooler.CertRule{{Field: pooler.CertDNS, Name: `/([a-z]+)\.example\.com`, User: `\1`}}, true},
		{"another group", "app", ours.sign(t, "", "", hour, "orders.example.com"), []pooler.CertRule{{Field: pooler.CertDNS, Name: `/([a-z]+)\.example\.com`, User: `\1`}}, false},
		{"a SPIFFE ID", "orders", ours.sign(t, "", "spiffe://example.com/sa/orders", hour), []pooler.CertRule{{Field: pooler.CertURI, Name: "spiffe://example.com/sa/orders", User: "orders"}}, true},
		{"the wrong field", "orders", ours.sign(t, "spiffe://example.com/sa/orders", "", hour), []pooler.CertRule{{Field: pooler.CertURI, Name: "spiffe://example.com/sa/orders", User: "orders"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sslmode string
			_, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
				l := &cfg.Listeners[0]
				l.Login, l.CertMap = pooler.LoginCert, c.rules
				sslmode = withClientCerts(t, l, ours)
				cfg.Users = map[string]pooler.User{"listed": {}}
			})
			err := loginAs(t, addr, c.user, "", sslmode+c.cert)
			if (err == nil) != c.in {
				t.Errorf("%v", err)
			}
			if err != nil && code(err) != "" && code(err) != "28P01" {
				t.Errorf("refused with %v", err)
			}
			if c.in {
				if err := loginAs(t, addr, c.user, "", "sslmode=disable"); code(err) != "28000" {
					t.Errorf("without TLS: %v", err)
				}
			}
		})
	}
}

func TestACertificateIsAskedForBesideAPassword(t *testing.T) {
	ours := newAuthority(t)
	var sslmode string
	_, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
		cfg.Users = map[string]pooler.User{"listed": {Password: "pw"}}
		sslmode = withClientCerts(t, &cfg.Listeners[0], ours)
	})
	cert := ours.sign(t, "whoever", "", time.Hour)
	if err := loginAs(t, addr, "listed", "pw", sslmode+cert); err != nil {
		t.Error(err)
	}
	if err := loginAs(t, addr, "listed", "wrong", sslmode+cert); code(err) != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
	if err := loginAs(t, addr, "listed", "pw", sslmode); err == nil {
		t.Error("no certificate was needed")
	}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=listed dbname=app %s", addr.(*net.TCPAddr).Port, sslmode)
	if got, err := psql(t, conninfo+cert, "select current_user", "PGPASSWORD=pw"); err != nil || got != "app" {
		t.Errorf("psql: %s, %v", got, err)
	}
	if got, err := psql(t, conninfo, "select 1", "PGPASSWORD=pw"); err == nil {
		t.Errorf("psql without a certificate: %s", got)
	}
}

func TestAFileSaysWhoseCertificatesAreTaken(t *testing.T) {
	cert, _ := certificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("CERT", pemFile(t, "CERTIFICATE", cert.Certificate[0]), "KEY", pemFile(t, "PRIVATE KEY", key), "CA", newAuthority(t).file(t)).Replace(`
listeners:
  - address: 0.0.0.0:6432
    login: cert
    require_tls: true
    tls_cert_file: CERT
    tls_key_file: KEY
    tls_client_ca_file: CA
    cert_map:
      - {field: dns, name: '/([a-z]+)\.example\.com', user: '\1'}
clusters:
  main: {dsn: "postgres://app@db.example.com/app"}
`)
	for name, c := range map[string]struct{ change, to, want string }{
		"as it is":            {"", "", ""},
		"an unknown field":    {"field: dns", "field: email", `[10:17] field is not known`},
		"a broken expression": {"/([a-z]+)", "/([a-z]+", "[10:28] name: error parsing regexp"},
		"no group":            {"/([a-z]+)", "/[a-z]+", "no expression with a group"},
		"no encryption":       {"require_tls: true", "require_tls: false", "require_tls is needed"},
		"nobody's map":        {"login: cert", "login: trust", "127.0.0.1"},
		"no authority":        {"    tls_client_ca_file", "    # ", "who signs"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(text, c.change, c.to, 1)
			if c.change == "login: cert" {
				text, c.want = strings.Replace(text, "0.0.0.0", "127.0.0.1", 1), "cert_map is for login: cert"
			}
			cfg, err := pooler.ParseConfig([]byte(text))
			if err == nil {
				_, err = pooler.New(cfg)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
