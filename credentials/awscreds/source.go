package awscreds

import (
	"context"
	"log/slog"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Config says whose AWS credentials are used, and where. Its zero value is what the AWS SDK finds by itself: the environment,
// the shared files, a web identity, the container, the machine.
type Config struct {
	// AWS is used in the place of what the SDK finds; nil: what it finds.
	AWS *aws.Config
	// Region is AWS's; default: what the host or the secret's ARN says, then the SDK's.
	Region string
	// Profile is one of the shared files; default: AWS_PROFILE or "default". Not with AWS.
	Profile string
	// Logger gets rotations and failures at Info; nil: no logs.
	Logger *slog.Logger
}

// source loads the SDK's configuration when it is first needed, since that may ask the network.
type source struct {
	cfg Config

	mu     sync.Mutex
	loaded *aws.Config
}

func (s *source) load(ctx context.Context) (aws.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded != nil {
		return *s.loaded, nil
	}
	if s.cfg.AWS != nil {
		c := s.cfg.AWS.Copy()
		s.loaded = &c
		return c, nil
	}
	var opts []func(*config.LoadOptions) error
	if s.cfg.Region != "" {
		opts = append(opts, config.WithRegion(s.cfg.Region))
	}
	if s.cfg.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(s.cfg.Profile))
	}
	c, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, classify("load the AWS configuration", "", err)
	}
	s.loaded = &c
	return c, nil
}

// region is the first that is known of: the one that was set, those that are offered, the SDK's.
func (s *source) region(c aws.Config, offered ...string) string {
	if s.cfg.Region != "" {
		return s.cfg.Region
	}
	for _, r := range offered {
		if r != "" {
			return r
		}
	}
	return c.Region
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}
