package pooler_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

// iamWorld is a cluster whose users log in with tokens, an AWS, and a pooler before it that takes them.
type iamWorld struct {
	aws     *fakeaws.Server
	cluster *rdstest.Cluster
	host    string // the cluster's
	port    uint16
	addr    net.Addr
	log     *printed.Buffer
	private string // parameters of libpq for TLS
}

func newIAMWorld(t *testing.T, auth pooler.IAMAuth, change func(*pooler.Config)) *iamWorld {
	t.Helper()
	w := &iamWorld{aws: fakeaws.StartInEnvironment(t)}
	w.cluster = rdstest.Start(t, rdstest.Config{IAM: w.aws.VerifyToken, Readers: -1, Flavor: rdstest.Replication})
	for _, user := range []string{"iam", "other"} {
		if err := w.cluster.CreateUser(testContext(t), user, ""); err != nil {
			t.Fatal(err)
		}
	}
	asSuperuser(t, w.cluster, "create role stranger login", "grant rds_iam to stranger")
	cfg, err := pgx.ParseConfig(w.cluster.DSN())
	if err != nil {
		t.Fatal(err)
	}
	w.host, w.port = cfg.Host, cfg.Port
	cert, ca := certificate(t)
	w.private = "sslmode=verify-full sslrootcert=" + ca
	_, w.addr = start(t, w.cluster, w.cluster.DSN(), func(c *pooler.Config) {
		w.log = logTo(c)
		l := &c.Listeners[0]
		l.IAMAuth, l.TLS = auth, &tls.Config{Certificates: []tls.Certificate{cert}}
		c.Users = map[string]pooler.User{"listed": {Password: "pw"}}
		if change != nil {
			change(c)
		}
	})
	return w
}

// token is a good one.
func (w *iamWorld) token(t *testing.T, user string) string {
	t.Helper()
	p := awscreds.NewIAM(awscreds.IAMConfig{})
	defer func() { _ = p.Close() }()
	c, err := p.Credential(t.Context(), credentials.Target{Host: w.host, Port: w.port, User: user}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Password.Reveal()
}

func TestATokenIsProvedByALoginOfItsOwn(t *testing.T) {
	w := newIAMWorld(t, pooler.IAMAllowed, nil)
	good := w.token(t, "iam")
	proofs := func() int { return w.aws.Tokens(w.host) }
	before := proofs()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := loginAs(t, w.addr, "iam", good, w.private); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := proofs() - before; n != 1 {
		t.Errorf("%d logins to prove one token", n)
	}
	garbage := good[:len(good)-4] + "0000"
	for _, c := range []struct{ name, user, password, rest, code, reason string }{
		{"garbage, while a good one is known", "iam", garbage, w.private, "28P01", "PAM authentication failed"},
		{"another user's", "other", good, w.private, "28P01", `is for user \"iam\"`},
		{"another user's, renamed", "other", strings.Replace(good, "DBUser=iam", "DBUser=other", 1), w.private, "28P01", "PAM authentication failed"},
		{"an old one", "iam", strings.Replace(good, "X-Amz-Date=20", "X-Amz-Date=19", 1), w.private, "28P01", "has expired"},
		{"for too long", "iam", strings.Replace(good, "X-Amz-Expires=900", "X-Amz-Expires=90000", 1), w.private, "28P01", "not known"},
		{"of a role that may not be the DSN's user", "stranger", w.token(t, "stranger"), w.private, "28P01", "GRANT app TO it"},
		{"of nobody", "mallory", w.token(t, "mallory"), w.private, "28P01", "refuses the IAM token"},
		{"a password beside it", "listed", "pw", w.private, "", ""},
		{"a wrong password", "listed", "wrong", w.private, "28P01", "password is wrong"},
		{"a password, in the clear", "listed", "pw", "sslmode=disable", "", ""},
		{"a token, in the clear", "iam", good, "sslmode=disable", "28P01", ""},
		{"the good one", "iam", good, w.private, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := len(w.log.String())
			err := loginAs(t, w.addr, c.user, c.password, c.rest)
			if code(err) != c.code || c.code == "" && err != nil {
				t.Errorf("%v, want %q", err, c.code)
			}
			eventually(t, "the log does not say why", func() bool { return strings.Contains(w.log.String()[from:], c.reason) })
		})
	}
	for _, part := range strings.Split(good, "&") {
		if strings.HasPrefix(part, "X-Amz-Signature=") && strings.Contains(w.log.String(), part) {
			t.Error("a token is in the log")
		}
	}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=iam dbname=app %s", w.addr.(*net.TCPAddr).Port, w.private)
	if got, err := psql(t, conninfo, "select current_user", "PGPASSWORD="+good); err != nil || got != "app" {
		t.Errorf("psql: %s, %v", got, err)
	}
}

func TestRequiredTokensAreTheOnlyWayIn(t *testing.T) {
	w := newIAMWorld(t, pooler.IAMRequired, nil)
	if err := loginAs(t, w.addr, "iam", w.token(t, "iam"), w.private); err != nil {
		t.Error(err)
	}
	if err := loginAs(t, w.addr, "listed", "pw", w.private); code(err) != "28P01" {
		t.Errorf("a password: %v", err)
	}
	if err := loginAs(t, w.addr, "iam", w.token(t, "iam"), "sslmode=disable"); code(err) != "28000" || !strings.Contains(err.Error(), "over TLS only") {
		t.Errorf("in the clear: %v", err)
	}
}

func TestATokenIsTakenOverAUnixSocket(t *testing.T) {
	dir := t.TempDir()
	w := newIAMWorld(t, pooler.IAMRequired, func(c *pooler.Config) {
		c.Listeners[0].Address, c.Listeners[0].TLS = filepath.Join(dir, ".s.PGSQL.6432"), nil
	})
	for user, want := range map[string]string{"iam": "", "listed": "28P01"} {
		password := "pw"
		if user == "iam" {
			password = w.token(t, user)
		}
		conn, err := pgx.Connect(testContext(t), fmt.Sprintf("host=%s port=6432 user=%s password='%s' dbname=app", dir, user, password))
		if code(err) != want || want == "" && err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if conn != nil {
			_ = conn.Close(testContext(t))
		}
	}
}

func TestAClusterThatIsAwaySaysThatTokensCannotBeChecked(t *testing.T) {
	w := newIAMWorld(t, pooler.IAMRequired, func(c *pooler.Config) { c.LoginTimeout = 3 * time.Second })
	known := w.token(t, "iam")
	if err := loginAs(t, w.addr, "iam", known, w.private); err != nil {
		t.Fatal(err)
	}
	fresh := w.token(t, "other")
	if err := w.cluster.Freeze(testContext(t), w.cluster.Writer()); err != nil {
		t.Fatal(err)
	}
	if err := loginAs(t, w.addr, "other", fresh, w.private); code(err) != "57P03" {
		t.Errorf("%v", err)
	}
}

// A token is proved by a login, and given to nobody who may have put himself between.
func TestTokensNeedAVerifiedCluster(t *testing.T) {
	for dsn, want := range map[string]string{
		"host=db.example.com sslmode=disable":                              "sslmode=verify-full",
		"host=db.example.com sslmode=prefer":                               "sslmode=verify-full",
		"host=db.example.com sslmode=require":                              "sslmode=verify-full",
		"host=app.cluster-x.eu-west-1.rds.amazonaws.com sslmode=require":   "sslmode=verify-full",
		"host=db.example.com sslmode=verify-ca":                            "sslrootcert",
		"host=db.example.com sslmode=verify-full":                          "",
		"host=app.cluster-x.eu-west-1.rds.amazonaws.com sslmode=verify-ca": "",
		"host=app.cluster-x.eu-west-1.rds.amazonaws.com sslrootcert=rds":   "",
	} {
		for _, auth := range []pooler.IAMAuth{pooler.IAMAllowed, pooler.IAMRequired} {
			db, err := driver.ParseConfig(dsn + " user=app dbname=app")
			if err != nil {
				t.Fatal(err)
			}
			l := pooler.Listener{Address: "127.0.0.1:0", IAMAuth: auth}
			withServerCert(t, &l)
			_, err = pooler.New(pooler.Config{Listeners: []pooler.Listener{l}, Clusters: map[string]*pooler.Cluster{"main": {Database: db}}})
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "iam_auth")) {
				t.Errorf("%s, iam_auth %s: %v", dsn, auth, err)
			}
		}
	}
}
