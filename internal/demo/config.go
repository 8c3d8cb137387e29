package demo

import (
	"log/slog"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
)

// Config says how long the demo takes its time over what. Its zero value is the demo of the README, which takes less than
// a minute.
type Config struct {
	// Workers is how many goroutines, with a connection each, every contestant has; default 16.
	Workers int
	// Pace is the time from the begin of an operation to the begin of the next one of the same worker, if it takes no
	// longer; default 20 ms.
	Pace time.Duration
	// OpTimeout bounds every operation, as the deadline of a request would; default 10 s.
	OpTimeout time.Duration
	// StaleDNS is how long the cluster endpoint leads to the old writer after a failover; default 15 s, negative: not at
	// all. The records of RDS live for 5 s, but count only from when they were changed: half a minute until clients see
	// the new writer is common.
	StaleDNS time.Duration
	// Settle is how long the load runs undisturbed before each failure and after all have recovered from it; default 2 s.
	Settle time.Duration
	// BinDir is where PostgreSQL's programs are; default: found by rdstest.
	BinDir string
	// Logger gets what rdstest and the driver do; default nil: no logs.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Workers = orInt(c.Workers, 16)
	c.Pace = orDuration(c.Pace, 20*time.Millisecond)
	c.OpTimeout = orDuration(c.OpTimeout, 10*time.Second)
	c.StaleDNS = orDuration(c.StaleDNS, 15*time.Second)
	c.Settle = orDuration(c.Settle, 2*time.Second)
	c.StaleDNS = max(c.StaleDNS, 0)
	return c
}

func (c Config) cluster() rdstest.Config {
	return rdstest.Config{Readers: 2, StaleDNS: c.StaleDNS, BinDir: c.BinDir, Logger: c.Logger}
}

// patience is how long the run waits for contestants after a failure before it goes on without them.
func (c Config) patience() time.Duration {
	return max(c.StaleDNS, c.OpTimeout) + connectTimeout + 3*time.Second
}

func orInt(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

func orDuration(v, def time.Duration) time.Duration {
	if v == 0 {
		return def
	}
	return v
}
