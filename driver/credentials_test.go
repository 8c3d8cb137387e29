package driver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/internal/rdsroots"
)

const rdsHost = "app.cluster-xyz.eu-west-1.rds.amazonaws.com"

func TestCertificatesOfRDSAreTrustedWhereTheyBelong(t *testing.T) {
	quietEnv(t)
	other := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(other, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger(t)}), 0o600); err != nil {
		t.Fatal(err)
	}
	const full, ca, none, unsafe = "verify-full", "verify-ca", "no TLS", "unverified"
	for dsn, want := range map[string]struct{ mode, roots string }{
		"sslmode=verify-full":                                              {full, "rds"},
		"sslmode=verify-ca":                                                {ca, "rds"},
		"sslmode=require":                                                  {unsafe, ""},
		"sslmode=disable":                                                  {none, ""},
		"sslmode=verify-full sslrootcert=" + other:                         {full, "other"},
		"sslrootcert=rds":                                                  {full, "rds"},
		"sslrootcert=rds sslmode=require":                                  {ca, "rds"},
		"sslrootcert=rds sslmode=verify-ca":                                {ca, "rds"},
		"sslrootcert=rds sslmode=prefer":                                   {unsafe, ""},
		"auth=iam":                                                         {full, "rds"},
		"auth=iam sslmode=verify-ca":                                       {ca, "rds"},
		"auth=iam sslrootcert=rds sslmode=require":                         {ca, "rds"},
		"sslmode=verify-full host=db.example.com":                          {full, ""},
		"sslrootcert=rds host=db.example.com":                              {full, "rds"},
		"sslrootcert=" + other + " sslrootcert=rds":                        {full, "rds"},
		"sslrootcert=rds sslrootcert=" + other:                             {full, "rds"},
		"auth=iam iam_host=x.example.com":                                  {"iam_host", "rds"},
		"sslmode=verify-full sslrootcert=system":                           {full, "system"},
		"host=p.proxy-xyz.eu-west-1.rds.amazonaws.com sslmode=verify-full": {full, "rds"},
	} {
		c := mustParse(t, "host="+rdsHost+" "+dsn)
		got := c.Conn.TLSConfig
		mode := none
		switch {
		case got == nil:
		case got.ServerName == "x.example.com" && !got.InsecureSkipVerify:
			mode = "iam_host"
		case !got.InsecureSkipVerify && got.ServerName == c.Conn.Host:
			mode = full
		case got.VerifyPeerCertificate != nil:
			mode = ca
		default:
			mode = unsafe
		}
		if mode != want.mode {
			t.Errorf("%s: %s, want %s", dsn, mode, want.mode)
		}
		if got == nil {
			continue
		}
		roots := "other"
		switch {
		case got.RootCAs == nil:
			roots = ""
		case got.RootCAs.Equal(rdsroots.Pool()):
			roots = "rds"
		case want.roots == "system":
			roots = "system"
		}
		if roots != want.roots {
			t.Errorf("%s: roots %q, want %q", dsn, roots, want.roots)
		}
		again := mustParse(t, c.FormatDSN())
		if a := again.Conn.TLSConfig; a.InsecureSkipVerify != got.InsecureSkipVerify || (a.RootCAs == nil) != (got.RootCAs == nil) {
			t.Errorf("%s: formatted as %s", dsn, c.FormatDSN())
		}
		if mode == ca && got.RootCAs.Equal(rdsroots.Pool()) {
			if err := got.VerifyPeerCertificate([][]byte{stranger(t)}, nil); err == nil {
				t.Errorf("%s: a stranger's certificate is taken", dsn)
			}
		}
	}
	t.Setenv("PGSSLROOTCERT", "rds")
	for _, dsn := range []string{"host=" + rdsHost, "postgres://" + rdsHost} {
		if c := mustParse(t, dsn); c.Conn.TLSConfig.InsecureSkipVerify || !c.Conn.TLSConfig.RootCAs.Equal(rdsroots.Pool()) {
			t.Errorf("%s: PGSSLROOTCERT=rds is not heeded", dsn)
		}
	}
}

func TestParametersOfCredentialsThatDoNotGoTogether(t *testing.T) {
	quietEnv(t)
	for dsn, want := range map[string]string{
		"auth=secret":                                    "secret_id",
		"secret_id=x":                                    "auth=secret",
		"iam_host=h":                                     "auth=iam",
		"auth=iam sslmode=disable":                       "sslmode=verify-full",
		"auth=iam host=/tmp":                             "sslmode=verify-full",
		"auth=iam sslmode=allow":                         "sslmode=verify-full",
		"auth=iam sslmode=prefer":                        "sslmode=verify-full",
		"auth=iam sslmode=require":                       "sslmode=verify-full",
		"auth=iam sslmode=require host=" + rdsHost:       "sslmode=verify-full",
		"auth=iam sslmode=verify-ca host=db.example.com": "sslrootcert",
		"auth=iam_sts iam_audience=x sslmode=require":    "sslmode=verify-full",
		"auth=iam_sts":                                   "iam_audience",
		"iam_audience=x":                                 "auth=iam_sts",
		"auth=iam_sts iam_audience=x sslmode=disable":    "sslmode=verify-full",
		"auth=secret secret_id=arn:aws:s3:::x":           "",
		"auth=iam secret_id=x":                           "secret_id",
		"auth=secret secret_id=x iam_host=h":             "iam_host",
		"postgres://h?auth=iam&sslmode=disable":          "over TLS only",
	} {
		_, err := ParseConfig(dsn)
		if want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dsn, err, want)
		}
	}
	c := mustParse(t, "host="+rdsHost+" auth=secret secret_id=arn:aws:s3:::x")
	if _, err := NewConnector(c); err == nil || !strings.Contains(err.Error(), "Secrets Manager") {
		t.Errorf("%v", err)
	}
	c = mustParse(t, "host="+rdsHost+" auth=iam")
	c.Credentials = credentials.Static(credentials.Credential{})
	if _, err := NewConnector(c); err == nil || !strings.Contains(err.Error(), "Credentials and auth=iam") {
		t.Errorf("%v", err)
	}
}

// What is changed after ParseConfig is looked at too, and plain pgx gets no more than the driver does.
func TestATokenIsForVerifiedServersWhateverIsChanged(t *testing.T) {
	quietEnv(t)
	c := mustParse(t, "host="+rdsHost+" auth=iam")
	c.Conn.TLSConfig = &tls.Config{InsecureSkipVerify: true}
	if _, err := NewConnector(c); err == nil || !strings.Contains(err.Error(), "sslmode=verify-full") {
		t.Errorf("%v", err)
	}
	t.Setenv("FAIRLEAD_DISABLE", "1")
	for bearer, want := range map[bool]string{true: "sslmode=verify-full", false: ""} {
		c := mustParse(t, "host="+rdsHost+" user=app sslmode=require")
		c.Credentials = credentials.Static(credentials.Credential{User: "app", Password: credentials.NewSecret("p"), Bearer: bearer})
		pool, err := PoolConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		conn := &pgx.ConnConfig{Config: *pool.ConnConfig.Config.Copy()}
		err = pool.BeforeConnect(t.Context(), conn)
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) || want == "" && (err != nil || conn.RequireAuth != "!password") {
			t.Errorf("a token: %v: %v, require_auth=%s", bearer, err, conn.RequireAuth)
		}
	}
}

func TestATunnelIsWarnedOf(t *testing.T) {
	quietEnv(t)
	for dsn, want := range map[string]bool{
		"host=localhost auth=iam iam_host=" + rdsHost:                                                              true,
		"host=localhost auth=iam iam_host=" + rdsHost + " instance_host_pattern=?.xyz.eu-west-1.rds.amazonaws.com": false,
		"host=" + rdsHost + " auth=iam":                                                                            false,
	} {
		var log strings.Builder
		c := mustParse(t, dsn)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		if _, err := NewConnector(c); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "level=WARN"); got != want {
			t.Errorf("%s: %q", dsn, log.String())
		}
	}
}

func TestADisabledDriverStillLogsInWithCredentials(t *testing.T) {
	quietEnv(t)
	t.Setenv("FAIRLEAD_DISABLE", "1")
	c := mustParse(t, "host="+rdsHost+" user=app")
	c.Credentials = credentials.Func(func(_ context.Context, to credentials.Target, _ []credentials.Refusal) (*credentials.Credential, error) {
		return &credentials.Credential{User: to.User + "_clone", Password: credentials.NewSecret("p")}, nil
	})
	pool, err := PoolConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	conn := &pgx.ConnConfig{Config: pool.ConnConfig.Config}
	if err := pool.BeforeConnect(t.Context(), conn); err != nil || conn.User != "app_clone" || conn.Password != "p" {
		t.Errorf("%s with %s, %v", conn.User, conn.Password, err)
	}
	if _, err := NewConnector(c); err != nil {
		t.Error(err)
	}
	if _, err := ConnConfig(c); err == nil || !strings.Contains(err.Error(), "PoolConfig") {
		t.Errorf("%v", err)
	}
}

// stranger makes a certificate that nobody has heard of.
func stranger(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
