package pooler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

func TestWhoKnowsTheSecretComesIn(t *testing.T) {
	aws := fakeaws.StartInEnvironment(t)
	text := func(user, password string) string {
		return fmt.Sprintf(`{"username":%q,"password":%q}`, user, password)
	}
	secret := aws.CreateSecret("prod/alice", text("alice", "first"))
	aws.CreateSecret("prod/bob", text("robert", "pw"))
	var log *printed.Buffer
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		log = logTo(c)
		c.Users = map[string]pooler.User{
			"alice": {Secret: &awscreds.SecretsConfig{SecretID: "prod/alice"}},
			"bob":   {Secret: &awscreds.SecretsConfig{SecretID: "prod/bob"}},
			"carol": {Secret: &awscreds.SecretsConfig{SecretID: "prod/carol"}},
		}
	})
	as := func(user, password string) string { return code(loginAs(t, addr, user, password, "sslmode=disable")) }
	expect := func(when, user, password, want string) {
		t.Helper()
		if got := as(user, password); got != want {
			t.Errorf("%s: %s with %q: %q, want %q", when, user, password, got, want)
		}
	}
	expect("first", "alice", "first", "")
	expect("first", "alice", "wrong", "28P01")
	expect("another user's secret", "bob", "pw", "28P01")
	expect("no secret", "carol", "pw", "57P03")
	err := secret.Rotate(t.Context(), fakeaws.Rotation{
		Next: func(user, _ string) (string, string) { return user, "second" },
		Set:  func(context.Context, string, string) error { return nil },
		Between: func() {
			time.Sleep(1100 * time.Millisecond) // what was read is not new any more
			expect("in the rotation", "alice", "first", "")
			expect("in the rotation", "alice", "second", "")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	expect("after the rotation, at once", "alice", "second", "")
	expect("after the rotation", "alice", "first", "28P01")
	begun, before := time.Now(), aws.Asked("GetSecretValue")
	for range 20 {
		expect("guesses", "alice", "wrong", "28P01")
	}
	if n, took := aws.Asked("GetSecretValue")-before, time.Since(begun); n > 2*(2+int(took/time.Second)) {
		t.Errorf("20 wrong passwords within %v had AWS asked %d times", took, n)
	}
	aws.SetOutage(fakeaws.Down)
	expect("in an outage", "alice", "second", "")
	if strings.Contains(log.String(), "second") {
		t.Error("the password is in the log")
	}
	if !strings.Contains(log.String(), "the secret is another user's") {
		t.Error("the log does not say that bob's secret is robert's")
	}
}
