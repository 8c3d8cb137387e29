package awscreds_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsstatic "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

func newIAM(t *testing.T, cfg awscreds.IAMConfig) *awscreds.IAM {
	t.Helper()
	p := awscreds.NewIAM(cfg)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func mustGive(t *testing.T, p credentials.Provider, to credentials.Target, refused ...*credentials.Credential) *credentials.Credential {
	t.Helper()
	c, err := p.Credential(t.Context(), to, refuse(refused...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// static is a configuration with a key that does not end, and nothing to ask.
func static() *aws.Config {
	return &aws.Config{Credentials: awsstatic.NewStaticCredentialsProvider("AKIA1", "secret", "")}
}

func check(s *fakeaws.Server, c *credentials.Credential, to credentials.Target, region string) error {
	return s.VerifyToken(c.Password.Reveal(), []string{to.Host}, to.Port, region, to.User)
}

func TestATokenIsForTheHostPortRegionAndUser(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	p := newIAM(t, awscreds.IAMConfig{})
	other := target
	other.Host = "app-2.abc.us-east-1.rds.amazonaws.com"
	for to, region := range map[credentials.Target]string{target: "eu-west-1", other: "us-east-1"} {
		c := mustGive(t, p, to)
		if err := check(s, c, to, region); err != nil {
			t.Error(err)
		}
		if !c.Bearer {
			t.Error("it would be sent without TLS")
		}
		for name, wrong := range map[string]credentials.Target{
			"host": {Host: "app-9.xyz.eu-west-1.rds.amazonaws.com", Port: to.Port, User: to.User},
			"port": {Host: to.Host, Port: 1, User: to.User}, "user": {Host: to.Host, Port: to.Port, User: "root"},
		} {
			if check(s, c, wrong, region) == nil {
				t.Errorf("accepted for another %s", name)
			}
		}
		if check(s, c, to, "ap-south-1") == nil {
			t.Error("accepted in another region")
		}
	}
}

func TestTheTokenIsTheOneOfTheSDK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		static := awsstatic.NewStaticCredentialsProvider("AKIA1", "secret", "session+token/")
		p := newIAM(t, awscreds.IAMConfig{Config: awscreds.Config{AWS: &aws.Config{Credentials: static}}})
		for _, user := range []string{"app", "with space & +", "ünï"} {
			to := target
			to.User = user
			want, err := auth.BuildAuthToken(t.Context(), to.Host+":5432", "eu-west-1", user, static)
			if err != nil {
				t.Fatal(err)
			}
			if got := mustGive(t, p, to).Password.Reveal(); got != want {
				t.Errorf("%q:\n%s\n%s", user, got, want)
			}
		}
	})
}

func TestATokenIsSignedOnceAndAheadOfItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newIAM(t, awscreds.IAMConfig{Config: awscreds.Config{AWS: static()}})
		seen := make(map[*credentials.Credential]bool)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 10000 {
			wg.Go(func() {
				c, err := p.Credential(t.Context(), target, nil)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[c] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		if len(seen) != 1 {
			t.Errorf("%d tokens", len(seen))
		}
		for range 120 { // an hour
			time.Sleep(30 * time.Second)
			c := mustGive(t, p, target)
			seen[c] = true
			_, rest, _ := strings.Cut(c.Password.Reveal(), "X-Amz-Date=")
			at, err := time.Parse("20060102T150405Z", rest[:16])
			if err != nil || time.Since(at) > 13*time.Minute {
				t.Fatalf("a token of %v is used, %v old", at, time.Since(at))
			}
			synctest.Wait()
		}
		if n := len(seen); n < 5 || n > 9 {
			t.Errorf("%d tokens in an hour", n)
		}
	})
}

func TestATokenEndsWithTheSessionThatSignedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signed := 0
		p := newIAM(t, awscreds.IAMConfig{Config: awscreds.Config{AWS: &aws.Config{Credentials: aws.CredentialsProviderFunc(
			func(context.Context) (aws.Credentials, error) {
				signed++
				return aws.Credentials{AccessKeyID: "A", SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(3 * time.Minute)}, nil
			})}}})
		first := mustGive(t, p, target)
		time.Sleep(3 * time.Minute)
		if second := mustGive(t, p, target); second == first || signed != 2 {
			t.Errorf("signed %d times", signed)
		}
	})
}

func TestARefusedTokenIsSignedAnewWithTheCredentialsOfNow(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	p := newIAM(t, awscreds.IAMConfig{})
	old := mustGive(t, p, target)
	s.RotateKey(time.Hour)
	if check(s, old, target, "eu-west-1") == nil {
		t.Fatal("the revoked key's token is accepted")
	}
	next := make(chan *credentials.Credential, 100)
	var wg sync.WaitGroup
	for range cap(next) {
		wg.Go(func() {
			c, err := p.Credential(t.Context(), target, refuse(old))
			if err != nil {
				t.Error(err)
			}
			next <- c
		})
	}
	wg.Wait()
	first := <-next
	if err := check(s, first, target, "eu-west-1"); err != nil {
		t.Error(err)
	}
	for range cap(next) - 1 {
		if c := <-next; c != first {
			t.Error("signed more than once")
			break
		}
	}
	if n := s.Asked("GetCredentials"); n != 2 {
		t.Errorf("the container was asked %d times", n)
	}
}

func TestAWrongClockIsNoticedWhenATokenIsRefused(t *testing.T) {
	for _, skew := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		s := fakeaws.StartInEnvironment(t)
		s.SetSkew(skew)
		p := newIAM(t, awscreds.IAMConfig{})
		old := mustGive(t, p, target)
		if check(s, old, target, "eu-west-1") == nil {
			t.Fatal("the token is accepted at another time")
		}
		next := mustGive(t, p, target, old)
		if err := check(s, next, target, "eu-west-1"); err != nil {
			t.Errorf("skew %v: %v", skew, err)
		}
	}
}

func TestTokensThatAreRefusedForGoodSayWhatMendsIt(t *testing.T) {
	fakeaws.StartInEnvironment(t)
	p := newIAM(t, awscreds.IAMConfig{})
	first := mustGive(t, p, target)
	second := &credentials.Credential{User: "app", Password: credentials.NewSecret("another")}
	_, err := p.Credential(t.Context(), target, refuse(first, second))
	if awscreds.ReasonOf(err) != awscreds.TokenRefused || !errors.Is(err, credentials.ErrExhausted) || !strings.Contains(err.Error(), "rds-db:connect") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), first.Password.Reveal()) {
		t.Errorf("the token is in: %v", err)
	}
}

func TestIAMHostIsWhatIsSignedFor(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	p := newIAM(t, awscreds.IAMConfig{SignFor: func(t credentials.Target) credentials.Target {
		t.Host, t.Port = target.Host, target.Port
		return t
	}})
	c := mustGive(t, p, credentials.Target{Host: "localhost", Port: 15432, User: "app"})
	if err := check(s, c, target, "eu-west-1"); err != nil {
		t.Error(err)
	}
}

func TestAHostThatTellsNoRegionNeedsOne(t *testing.T) {
	fakeaws.StartInEnvironment(t)
	t.Setenv("AWS_REGION", "")
	p := newIAM(t, awscreds.IAMConfig{})
	if _, err := p.Credential(t.Context(), credentials.Target{Host: "db.example.com", Port: 5432, User: "app"}, nil); awscreds.ReasonOf(err) != awscreds.NoRegion || !strings.Contains(err.Error(), "aws_region") {
		t.Errorf("%v", err)
	}
}
