package pooler_test

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

// verifierOf is what PostgreSQL would keep of a password.
func verifierOf(t testing.TB, password, salt string, iterations int) string {
	t.Helper()
	salted, err := pbkdf2.Key(sha256.New, password, []byte(salt), iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(sum(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64([]byte(salt)), b64(stored[:]), b64(sum(salted, "Server Key")))
}

// withoutPasswords are passwords with which somebody without one might try to log in.
var withoutPasswords = []string{"", " ", "\u00ad", "********", "null", "md5", "SCRAM-SHA-256$"}

// A user without a password has no password login, whatever other ways in the configuration has.
func TestAUserWithoutAPasswordHasNoPasswordLogin(t *testing.T) {
	ours := newAuthority(t)
	aws := fakeaws.StartInEnvironment(t)
	tokens := rdstest.Start(t, rdstest.Config{IAM: aws.VerifyToken, Readers: -1, Flavor: rdstest.Replication})
	for name, c := range map[string]struct {
		cluster *rdstest.Cluster
		change  func(*pooler.Config)
	}{
		"SCRAM":           {shared, func(*pooler.Config) {}},
		"auth_query":      {shared, withAuthQuery(t, "SELECT 'listed', '"+verifierOf(t, "", "salt", 4096)+"' WHERE $1::text IS NOT NULL")},
		"cleartext, IAM":  {tokens, func(c *pooler.Config) { c.Listeners[0].IAMAuth = pooler.IAMAllowed }},
		"IAM is required": {tokens, func(c *pooler.Config) { c.Listeners[0].IAMAuth = pooler.IAMRequired }},
	} {
		t.Run(name, func(t *testing.T) {
			var certified string
			s, addr := start(t, c.cluster, c.cluster.DSN(), func(cfg *pooler.Config) {
				withServerCert(t, &cfg.Listeners[0])
				c.change(cfg)
				cfg.Users = map[string]pooler.User{"listed": {}, "other": {Password: "pw"}}
				l := pooler.Listener{Address: "127.0.0.1:0", Login: pooler.LoginCert}
				certified = withClientCerts(t, &l, ours) + ours.sign(t, "listed", "", time.Hour)
				cfg.Listeners = append(cfg.Listeners, l)
			})
			for _, password := range withoutPasswords {
				if err := loginAs(t, addr, "listed", password, "sslmode=require"); code(err) != "28P01" {
					t.Errorf("password %q: %v", password, err)
				}
			}
			addrs, err := s.Addrs(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := loginAs(t, addrs[1], "listed", "", certified); err != nil {
				t.Errorf("with its certificate: %v", err)
			}
		})
	}
}

// withServerCert has a listener speak TLS.
func withServerCert(t testing.TB, l *pooler.Listener) {
	t.Helper()
	cert, _ := certificate(t)
	l.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
}

// fileOf is a file with a text in it.
func fileOf(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What an auth_query gives is a verifier of PostgreSQL's, or nobody logs in by it.
func TestOnlyAVerifierLetsIn(t *testing.T) {
	good := verifierOf(t, "pw", "salt", 4096)
	part := strings.Split(good, "$")
	keys := strings.Split(part[2], ":")
	for name, sql := range map[string]string{
		"NULL":                "NULL::text",
		"empty":               "''",
		"masked":              "'********'",
		"plain text":          "'pw'",
		"MD5":                 "'md5' || md5('pw' || $1)",
		"no keys":             "'SCRAM-SHA-256$'",
		"empty keys":          "'SCRAM-SHA-256$4096:" + base64.StdEncoding.EncodeToString([]byte("salt")) + "$:'",
		"a short key":         "'SCRAM-SHA-256$" + part[1] + "$AA==:" + keys[1] + "'",
		"no salt":             "'SCRAM-SHA-256$4096:$" + part[2] + "'",
		"a huge salt":         "'SCRAM-SHA-256$4096:" + strings.Repeat("QUFB", 2000) + "$" + part[2] + "'",
		"no iterations":       "'SCRAM-SHA-256$0:c2FsdA==$" + part[2] + "'",
		"negative iterations": "'SCRAM-SHA-256$-4096:c2FsdA==$" + part[2] + "'",
		"signed iterations":   "'SCRAM-SHA-256$+4096:c2FsdA==$" + part[2] + "'",
		"too many iterations": "'" + verifierOf(t, "pw", "salt", 100001) + "'",
		"billions":            "'SCRAM-SHA-256$4000000000:c2FsdA==$" + part[2] + "'",
		"a third part":        "'" + good + "$x'",
		"a third key":         "'" + good + ":x'",
		"no password":         "'" + verifierOf(t, "", "salt", 4096) + "'",
		"a trailing newline":  "'" + good + "' || chr(10)",
	} {
		t.Run(name, func(t *testing.T) {
			change := withAuthQuery(t, "SELECT $1::text, "+sql)
			var log *printed.Buffer
			_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
				change(c)
				log = logTo(c)
			})
			for _, password := range append([]string{"pw", strings.Trim(sql, "'")}, withoutPasswords...) {
				if err := loginAs(t, addr, "somebody", strings.ReplaceAll(password, "'", ""), "sslmode=disable"); code(err) != "28P01" {
					t.Errorf("password %q: %v", password, err)
				}
			}
			if strings.Contains(log.String(), part[2]) {
				t.Error("the verifier is in the log")
			}
		})
	}
	change := withAuthQuery(t, "SELECT $1::text, '"+verifierOf(t, "pw", "salt", 100000)+"'")
	_, addr := start(t, shared, shared.DSN(), change)
	if err := loginAs(t, addr, "somebody", "pw", "sslmode=disable"); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// A file that gives a user something else than a password is refused, and nothing of it is shown.
func TestAFileGivesAPasswordOrNone(t *testing.T) {
	good := verifierOf(t, "pw", "salt", 4096)
	for name, c := range map[string]struct{ user, want string }{
		"an empty password":    {`{password: ""}`, "[11:21] a value is missing here"},
		"nothing behind it":    {"\n    password:", "[12:5] nothing stands behind this key"},
		"an empty file":        {"{password_file: " + fileOf(t, "\n") + "}", "users.alice.password_file"},
		"MD5":                  {"{password: md53175bce1d3201d16594cebf9d7eb3f9d}", "users.alice.password"},
		"MD5 in a file":        {"{password_file: " + fileOf(t, "md53175bce1d3201d16594cebf9d7eb3f9d\n") + "}", "users.alice.password"},
		"a broken verifier":    {"{password: SCRAM-SHA-256$4096:c2FsdA==$" + strings.Repeat("x", 9) + "}", "users.alice.password"},
		"too many iterations":  {"{password: '" + strings.Replace(good, "4096", "100001", 1) + "'}", "users.alice.password"},
		"of no password":       {"{password: '" + verifierOf(t, "", "salt", 4096) + "'}", "users.alice.password"},
		"another mechanism":    {"{password: SCRAM-SHA-512$4096:c2FsdA==$eA==:eA==}", "users.alice.password"},
		"a soft hyphen":        {`{password: "\u00ad"}`, ""},
		"a verifier":           {"{password: '" + good + "'}", ""},
		"begins as MD5 does":   {"{password: md5isold}", ""},
		"a password in a file": {"{password_file: " + fileOf(t, "pw\n") + "}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := pooler.ParseConfig([]byte(strings.Replace(sound, "\n    password: wonderland", " "+c.user, 1)))
			if err == nil {
				_, err = pooler.New(cfg)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "3175bce") || strings.Contains(err.Error(), "c2FsdA")) {
				t.Errorf("the error shows it: %v", err)
			}
		})
	}
}

// A user who is listed with nothing at all has to have a way in.
func TestAUserIsListedWithoutAPassword(t *testing.T) {
	text := strings.Replace(sound, "\n    password: wonderland", " {}", 1)
	for name, c := range map[string]struct {
		change func(*pooler.Config)
		want   string
	}{
		"no way at all":  {func(*pooler.Config) {}, "nobody could log in"},
		"passwords only": {func(c *pooler.Config) { c.Users["bob"] = pooler.User{Password: "pw"} }, `user "alice" has no password`},
		"trust":          {func(c *pooler.Config) { c.Listeners[0].Login = pooler.LoginTrust }, ""},
		"tokens": {func(c *pooler.Config) {
			withServerCert(t, &c.Listeners[0])
			c.Listeners[0].IAMAuth = pooler.IAMRequired
		}, ""},
		"certificates": {func(c *pooler.Config) {
			l := &c.Listeners[0]
			l.Login = pooler.LoginCert
			withClientCerts(t, l, newAuthority(t))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := pooler.ParseConfig([]byte(strings.Replace(text, ".com/app", ".com/app?sslmode=verify-full", 1)))
			if err != nil {
				t.Fatal(err)
			}
			c.change(&cfg)
			_, err = pooler.New(cfg)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A secret without a password lets nobody in.
func TestASecretWithoutAPasswordLetsNobodyIn(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	for i, password := range []string{`""`, "null", "{}", "[]", "false"} {
		id := fmt.Sprintf("prod/alice%d", i)
		aws.CreateSecret(id, `{"username":"alice","password":`+password+`}`)
		_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
			c.Users = map[string]pooler.User{"alice": {Secret: &awscreds.SecretsConfig{SecretID: id}}}
		})
		for _, try := range append(withoutPasswords, password) {
			if err := loginAs(t, addr, "alice", strings.Trim(try, `"`), "sslmode=disable"); code(err) != "57P03" && code(err) != "28P01" {
				t.Errorf("%s: password %q: %v", password, try, err)
			}
		}
	}
}
