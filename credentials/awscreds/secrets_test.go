package awscreds_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

func secretText(user, password string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q,"engine":"postgres","port":5432}`, user, password)
}

func newSecrets(t *testing.T, cfg awscreds.SecretsConfig) *awscreds.Secrets {
	t.Helper()
	p, err := awscreds.NewSecrets(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func wantLogin(t *testing.T, c *credentials.Credential, user, password string) {
	t.Helper()
	if c.User != user || c.Password.Reveal() != password {
		t.Errorf("%s with %s, want %s with %s", c.User, c.Password.Reveal(), user, password)
	}
}

func TestASecretIsReadOnceHoweverManyAsk(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	s.SetLatency(50 * time.Millisecond)
	for _, id := range []string{"prod/app", s.CreateSecret("prod/app", secretText("app", "first")).ARN()} {
		before := s.Reads(fakeaws.Current)
		p := newSecrets(t, awscreds.SecretsConfig{SecretID: id})
		var wg sync.WaitGroup
		for range 10000 {
			wg.Go(func() { wantLogin(t, mustGive(t, p, target), "app", "first") })
		}
		wg.Wait()
		if n := s.Reads(fakeaws.Current) - before; n != 1 {
			t.Errorf("%s: read %d times", id, n)
		}
	}
}

func TestARefusedPasswordIsReadAgainOnceHoweverManyAreRefused(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	old := mustGive(t, p, target)
	secret.Put(secretText("app", "second"))
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
			wantLogin(t, mustGive(t, p, target, old), "app", "second")
		})
	}
	wg.Wait()
	if n := s.Reads(fakeaws.Current); n != 2 {
		t.Errorf("read %d times", n)
	}
	wantLogin(t, mustGive(t, p, target), "app", "second")
}

func TestTheVersionsOfARotationAreTried(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "zeroth"))
	secret.Put(secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	reader := credentials.Target{Host: "app-2.xyz.eu-west-1.rds.amazonaws.com", Port: 5432, User: "app"}
	err := secret.Rotate(t.Context(), fakeaws.Rotation{
		Next: func(user, _ string) (string, string) { return user, "second" },
		Set: func(context.Context, string, string) error {
			// The writer has the new password now, the secret has not.
			first := mustGive(t, p, target)
			wantLogin(t, first, "app", "first")
			wantLogin(t, mustGive(t, p, target, first), "app", "second")
			wantLogin(t, mustGive(t, p, target), "app", "second")
			wantLogin(t, mustGive(t, p, reader), "app", "first")
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLogin(t, mustGive(t, p, target), "app", "second")
	// A reader that lags is still with the old one when the secret is not.
	first := mustGive(t, p, reader)
	second := mustGive(t, p, reader, first)
	wantLogin(t, second, "app", "second")
	wantLogin(t, mustGive(t, p, reader, second), "app", "first")
	wantLogin(t, mustGive(t, p, reader), "app", "first")
	if n := s.Reads(fakeaws.Pending); n != 1 {
		t.Errorf("the pending version was read %d times", n)
	}
}

func TestADetourEndsWithTheNextVersion(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "zeroth"))
	secret.Put(secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	first := mustGive(t, p, target)
	wantLogin(t, mustGive(t, p, target, first), "app", "zeroth")
	wantLogin(t, mustGive(t, p, target), "app", "zeroth")
	secret.Put(secretText("app", "second"))
	time.Sleep(1100 * time.Millisecond) // what was read is not new any more
	other := target
	other.Host = "app-2.xyz.eu-west-1.rds.amazonaws.com"
	wantLogin(t, mustGive(t, p, other, first), "app", "second")
	wantLogin(t, mustGive(t, p, target), "app", "second")
}

func TestTheUserChangesWithTheSecret(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	old := mustGive(t, p, target)
	secret.Put(secretText("app_clone", "second"))
	wantLogin(t, mustGive(t, p, target, old), "app_clone", "second")
}

func TestAttemptsAreBounded(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	var refused []*credentials.Credential
	for i := range 20 {
		c, err := p.Credential(t.Context(), target, refuse(refused...))
		if err != nil {
			if awscreds.ReasonOf(err) != awscreds.PasswordRefused || !errors.Is(err, credentials.ErrExhausted) {
				t.Errorf("%v", err)
			}
			if len(refused) != 4 {
				t.Errorf("after %d attempts", len(refused))
			}
			return
		}
		refused = append(refused, c)
		secret.Put(secretText("app", fmt.Sprint("password", i)))
	}
	t.Errorf("%d attempts and on", len(refused))
}

func TestAPasswordChangedByHandIsWaitedForBriefly(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	old := mustGive(t, p, target)
	timer := time.AfterFunc(300*time.Millisecond, func() { secret.Put(secretText("app", "second")) })
	defer timer.Stop()
	wantLogin(t, mustGive(t, p, target, old), "app", "second")
}

func TestAnOutageLeavesTheSecretInUse(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	s.CreateSecret("prod/app", secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app", TTL: 30 * time.Millisecond})
	old := mustGive(t, p, target)
	s.SetOutage(fakeaws.Down)
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		wantLogin(t, mustGive(t, p, target), "app", "first")
	}
	var unavailable *credentials.UnavailableError
	if _, err := p.Credential(t.Context(), target, refuse(old)); !errors.As(err, &unavailable) || awscreds.ReasonOf(err) != awscreds.Unreachable {
		t.Errorf("%v", err)
	}
}

func TestThrottlingIsWaitedOut(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	s.CreateSecret("prod/app", secretText("app", "first"))
	s.Throttle(2)
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	wantLogin(t, mustGive(t, p, target), "app", "first")
}

// The tests of failures look for this in everything that was written.
const confidential = "c0nf1dential"

func TestEachFailureHasItsReasonAndItsRemedy(t *testing.T) {
	var logs bytes.Buffer
	for name, c := range map[string]struct {
		prepare func(s *fakeaws.Server, secret *fakeaws.Secret)
		id      string
		reason  awscreds.Reason
		remedy  string
	}{
		"denied": {reason: awscreds.AccessDenied, remedy: `"Action":"secretsmanager:GetSecretValue"`, prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) {
			x.Refuse("AccessDeniedException", "User: x is not authorized to perform: secretsmanager:GetSecretValue")
		}},
		"kms": {reason: awscreds.KMSDenied, remedy: "kms:Decrypt", prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) {
			x.Refuse("AccessDeniedException", "Access to KMS is not allowed")
		}},
		"decryption": {reason: awscreds.KMSDenied, remedy: "kms:Decrypt", prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) {
			x.Refuse("DecryptionFailure", "cannot decrypt")
		}},
		"deleted": {reason: awscreds.Deleted, remedy: "restore-secret", prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) {
			x.Refuse("InvalidRequestException", "marked for deletion")
		}},
		"throttled": {reason: awscreds.Throttled, remedy: "quota", prepare: func(s *fakeaws.Server, _ *fakeaws.Secret) { s.Throttle(100) }},
		"outage":    {reason: awscreds.Unreachable, remedy: "tried again", prepare: func(s *fakeaws.Server, _ *fakeaws.Secret) { s.SetOutage(fakeaws.Down) }},
		"not found": {reason: awscreds.NotFound, remedy: "aws_region", id: "prod/other"},
		"bad key":   {reason: awscreds.BadAWSCredentials, remedy: "get-caller-identity", prepare: func(*fakeaws.Server, *fakeaws.Secret) {}, id: "revoked"},
		"clock":     {reason: awscreds.ClockWrong, remedy: "clock"},
		"binary":    {reason: awscreds.BadSecret, remedy: "--secret-string", prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) { x.PutBinary([]byte(confidential)) }},
		"no json":   {reason: awscreds.BadSecret, remedy: `"username"`, prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) { x.Put(confidential) }},
		"null":      {reason: awscreds.BadSecret, remedy: `"username"`, prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) { x.Put("null") }},
		"no user":   {reason: awscreds.BadSecret, remedy: `"username"`, prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) { x.Put(`{"password":"` + confidential + `"}`) }},
		"no text": {reason: awscreds.BadSecret, remedy: `"password"`, prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) {
			x.Put(`{"username":"app","password":["` + confidential + `"]}`)
		}},
		"for mysql": {reason: awscreds.BadSecret, remedy: "PostgreSQL", prepare: func(_ *fakeaws.Server, x *fakeaws.Secret) {
			x.Put(`{"engine":"mysql","username":"app","password":"` + confidential + `"}`)
		}},
		"no region":  {reason: awscreds.NoRegion, remedy: "aws_region"},
		"no service": {reason: awscreds.Unreachable, remedy: "interface endpoint"},
		"nobody":     {reason: awscreds.NoAWSCredentials, remedy: "role"},
	} {
		t.Run(name, func(t *testing.T) {
			s := fakeaws.StartInEnvironment(t)
			secret := s.CreateSecret("prod/app", secretText("app", confidential))
			id := "prod/app"
			switch {
			case c.id == "revoked":
				key := s.NewKey(time.Nanosecond)
				t.Setenv("AWS_ACCESS_KEY_ID", key.ID)
				t.Setenv("AWS_SECRET_ACCESS_KEY", key.Secret)
				t.Setenv("AWS_SESSION_TOKEN", key.SessionToken)
			case c.id != "":
				id = c.id
			case name == "clock":
				s.SetSkew(time.Hour)
				t.Setenv("AWS_MAX_ATTEMPTS", "1") // the SDK would put it right by itself
			case name == "no region":
				t.Setenv("AWS_REGION", "")
			case name == "no service":
				t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
			case name == "nobody":
				t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
			}
			if c.prepare != nil {
				c.prepare(s, secret)
			}
			log := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			p := newSecrets(t, awscreds.SecretsConfig{SecretID: id, Config: awscreds.Config{Logger: log}})
			got, err := p.Credential(t.Context(), target, nil)
			if awscreds.ReasonOf(err) != c.reason || !strings.Contains(err.Error(), c.remedy) {
				t.Errorf("%v, %v\nwant %q and %q", got, err, c.reason, c.remedy)
			}
			fmt.Fprintf(&logs, "%v %+v %#v\n", err, err, err)
			unavailable := (*credentials.UnavailableError)(nil)
			if passes := c.reason == awscreds.Throttled || c.reason == awscreds.Unreachable; errors.As(err, &unavailable) != passes {
				t.Errorf("may pass by itself: %v, want %v", !passes, passes)
			}
		})
	}
	if strings.Contains(logs.String(), confidential) {
		t.Errorf("a secret is in\n%s", logs.String())
	}
}

func TestTheRegionOfAnARNIsNotOverruled(t *testing.T) {
	_, err := awscreds.NewSecrets(awscreds.SecretsConfig{
		SecretID: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-abcdef", Config: awscreds.Config{Region: "us-east-1"},
	})
	if awscreds.ReasonOf(err) != awscreds.RegionMismatch || !strings.Contains(err.Error(), "eu-west-1") {
		t.Errorf("%v", err)
	}
	for _, id := range []string{"", "arn:aws:iam::1:role/x", "arn:nonsense"} {
		if _, err := awscreds.NewSecrets(awscreds.SecretsConfig{SecretID: id}); err == nil {
			t.Errorf("%q is accepted", id)
		}
	}
}

func TestWhoAmI(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	s.SetSkew(2 * time.Minute)
	who, err := awscreds.WhoAmI(t.Context(), awscreds.Config{})
	if err != nil || !strings.Contains(who.ARN, fakeaws.Account) || who.Skew < time.Minute || who.Skew > 3*time.Minute {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestWhoChecksPasswordsHearsOfARotationAtOnce(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	secret := s.CreateSecret("prod/app", secretText("app", "first"))
	p := newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"})
	latest := func() (passwords []string) {
		t.Helper()
		list, err := p.Latest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			passwords = append(passwords, c.Password.Reveal())
		}
		return passwords
	}
	c, err := p.Current(t.Context())
	if err != nil || c.User != "app" || c.Password.Reveal() != "first" {
		t.Fatalf("%+v, %v", c, err)
	}
	begun := time.Now()
	for range 10 {
		if got := latest(); len(got) != 1 || got[0] != "first" {
			t.Errorf("%q", got)
		}
	}
	if n, took := s.Reads(fakeaws.Current), time.Since(begun); n > 2+int(took/time.Second) {
		t.Errorf("the secret was read %d times within %v", n, took)
	}
	err = secret.Rotate(t.Context(), fakeaws.Rotation{
		Next: func(user, _ string) (string, string) { return user, "second" },
		Set: func(context.Context, string, string) error {
			time.Sleep(1100 * time.Millisecond) // what was read is not new any more
			if got := latest(); len(got) != 2 || got[0] != "first" || got[1] != "second" {
				t.Errorf("in the rotation: %q", got)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := latest(); got[0] != "second" {
		t.Errorf("after the rotation: %q", got)
	}
	if c, err := p.Current(t.Context()); err != nil || c.Password.Reveal() != "second" {
		t.Errorf("%v, %v", c, err)
	}
	s.SetOutage(fakeaws.Down)
	time.Sleep(1100 * time.Millisecond)
	var unavailable *credentials.UnavailableError
	if _, err := p.Latest(t.Context()); !errors.As(err, &unavailable) {
		t.Errorf("in an outage: %v", err)
	}
}
