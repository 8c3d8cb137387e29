package driver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
)

// authority issues certificates into files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.issue(t, name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes name.crt and name.key; the first is the authority's own.
func (a *authority) issue(t *testing.T, name string, c *x509.Certificate) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.next++
	c.SerialNumber, c.Subject = big.NewInt(a.next), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, private
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		a.key = private
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	writeFile(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	return cert, key
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// withTLS is a server that ends TLS itself, so that channel binding and client certificates can work, which no front lets through.
func withTLS(t *testing.T, hba string) (c *rdstest.Cluster, dsn url.URL, ca *authority) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("its servers listen on 127.0.0.2 and above, which only Linux has without being told")
	}
	c = rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: -1})
	admin, err := c.AdminConn(testContext(t), c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	var dir, hbaFile string
	if err := admin.QueryRow(testContext(t), "select current_setting('data_directory'), current_setting('hba_file')").Scan(&dir, &hbaFile); err != nil {
		t.Fatal(err)
	}
	host := fmt.Sprintf("127.201.%d.%d", os.Getpid()/250%250+1, os.Getpid()%250+1)
	ca = newAuthority(t, t.TempDir(), "authority")
	cert, key := ca.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(host)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"tls.crt": cert, "tls.key": key, "ca.crt": filepath.Join(ca.dir, "authority.crt")} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		writeFile(t, to, b)
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	rules, err := os.ReadFile(hbaFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hbaFile, append(rules, hba...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		"alter system set listen_addresses = '" + host + "'", "alter system set ssl = on", "alter system set ssl_cert_file = 'tls.crt'",
		"alter system set ssl_key_file = 'tls.key'", "alter system set ssl_ca_file = 'ca.crt'",
		"create role certified login", "create role plain login password 'secret'", "create role bound login password 'secret'",
	} {
		if _, err := admin.Exec(testContext(t), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := c.Restart(testContext(t), c.Writer()); err != nil {
		t.Fatal(err)
	}
	return c, url.URL{Scheme: "postgres", Host: net.JoinHostPort(host, fmt.Sprint(admin.Config().Port)), Path: admin.Config().Database}, ca
}

func TestChannelBindingAndClientCertificatesOutliveTheServer(t *testing.T) {
	c, server, ca := withTLS(t, "hostssl all certified all cert\nhostssl all plain all password\nhostssl all all all scram-sha-256\n")
	strangers := newAuthority(t, t.TempDir(), "strangers")
	client := func() *x509.Certificate {
		return &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	cert, key := ca.issue(t, "certified", client())
	strangeCert, strangeKey := strangers.issue(t, "certified", client())
	root := filepath.Join(ca.dir, "authority.crt")
	dsn := func(user, password string, params ...string) string {
		u, q := server, url.Values{"sslmode": {"verify-full"}, "sslrootcert": {root}}
		for i := 0; i < len(params); i += 2 {
			q.Set(params[i], params[i+1])
		}
		u.User, u.RawQuery = url.UserPassword(user, password), q.Encode()
		return u.String()
	}
	for user, d := range map[string]string{
		"bound":     dsn("bound", "secret", "channel_binding", "require"),
		"certified": dsn("certified", "", "sslcert", cert, "sslkey", key),
	} {
		t.Run(user, func(t *testing.T) {
			db := open(t, c, d)
			db.SetMaxOpenConns(1)
			for range 2 {
				var is string
				var encrypted bool
				if err := db.QueryRowContext(testContext(t), "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()").Scan(&is, &encrypted); err != nil {
					t.Fatal(err)
				}
				if is != user || !encrypted {
					t.Errorf("logged in as %s, encrypted %t", is, encrypted)
				}
				if err := c.Restart(testContext(t), c.Writer()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for name, x := range map[string]struct{ dsn, want string }{
		"a server that asks for the password itself": {dsn("plain", "secret", "channel_binding", "require"), "channel binding"},
		"no certificate":                     {dsn("certified", "secret"), "certificate"},
		"a certificate of another authority": {dsn("certified", "", "sslcert", strangeCert, "sslkey", strangeKey), "certificate"},
		"an authority of other servers":      {dsn("bound", "secret", "sslrootcert", strangeCert), "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			err := open(t, c, x.dsn).PingContext(testContext(t))
			if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}
