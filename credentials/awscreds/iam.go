package awscreds

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/internal/rdsname"
)

const (
	// tokenUse is how long a token is used: its life less a margin for clocks that differ and logins that are slow.
	tokenUse = tokenLife - 2*time.Minute
	// doubtEvery is how often refusals make us fetch AWS's credentials and its time again.
	doubtEvery = 30 * time.Second
)

// IAMConfig is what [NewIAM] makes a provider of.
type IAMConfig struct {
	Config
	// SignFor says which endpoint a token is signed for when t is dialled, where that is not t: behind a tunnel, a CNAME
	// or a load balancer. Default: t.
	SignFor func(t credentials.Target) credentials.Target
}

// IAM logs in with tokens that AWS credentials have signed. It is safe for concurrent use.
type IAM struct {
	cfg    IAMConfig
	source *source
	cache  *credentials.Cache[credentials.Target, credentials.Credential]
	clock  clock
	make   func(ctx context.Context, by signing) (*credentials.Credential, error)
	lost   func(t credentials.Target) error // why there is no other token

	doubt     atomic.Bool  // a token was refused
	doubtedAt atomic.Int64 // when that was last looked into, in nanoseconds since the epoch
}

var (
	_ credentials.Provider = (*IAM)(nil)
	_ io.Closer            = (*IAM)(nil)
)

// NewIAM returns a provider of tokens. Nothing is asked of AWS before the first login.
func NewIAM(cfg IAMConfig) *IAM {
	if cfg.SignFor == nil {
		cfg.SignFor = func(t credentials.Target) credentials.Target { return t }
	}
	i := newIAM(cfg)
	i.make, i.lost = rdsToken, i.exhausted
	return i
}

func newIAM(cfg IAMConfig) *IAM {
	i := &IAM{cfg: cfg, source: &source{cfg: cfg.Config}}
	i.cache = credentials.NewCache(credentials.CacheConfig[credentials.Target, credentials.Credential]{
		Fetch: i.fetch, Logger: cfg.Logger,
	})
	return i
}

// Credential implements [credentials.Provider].
func (i *IAM) Credential(ctx context.Context, t credentials.Target, refused []credentials.Refusal) (*credentials.Credential, error) {
	if len(refused) == 0 {
		return i.cache.Get(ctx, t)
	}
	if len(refused) == 1 {
		i.doubt.Store(true)
		c, err := i.cache.Renew(ctx, t, func(c *credentials.Credential, _ time.Duration) bool { return !credentials.Refused(refused, c) })
		if err != nil || !credentials.Refused(refused, c) {
			return c, err
		}
	}
	return nil, i.lost(t)
}

// Close ends what goes on in the background.
func (i *IAM) Close() error { return i.cache.Close() }

// fetch signs a token.
func (i *IAM) fetch(ctx context.Context, t credentials.Target) (*credentials.Credential, credentials.Life, error) {
	none := credentials.Life{}
	to := i.cfg.SignFor(t)
	op := fmt.Sprintf("sign a token for %s", to)
	cfg, err := i.source.load(ctx)
	if err != nil {
		return nil, none, err
	}
	region := i.source.region(cfg, rdsname.Region(to.Host))
	if region == "" {
		return nil, none, classify(op, "", &aws.MissingRegionError{})
	}
	if i.doubt.Swap(false) {
		i.lookAgain(ctx, cfg, region)
	}
	if cfg.Credentials == nil {
		return nil, none, &Error{Reason: NoAWSCredentials, Op: op, Remedy: remedy(NoAWSCredentials, "")}
	}
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, none, classify(op, "", fmt.Errorf("get credentials: %w", err))
	}
	now := i.clock.now()
	c, err := i.make(ctx, signing{to, region, cfg, creds, now})
	if err != nil {
		return nil, none, err
	}
	// A token ends with the session that has signed it.
	use := tokenUse
	if creds.CanExpire {
		use = min(use, creds.Expires.Sub(now)-time.Second)
	}
	if use <= 0 {
		use = time.Second
	}
	return c, credentials.Life{Renew: use, End: use}, nil
}

// signing is what a token is made of.
type signing struct {
	to     credentials.Target
	region string
	cfg    aws.Config
	creds  aws.Credentials
	at     time.Time
}

func rdsToken(ctx context.Context, by signing) (*credentials.Credential, error) {
	token, err := sign(ctx, by.to, by.region, by.creds, by.at)
	if err != nil {
		return nil, err
	}
	return &credentials.Credential{User: by.to.User, Password: credentials.NewSecret(token), Bearer: true, Label: "IAM token for " + by.to.String() + " in " + by.region}, nil
}

// lookAgain takes a refusal for a sign that the AWS credentials or the clock are not what they were.
func (i *IAM) lookAgain(ctx context.Context, cfg aws.Config, region string) {
	now := time.Now().UnixNano()
	if last := i.doubtedAt.Load(); now-last < int64(doubtEvery) || !i.doubtedAt.CompareAndSwap(last, now) {
		return
	}
	if cache, ok := cfg.Credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
	before := i.clock.offset()
	if _, err := i.clock.compare(ctx, cfg, region); err != nil {
		i.cfg.logger().Debug("awscreds: the clock could not be compared with AWS's", "err", err)
	}
	if after := i.clock.offset(); after != before {
		i.cfg.logger().Info("awscreds: the clock is wrong; tokens are signed for AWS's time", "skew", after.Round(time.Second))
	}
}

func (i *IAM) exhausted(t credentials.Target) error {
	to := i.cfg.SignFor(t)
	if r := rdsname.Region(to.Host); r != "" && i.cfg.Region != "" && i.cfg.Region != r {
		return &Error{
			Reason: RegionMismatch, Op: fmt.Sprintf("log in to %s with a token for %s", t, to), Remedy: "leave aws_region out, or set it to " + r,
			Err: fmt.Errorf("the host is in %s, and aws_region is %s: %w", r, i.cfg.Region, credentials.ErrExhausted),
		}
	}
	return &Error{
		Reason: TokenRefused, Op: fmt.Sprintf("log in to %s with a token for %s", t, to), Err: credentials.ErrExhausted,
		Remedy: fmt.Sprintf(`in the database: GRANT rds_iam TO %q; in IAM, for this role: {"Effect":"Allow","Action":"rds-db:connect","Resource":"arn:%s:rds-db:%s:<account>:dbuser:<DbClusterResourceId>/%s"}; and IAM authentication must be on for the cluster`, to.User, rdsname.PartitionOf(rdsname.Region(to.Host)).ID, orUnknown(rdsname.Region(to.Host)), to.User),
	}
}

func orUnknown(region string) string {
	if region == "" {
		return "<region>"
	}
	return region
}
