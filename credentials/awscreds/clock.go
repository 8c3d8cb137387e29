package awscreds

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	// skewTolerated is left alone: AWS's Date has whole seconds, and RDS takes tokens of clocks that are a little off.
	skewTolerated = 30 * time.Second
	// checkTimeout bounds the question for the time; a VPC may have no way to STS.
	checkTimeout = 2 * time.Second
)

// clock is the local one, put right by what AWS says the time is.
type clock struct{ skew atomic.Int64 } // AWS's time less ours

func (c *clock) now() time.Time { return time.Now().Round(0).Add(c.offset()) }

func (c *clock) offset() time.Duration { return time.Duration(c.skew.Load()) }

// compare asks STS who we are, for the Date of its answer, whatever the answer is.
func (c *clock) compare(ctx context.Context, cfg aws.Config, region string) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	// The second attempt is for a clock that is wrong: the SDK puts it right by the answer to the first.
	out, err := sts.NewFromConfig(cfg, func(o *sts.Options) { o.Region, o.RetryMaxAttempts = region, 2 }).
		GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		var answer *awshttp.ResponseError
		if errors.As(err, &answer) && answer.Response != nil {
			c.learn(answer.Response.Header)
		}
		return Identity{}, classify("ask STS who we are", "", err)
	}
	if at, ok := middleware.GetServerTime(out.ResultMetadata); ok {
		c.set(time.Until(at))
	}
	return Identity{ARN: aws.ToString(out.Arn), Account: aws.ToString(out.Account), Skew: c.offset()}, nil
}

func (c *clock) learn(h http.Header) {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		c.set(time.Until(at))
	}
}

func (c *clock) set(skew time.Duration) {
	if skew.Abs() < skewTolerated {
		skew = 0
	}
	c.skew.Store(int64(skew))
}

// Identity is who AWS takes this process for.
type Identity struct {
	ARN, Account string
	Skew         time.Duration // AWS's clock less ours; 0 when it is less than half a minute
}

// WhoAmI asks STS. It is for diagnosis: it needs no permission, but a way to STS.
func WhoAmI(ctx context.Context, cfg Config) (Identity, error) {
	s := &source{cfg: cfg}
	c, err := s.load(ctx)
	if err != nil {
		return Identity{}, err
	}
	region := s.region(c)
	if region == "" {
		return Identity{}, classify("ask STS who we are", "", &aws.MissingRegionError{})
	}
	return new(clock).compare(ctx, c, region)
}
