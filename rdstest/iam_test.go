package rdstest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/rdstest"
)

// tokens is an IAM that takes one text.
func tokens(token string, hosts []string, port uint16, region, user string) error {
	if want := fmt.Sprintf("%s %d %s %s", hosts[0], port, region, user); token != want || !slices.ContainsFunc(hosts, func(h string) bool { return strings.Contains(h, ".cluster-") }) {
		return errors.New("another one")
	}
	return nil
}

func TestUsersWithTheRoleLogInWithTokens(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{IAM: tokens, Readers: 1})
	ctx := testContext(t)
	must(t, c.CreateUser(ctx, "iam", ""))
	must(t, c.CreateUser(ctx, "pw", "first"))
	must(t, c.WaitSettled(ctx))
	for _, in := range c.Instances() {
		token := fmt.Sprintf("%s %d eu-west-1 iam", in.Host(), in.Addr().Port())
		as := func(user, password string) string {
			_, rest, _ := strings.Cut(c.InstanceDSN(in), "@")
			return "postgres://" + user + ":" + strings.ReplaceAll(password, " ", "%20") + "@" + rest
		}
		conn := connect(t, c, as("iam", token))
		if got := ask(t, conn, "select current_user || ' ' || (1 + 1)"); got != "iam 2" {
			t.Errorf("%s: %s", in.ID(), got)
		}
		for dsn, want := range map[string]string{
			as("iam", "wrong"): "28000", as("pw", token): "28P01",
			strings.Replace(as("iam", token), "sslmode=verify-full", "sslmode=disable", 1): "28000",
		} {
			_, err := dial(ctx, c, dsn)
			if code(err) != want {
				t.Errorf("%s: %v, want %s", in.ID(), err, want)
			}
			if want == "28000" && !strings.Contains(err.Error(), "PAM authentication failed") && !strings.Contains(err.Error(), "no encryption") {
				t.Errorf("%s: %v", in.ID(), err)
			}
		}
		if got := ask(t, connect(t, c, as("pw", "first")), "select current_user"); got != "pw" {
			t.Errorf("%s: %s", in.ID(), got)
		}
		// A cancellation is not a login.
		if err := conn.PgConn().CancelRequest(ctx); err != nil {
			t.Errorf("%s: cancel: %v", in.ID(), err)
		}
	}
	must(t, c.SetPassword(ctx, "pw", "second"))
	if _, err := dial(ctx, c, c.UserDSN("pw", "first")); code(err) != "28P01" {
		t.Errorf("the old password: %v", err)
	}
	connect(t, c, c.UserDSN("pw", "second"))
}
