package driver_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

func currentUser(t *testing.T, db *sql.DB) (user string) {
	t.Helper()
	if err := db.QueryRowContext(testContext(t), "select current_user").Scan(&user); err != nil {
		t.Fatal(err)
	}
	return user
}

func secretText(user, password string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q,"engine":"postgres"}`, user, password)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIAMTokensFollowAFailover(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	c := rdstest.Start(t, rdstest.Config{IAM: aws.VerifyToken})
	installMarker(t, c)
	must(t, c.CreateUser(testContext(t), "iam", ""))
	must(t, c.WaitSettled(testContext(t)))
	db := open(t, c, c.UserDSN("iam", "")+"&auth=iam")
	conns := connections(t, db, 4)
	if got := currentUser(t, db); got != "iam" {
		t.Errorf("logged in as %s", got)
	}
	failover(t, c)
	for _, conn := range conns {
		mustExec(t, conn, "select 1")
	}
	if host := c.Writer().Host(); aws.Tokens(host) == 0 {
		t.Errorf("no token for %s was used", host)
	}
	if n := aws.Asked("GetCredentials"); n != 1 {
		t.Errorf("the container was asked %d times for credentials", n)
	}
}

func TestOneSecretIsReadForManyFirstLogins(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	aws.SetLatency(100 * time.Millisecond)
	c := shared(t)
	must(t, c.CreateUser(testContext(t), "keeper", "first"))
	must(t, c.WaitSettled(testContext(t)))
	aws.CreateSecret("prod/app", secretText("keeper", "first"))
	db := open(t, c, c.UserDSN("whoever", "")+"&auth=secret&secret_id=prod/app")
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			conn, err := db.Conn(testContext(t))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			mustExec(t, conn, "select 1")
		})
	}
	wg.Wait()
	if got := currentUser(t, db); got != "keeper" {
		t.Errorf("logged in as %s", got)
	}
	if n := aws.Asked("GetSecretValue"); n != 1 {
		t.Errorf("the secret was read %d times", n)
	}
}

// load opens a connection for each call, so that each is a login, and counts the calls and those that failed.
func load(t *testing.T, db *sql.DB, workers int) (calls *atomic.Int64, stop func()) {
	db.SetMaxIdleConns(-1)
	calls = new(atomic.Int64)
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := db.ExecContext(context.WithoutCancel(ctx), "select 1"); err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				calls.Add(1)
			}
		})
	}
	return calls, func() { cancel(); wg.Wait() }
}

// progress waits until the load has made some more calls.
func progress(t *testing.T, calls *atomic.Int64) {
	t.Helper()
	target := calls.Load() + 20
	eventually(t, "the load goes on", func() bool { return calls.Load() >= target || t.Failed() })
}

func TestNoCallFailsInARotation(t *testing.T) {
	for name, next := range map[string]func(user, password string) (string, string){
		"single user": func(user, password string) (string, string) { return user, password + "x" },
		"alternating users": func(user, password string) (string, string) {
			if user == "first" {
				return "second", password + "x"
			}
			return "first", password + "x"
		},
	} {
		t.Run(name, func(t *testing.T) {
			aws := fakeaws.StartInEnvironment(t)
			c := shared(t)
			ctx := testContext(t)
			must(t, c.CreateUser(ctx, "first", "p"))
			must(t, c.CreateUser(ctx, "second", "q"))
			must(t, c.WaitSettled(ctx))
			secret := aws.CreateSecret("prod/app", secretText("first", "p"))
			calls, stop := load(t, open(t, c, c.DSN()+"&auth=secret&secret_id=prod/app"), 4)
			defer stop()
			for range 3 {
				must(t, secret.Rotate(ctx, fakeaws.Rotation{Next: next, Set: c.SetPassword, Between: func() { progress(t, calls) }}))
				progress(t, calls)
			}
			stop()
			if n := aws.Asked("GetSecretValue"); n > 40 {
				t.Errorf("the secret was read %d times", n)
			}
		})
	}
}

func TestARotationWhileSecretsManagerIsAwayIsWaitedOut(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	c := shared(t)
	ctx := testContext(t)
	must(t, c.CreateUser(ctx, "keeper", "first"))
	must(t, c.WaitSettled(ctx))
	secret := aws.CreateSecret("prod/app", secretText("keeper", "first"))
	db := open(t, c, c.DSN()+"&auth=secret&secret_id=prod/app")
	calls, stop := load(t, db, 2)
	defer stop()
	progress(t, calls)
	aws.SetOutage(fakeaws.Down)
	progress(t, calls) // the cached password goes on to work
	must(t, c.SetPassword(ctx, "keeper", "second"))
	secret.Put(secretText("keeper", "second"))
	asked := aws.Asked("GetSecretValue")
	eventually(t, "somebody asks in vain", func() bool { return aws.Asked("GetSecretValue") > asked+3 })
	aws.SetOutage(fakeaws.Up)
	progress(t, calls)
}

func TestNoTokenAndNoSecretIsInTheOutputOfAFailingRun(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	c := rdstest.Start(t, rdstest.Config{IAM: aws.VerifyToken, Readers: -1})
	ctx := testContext(t)
	must(t, c.CreateUser(ctx, "iam", ""))
	const confidential = "c0nf1dential"
	aws.CreateSecret("wrong", secretText("app", confidential))
	for dsn, want := range map[string]string{
		c.UserDSN("iam", "") + "&auth=iam&aws_region=us-east-1":    "leave aws_region out",
		c.UserDSN("iam", "") + "&auth=iam&iam_host=db.example.com": "rds-db:connect",
		c.DSN() + "&auth=iam":                     "rds_iam",
		c.DSN() + "&auth=secret&secret_id=wrong":  "rotate-secret",
		c.DSN() + "&auth=secret&secret_id=absent": "check secret_id",
	} {
		logs := new(printed.Buffer)
		cfg := config(t, c, dsn)
		cfg.Logger = slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		cfg.Logger.Info("config", "config", cfg)
		if strings.Contains(dsn, "iam_host") {
			cfg.Conn.TLSConfig.ServerName = cfg.Conn.Host
		}
		db := openConfig(t, cfg)
		_, err := db.ExecContext(ctx, "select 1")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", dsn, err, want)
		}
		text := fmt.Sprintf("%v %+v %#v %s", err, err, err, logs)
		for _, secret := range []string{confidential, "X-Amz-Signature", "X-Amz-Security-Token"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %q is in %s", dsn, secret, text)
			}
		}
	}
}

func TestPoolsWithDifferentCredentialsDoNotShareSessions(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	c := shared(t)
	ctx := testContext(t)
	must(t, c.CreateUser(ctx, "first", "p"))
	must(t, c.CreateUser(ctx, "second", "q"))
	must(t, c.WaitSettled(ctx))
	for _, user := range []string{"first", "second"} {
		aws.CreateSecret(user, secretText(user, map[string]string{"first": "p", "second": "q"}[user]))
	}
	for range 3 {
		for _, user := range []string{"first", "second"} {
			db := open(t, c, c.UserDSN("app", "")+"&auth=secret&secret_id="+user)
			if got := currentUser(t, db); got != user {
				t.Errorf("%s in the place of %s", got, user)
			}
		}
	}
}

func TestTLSSessionsAreResumed(t *testing.T) {
	c := shared(t)
	cfg := config(t, c, c.DSN())
	var resumed, full atomic.Int32
	cfg.Conn.TLSConfig.VerifyConnection = func(s tls.ConnectionState) error {
		if s.DidResume {
			resumed.Add(1)
		} else {
			full.Add(1)
		}
		return nil
	}
	db := openConfig(t, cfg)
	connections(t, db, 10)
	// The instance and the endpoint that led to it are verified once each, or twice where both were dialled at once.
	if resumed.Load() == 0 || full.Load() > 6 {
		t.Errorf("%d resumed, %d not", resumed.Load(), full.Load())
	}
}

func TestNothingIsLeftBehindAPoolWithCredentials(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	c := shared(t)
	must(t, c.CreateUser(testContext(t), "keeper", "first"))
	must(t, c.WaitSettled(testContext(t)))
	aws.CreateSecret("prod/app", secretText("keeper", "first"))
	before := goleak.IgnoreCurrent()
	cfg := config(t, c, c.DSN()+"&auth=secret&secret_id=prod/app")
	connector, err := driver.NewConnector(cfg)
	must(t, err)
	db := sql.OpenDB(connector)
	currentUser(t, db)
	must(t, db.Close())
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}
