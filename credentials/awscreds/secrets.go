package awscreds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/fairlead-go/fairlead/credentials"
)

const (
	// DefaultTTL is when a secret is to be read again; that begins in the background after about two thirds of it.
	DefaultTTL = time.Hour

	// freshness is how old what was read may be to count as new when a password was refused: many are refused at once.
	freshness = time.Second
	// readTimeout bounds one reading, with the SDK's retries.
	readTimeout = 10 * time.Second
	// maxRefused is how many passwords a login may try in vain, so that no account is locked.
	maxRefused = 4
	// stageLife is how long the versions beside the current one are kept: they are looked for when they are needed.
	stageLife = time.Minute
)

// The stages of a secret's versions.
const (
	stageCurrent  = "AWSCURRENT"
	stagePending  = "AWSPENDING"
	stagePrevious = "AWSPREVIOUS"
)

// SecretsConfig is what [NewSecrets] makes a provider of. SecretID is required.
type SecretsConfig struct {
	Config
	// SecretID is the secret's name or ARN.
	SecretID string
	// HostRegion is the region of the database's endpoint, for a secret that is named without its ARN; default: not
	// known.
	HostRegion string
	// TTL is when the secret is to be read again; default DefaultTTL.
	TTL time.Duration
}

// Secrets logs in with a secret of AWS Secrets Manager: as the user that it names, which may change with a rotation. It is
// safe for concurrent use.
type Secrets struct {
	cfg     SecretsConfig
	source  *source
	arn     string // "" if SecretID is a name
	region  string // that the ARN names
	cache   *credentials.Cache[string, version]
	latest  *credentials.Cache[string, []*credentials.Credential]
	detours detours
}

var (
	_ credentials.Provider = (*Secrets)(nil)
	_ io.Closer            = (*Secrets)(nil)
)

// NewSecrets returns a provider for one secret. Nothing is read before the first login.
func NewSecrets(cfg SecretsConfig) (*Secrets, error) {
	if cfg.SecretID == "" {
		return nil, errors.New("awscreds: SecretID is empty: it must be a secret's name or ARN")
	}
	if cfg.TTL <= 0 {
		cfg.TTL = DefaultTTL
	}
	s := &Secrets{cfg: cfg, source: &source{cfg: cfg.Config}}
	if strings.HasPrefix(cfg.SecretID, "arn:") {
		a, err := arn.Parse(cfg.SecretID)
		if err != nil || a.Service != "secretsmanager" || a.Region == "" {
			return nil, fmt.Errorf("awscreds: secret %q: it begins like an ARN, and is not one of Secrets Manager: arn:aws:secretsmanager:<region>:<account>:secret:<name>", cfg.SecretID)
		}
		if cfg.Region != "" && cfg.Region != a.Region {
			return nil, &Error{
				Reason: RegionMismatch, Op: fmt.Sprintf("read secret %q", cfg.SecretID), Remedy: "leave aws_region out, or set it to " + a.Region,
				Err: fmt.Errorf("it is in %s, and aws_region is %s", a.Region, cfg.Region),
			}
		}
		s.arn, s.region = cfg.SecretID, a.Region
	}
	s.cache = credentials.NewCache(credentials.CacheConfig[string, version]{Fetch: s.fetch, FetchTimeout: readTimeout, Logger: cfg.Logger})
	s.latest = credentials.NewCache(credentials.CacheConfig[string, []*credentials.Credential]{Fetch: s.fetchLatest, FetchTimeout: 2 * readTimeout, Logger: cfg.Logger})
	return s, nil
}

// Credential implements [credentials.Provider].
func (s *Secrets) Credential(ctx context.Context, t credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
	if len(refused) > 0 {
		return s.another(ctx, t, refused)
	}
	current, err := s.cache.Get(ctx, stageCurrent)
	if err != nil {
		return nil, err
	}
	if v := s.detours.of(t, current); v != nil {
		return &v.credential, nil
	}
	return &current.credential, nil
}

// Current is the user and the password of the current version, as far as is known: it is for those who check a password and do not
// use one. It is read when it is needed first, and again after about two thirds of TTL.
func (s *Secrets) Current(ctx context.Context) (*credentials.Credential, error) {
	v, err := s.cache.Get(ctx, stageCurrent)
	if err != nil {
		return nil, err
	}
	return &v.credential, nil
}

// Latest has the secret read again if that was not done within the last second: the current version, and behind it the one that
// a rotation is about to make current, if there is one. It is for those who check a password, and have found it to be another one than
// Current's.
func (s *Secrets) Latest(ctx context.Context) ([]*credentials.Credential, error) {
	list, err := s.latest.Renew(ctx, s.cfg.SecretID, func(_ *[]*credentials.Credential, age time.Duration) bool { return age < freshness })
	if err != nil {
		return nil, err
	}
	return *list, nil
}

func (s *Secrets) fetchLatest(ctx context.Context, _ string) (*[]*credentials.Credential, credentials.Life, error) {
	fresh := func(_ *version, age time.Duration) bool { return age < freshness }
	current, err := s.cache.Renew(ctx, stageCurrent, fresh)
	if err != nil {
		return nil, credentials.Life{}, err
	}
	list := []*credentials.Credential{&current.credential}
	pending, err := s.cache.Renew(ctx, stagePending, fresh)
	switch unavailable := (*credentials.UnavailableError)(nil); {
	case errors.As(err, &unavailable):
		return nil, credentials.Life{}, err
	case err == nil:
		list = append(list, &pending.credential)
	}
	return &list, credentials.Life{Renew: stageLife, End: stageLife}, nil
}

// Close ends what goes on in the background.
func (s *Secrets) Close() error { return errors.Join(s.latest.Close(), s.cache.Close()) }

// another finds a version that this login has not tried. The one that is used instead of the current one is remembered for
// the target: a rotation changes the password before the secret, and a reader may hear of it later.
func (s *Secrets) another(ctx context.Context, t credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
	if len(refused) >= maxRefused {
		s.detours.forget(t)
		return nil, s.exhausted(t)
	}
	untried := func(v *version) bool { return !credentials.Refused(refused, &v.credential) }
	// What is cached was refused before where there is a detour around it.
	current, err := s.cache.Renew(ctx, stageCurrent, func(v *version, age time.Duration) bool {
		return age < freshness || untried(v) && s.detours.of(t, v) == nil
	})
	if err != nil {
		return nil, err
	}
	if untried(current) {
		s.detours.forget(t)
		return &current.credential, nil
	}
	for _, stage := range []string{stagePending, stagePrevious} {
		v, err := s.cache.Renew(ctx, stage, func(_ *version, age time.Duration) bool { return age < freshness })
		switch unavailable := (*credentials.UnavailableError)(nil); {
		case errors.As(err, &unavailable):
			return nil, err
		case err != nil:
			s.cfg.logger().Debug("awscreds: a version of the secret cannot be used", "secret", s.cfg.SecretID, "stage", stage, "err", err)
		case untried(v):
			s.cfg.logger().Info("awscreds: the current password was refused; another version is tried", "secret", s.cfg.SecretID, "stage", stage, "target", t.String())
			s.detours.take(t, v, current)
			return &v.credential, nil
		}
	}
	s.detours.forget(t)
	return s.last(ctx, t, current, untried)
}

// last waits until what was read is not new any more and reads once more: a password that is changed by hand is changed before
// the secret, or after it, and a rotation may follow another at once.
func (s *Secrets) last(ctx context.Context, t credentials.Target, current *version, untried func(*version) bool) (*credentials.Credential, error) {
	begun := time.Now()
	timer := time.NewTimer(freshness - time.Since(current.read))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, s.exhausted(t)
	}
	for _, stage := range []string{stageCurrent, stagePending} {
		v, err := s.cache.Renew(ctx, stage, func(v *version, _ time.Duration) bool { return untried(v) || v.read.After(begun) })
		switch {
		case err != nil && stage == stageCurrent:
			return nil, err
		case err == nil && untried(v):
			return &v.credential, nil
		}
	}
	return nil, s.exhausted(t)
}

func (s *Secrets) exhausted(t credentials.Target) error {
	return &Error{
		Reason: PasswordRefused, Op: fmt.Sprintf("log in to %s with secret %q", t, s.cfg.SecretID), Err: credentials.ErrExhausted,
		Remedy: fmt.Sprintf("the secret and the database differ: `aws secretsmanager rotate-secret --secret-id %s` sets both", s.cfg.SecretID),
	}
}

// fetch reads one version.
func (s *Secrets) fetch(ctx context.Context, stage string) (*version, credentials.Life, error) {
	none := credentials.Life{}
	cfg, err := s.source.load(ctx)
	if err != nil {
		return nil, none, err
	}
	region := s.source.region(cfg, s.region, s.cfg.HostRegion)
	op := fmt.Sprintf("read secret %q in region %s", s.cfg.SecretID, orUnknown(region))
	if region == "" {
		return nil, none, classify(op, s.arn, &aws.MissingRegionError{})
	}
	out, err := secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { o.Region = region }).
		GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.cfg.SecretID, VersionStage: &stage})
	if err != nil {
		return nil, none, classify(op, s.arn, err)
	}
	v, err := parse(op, stage, out)
	if err != nil {
		return nil, none, err
	}
	if stage != stageCurrent {
		return v, credentials.Life{Renew: stageLife, End: stageLife}, nil
	}
	return v, credentials.Life{Renew: s.cfg.TTL}, nil
}
