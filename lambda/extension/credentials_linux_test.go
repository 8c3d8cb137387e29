package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

// world is a cluster with AWS beside it, and the environment that leads there.
func world(t *testing.T) (aws *fakeaws.Server, c *rdstest.Cluster, env []string) {
	t.Helper()
	aws = fakeaws.Start(t)
	c = rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication, IAM: aws.VerifyToken})
	must(t, prepare(testContext(t), c))
	for name, value := range aws.Environment() {
		env = append(env, name+"="+value)
	}
	return aws, c, env
}

// dsnOf is a DSN by addresses for another user, with parameters of ours.
func dsnOf(t *testing.T, c *rdstest.Cluster, user string, params url.Values) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(c.AddressDSN())
	must(t, err)
	params.Set("application_name", short(t.Name()))
	return fmt.Sprintf("postgres://%s@%s/%s?%s", user, c.Writer().Addr(), cfg.Database, params.Encode())
}

// withTokens is a DSN of the user that logs in with tokens.
func withTokens(t *testing.T, c *rdstest.Cluster) string {
	t.Helper()
	must(t, c.CreateUser(testContext(t), "iam", ""))
	return dsnOf(t, c, "iam", url.Values{
		"auth": {"iam"}, "sslmode": {"verify-full"}, "sslrootcert": {c.CAFile()},
		"iam_host": {fmt.Sprintf("%s:%d", c.Writer().Host(), c.Writer().Addr().Port())},
	})
}

func TestTheExtensionLogsInWithTokens(t *testing.T) {
	for from, env := range map[string]func(*fakeaws.Server) []string{
		"the container's endpoint": func(*fakeaws.Server) []string { return nil },
		"keys in the environment": func(aws *fakeaws.Server) []string {
			k := aws.NewKey(0)
			return []string{
				"AWS_CONTAINER_CREDENTIALS_FULL_URI=", "AWS_ACCESS_KEY_ID=" + k.ID, "AWS_SECRET_ACCESS_KEY=" + k.Secret,
				"AWS_SESSION_TOKEN=" + k.SessionToken,
			}
		},
	} {
		t.Run(from, func(t *testing.T) {
			aws, c, base := world(t)
			s := startWith(t, withTokens(t, c), inGo, fakelambda.Config{Env: append(base, env(aws)...)})
			must(t, s.Init(testContext(t)))
			if n := connections(t, c); n == 0 {
				t.Error("nothing is connected after Init")
			}
			ask(t, s, deed{ID: from})
			if n := admin(t, c, "select count(*) from pg_stat_activity where application_name = $1 and usename = 'iam'", short(t.Name())); n == 0 {
				t.Error("nobody has logged in with a token")
			}
			if strings.Contains(s.Log(), "X-Amz-Signature") {
				t.Error("a token is in the log")
			}
		})
	}
}

func TestKeysThatAreReplacedInAFreezeAreReadAnew(t *testing.T) {
	aws, c, env := world(t)
	s := startWith(t, withTokens(t, c), inGo, fakelambda.Config{Env: env})
	ask(t, s, deed{ID: "keys-1"})
	must(t, s.Freeze(testContext(t)))
	aws.RotateKey(time.Hour)
	admin(t, c, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1", short(t.Name()))
	must(t, s.Thaw())
	ask(t, s, deed{ID: "keys-2"})
}

func TestARotationBetweenInvocationsIsNotSeen(t *testing.T) {
	aws, c, env := world(t)
	must(t, c.CreateUser(testContext(t), "pw", "first-password"))
	secret := aws.CreateSecret("prod/app", `{"username":"pw","password":"first-password"}`)
	s := startWith(t, dsnOf(t, c, "pw", url.Values{"auth": {"secret"}, "secret_id": {"prod/app"}}), inGo, fakelambda.Config{Env: env})
	ask(t, s, deed{ID: "rotation-1"})
	must(t, s.Freeze(testContext(t)))
	must(t, c.SetPassword(testContext(t), "pw", "second-password"))
	secret.Put(`{"username":"pw","password":"second-password"}`)
	// What was logged in with the old password is gone too.
	admin(t, c, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1", short(t.Name()))
	must(t, s.Thaw())
	ask(t, s, deed{ID: "rotation-2"})
	if strings.Contains(s.Log(), "-password") {
		t.Error("a password is in the log")
	}
}

func TestASnapshotHasTheSecretAndNoConnection(t *testing.T) {
	aws, c, env := world(t)
	must(t, c.CreateUser(testContext(t), "pw", "first-password"))
	aws.CreateSecret("prod/app", `{"username":"pw","password":"first-password"}`)
	s := startWith(t, dsnOf(t, c, "pw", url.Values{"auth": {"secret"}, "secret_id": {"prod/app"}}), inGo, fakelambda.Config{
		APIConfig: fakelambda.APIConfig{Kind: fakelambda.SnapStart}, Env: env,
	})
	must(t, s.Init(testContext(t)))
	if n := aws.Asked("GetSecretValue"); n != 1 {
		t.Errorf("the secret was read %d times in Init", n)
	}
	if n := connections(t, c); n != 0 {
		t.Errorf("%d connections would be in the snapshot", n)
	}
	ask(t, s, deed{ID: "snapshot"})
	if n := aws.Asked("GetSecretValue"); n != 1 {
		t.Errorf("the secret was read %d times", n)
	}
}
