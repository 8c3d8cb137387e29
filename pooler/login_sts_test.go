package pooler_test

import (
	"crypto/tls"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsstatic "github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

const audience = "prod-orders"

// stsToken is one that a key has signed.
func stsToken(t *testing.T, key fakeaws.Key, audience string) string {
	t.Helper()
	p, err := awscreds.NewSTS(awscreds.STSConfig{Audience: audience, Config: awscreds.Config{
		Region: fakeaws.Region, AWS: &aws.Config{Credentials: awsstatic.NewStaticCredentialsProvider(key.ID, key.Secret, key.SessionToken), BaseEndpoint: aws.String(endpoint())},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	c, err := p.Credential(t.Context(), credentials.Target{Host: "127.0.0.1", Port: 5432, User: "whoever"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Password.Reveal()
}

// endpoint is the fake STS's.
func endpoint() string { return os.Getenv("AWS_ENDPOINT_URL_STS") }

// changed is a token with something else in its URL.
func changed(t *testing.T, token string, change func(u *neturl.URL, q neturl.Values)) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, awscreds.STSPrefix))
	if err != nil {
		t.Fatal(err)
	}
	u, err := neturl.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	change(u, q)
	u.RawQuery = q.Encode()
	return awscreds.STSPrefix + base64.RawURLEncoding.EncodeToString([]byte(u.String()))
}

// withRoles has a pooler take the tokens of roles.
func withRoles(t *testing.T, auth pooler.IAMAuth) (addr net.Addr, private string, log *printed.Buffer) {
	t.Helper()
	cert, ca := certificate(t)
	_, addr = start(t, shared, shared.DSN(), func(c *pooler.Config) {
		log = logTo(c)
		l := &c.Listeners[0]
		l.IAMAuth, l.TLS = auth, &tls.Config{Certificates: []tls.Certificate{cert}}
		k := c.Clusters["main"]
		k.IAMAudience, k.STSEndpoint = audience, endpoint()
		k.IAMRoles = map[string][]string{
			"arn:aws:iam::" + fakeaws.Account + ":role/of/the/team/app": {"alice", "app"},
			"arn:aws:iam::" + fakeaws.Account + ":role/idle":            {"bob"},
			"arn:aws:iam::999999999999:role/stranger":                   {"mallory"},
		}
	})
	return addr, "sslmode=verify-full sslrootcert=" + ca, log
}

func TestARoleComesInAsItsUsers(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	addr, private, log := withRoles(t, pooler.IAMRequired)
	var led atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	defer elsewhere.Close()
	app, stranger := s.NewRoleKey("app", 0), s.NewRoleKey("stranger", 0)
	good := stsToken(t, app, audience)
	set := func(name string, values ...string) string {
		return changed(t, good, func(_ *neturl.URL, q neturl.Values) { q[name] = values })
	}
	for _, c := range []struct{ name, user, token, code, reason string }{
		{"its user", "alice", good, "", ""},
		{"its other user", "app", good, "", ""},
		{"another role's user", "bob", good, "28P01", "iam_roles does not say so"},
		{"a role that is not there", "alice", stsToken(t, stranger, audience), "28P01", "iam_roles does not say so"},
		{"a role of another account", "mallory", stsToken(t, stranger, audience), "28P01", "iam_roles does not say so"},
		{"for another audience", "alice", stsToken(t, app, "prod-other"), "28P01", "STS refuses the token: SignatureDoesNotMatch"},
		{"signed by nobody", "alice", stsToken(t, fakeaws.Key{ID: "ASIANOBODY", Secret: "x"}, audience), "28P01", "InvalidClientTokenId"},
		{"another signature", "alice", set("X-Amz-Signature", strings.Repeat("0", 64)), "28P01", "SignatureDoesNotMatch"},
		{"another host", "alice", changed(t, good, func(u *neturl.URL, _ neturl.Values) { u.Host = strings.TrimPrefix(elsewhere.URL, "http://") }), "28P01", "it is for"},
		{"a user in the URL", "alice", changed(t, good, func(u *neturl.URL, _ neturl.Values) { u.User = neturl.User("x") }), "28P01", "it is for"},
		{"another action", "alice", set("Action", "GetSessionToken"), "28P01", "something else"},
		{"an action in two spellings", "alice", set("action", "GetSessionToken"), "28P01", "not known"},
		{"an action twice", "alice", set("Action", "GetCallerIdentity", "GetSessionToken"), "28P01", "there twice"},
		{"no audience signed", "alice", set("X-Amz-SignedHeaders", "host"), "28P01", "have to be signed"},
		{"for a day", "alice", set("X-Amz-Expires", "86400"), "28P01", "X-Amz-Expires"},
		{"an old one", "alice", set("X-Amz-Date", "20010101T000000Z"), "28P01", "has expired"},
		{"one of tomorrow", "alice", set("X-Amz-Date", time.Now().UTC().Add(24*time.Hour).Format("20060102T150405Z")), "28P01", "STS refuses the token"},
		{"no base64", "alice", awscreds.STSPrefix + "%", "28P01", "not in base64"},
		{"a password", "alice", "pw", "28P01", "no IAM token"},
		{"the good one again", "alice", good, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := len(log.String())
			err := loginAs(t, addr, c.user, c.token, private)
			if code(err) != c.code || c.code == "" && err != nil {
				t.Errorf("%v, want %q", err, c.code)
			}
			eventually(t, "the log does not say "+c.reason, func() bool { return strings.Contains(log.String()[from:], c.reason) })
		})
	}
	if n := led.Load(); n != 0 {
		t.Errorf("a client led the pooler to a host of its own, %d times", n)
	}
	asked := s.Asked("GetCallerIdentity")
	s.SetOutage(fakeaws.Down)
	if err := loginAs(t, addr, "alice", good, private); err != nil {
		t.Errorf("a token that is known: %v", err)
	}
	if n := s.Asked("GetCallerIdentity") - asked; n != 0 {
		t.Errorf("STS was asked %d times whose a token is that is known", n)
	}
	if err := loginAs(t, addr, "alice", stsToken(t, s.NewRoleKey("app", 0), audience), private); code(err) != "57P03" {
		t.Errorf("in an outage: %v", err)
	}
	if strings.Contains(log.String(), "X-Amz-Signature=") || strings.Contains(log.String(), good[len(awscreds.STSPrefix):][:80]) {
		t.Error("a token is in the log")
	}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=alice dbname=app %s", addr.(*net.TCPAddr).Port, private)
	if got, err := psql(t, conninfo, "select current_user", "PGPASSWORD="+good); err != nil || got != "app" {
		t.Errorf("psql: %s, %v", got, err)
	}
}

func TestTheDriverComesInByItsRole(t *testing.T) {
	fakeaws.StartInEnvironment(t)
	addr, private, _ := withRoles(t, pooler.IAMAllowed)
	open := func(user string) error {
		cfg, err := driver.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=app topology=none auth=iam_sts iam_audience=%s %s",
			addr.(*net.TCPAddr).Port, user, audience, private))
		if err != nil {
			t.Fatal(err)
		}
		c, err := driver.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		defer func() { _ = db.Close() }()
		return db.QueryRowContext(testContext(t), "select current_user").Scan(new(string))
	}
	if err := open("alice"); err != nil {
		t.Error(err)
	}
	if err := open("bob"); err == nil || !strings.Contains(err.Error(), "iam_roles") {
		t.Errorf("another role's user: %v", err)
	}
}
