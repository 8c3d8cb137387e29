package lambda

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Service is what an extension serves to its function. Its methods may be called from several goroutines; Listen and Serve
// are called once, in this order.
type Service interface {
	// Listen opens the addresses at which the function finds the service, and returns at once. A client that comes before
	// Serve waits.
	Listen(ctx context.Context) error
	// Serve serves clients until Shutdown is called, and returns nil then. It opens no connections before there is a
	// client, or a call of Warm that asks for it.
	Serve() error
	// Warm prepares what would make the first client wait. An error is logged; the service works without.
	Warm(ctx context.Context, w Warmth) error
	// Invoked tells that an invocation of the function has begun, which ends at its deadline (zero: not known). It is not
	// called on Managed Instances.
	Invoked(deadline time.Time)
	// Thawed tells that the process did not run for about this time.
	Thawed(gap time.Duration)
	// Activity is what clients are doing.
	Activity() Activity
	// Release closes the connections that nobody uses, until ctx is over.
	Release(ctx context.Context)
	// Shutdown lets nobody in any more, waits for open transactions until ctx is over, cuts off what is left, and closes all
	// connections.
	Shutdown(ctx context.Context) error
}

// Warmth is how much a service prepares.
type Warmth int

// The degrees of warmth.
const (
	// WarmCredentials is what survives a snapshot: secrets and tokens, but no connection.
	WarmCredentials Warmth = iota + 1
	// WarmConnections is that, who is the writer, and a connection that knows it.
	WarmConnections
)

// Activity is what the clients of a [Service] are doing.
type Activity struct {
	// Busy is how many of them have something in flight or a transaction open.
	Busy int
	// Mark is another one whenever one of them has begun or ended something: between two looks at the same mark there was nothing.
	Mark uint64
}

// Freeze says what becomes of the service's connections when the sandbox is frozen.
type Freeze string

// What becomes of connections in a freeze.
const (
	// FreezeKeep leaves them open. After a long freeze the server, or something between, may have dropped them.
	FreezeKeep Freeze = "keep"
	// FreezeIdle leaves them open too, and the service has told the server to close them when they are idle for too long: the
	// only one who can, as long as the sandbox is frozen.
	FreezeIdle Freeze = "idle"
	// FreezeClose closes those that nobody uses when the function has answered, before the sandbox is frozen.
	FreezeClose Freeze = "close"
)

// Defaults of a Config, which stand for zero values.
const (
	DefaultWarmTimeout   = 2 * time.Second
	DefaultQuiet         = 250 * time.Millisecond
	DefaultReleaseWithin = 100 * time.Millisecond
	DefaultFlushInterval = time.Minute
)

// shutdownMargin is left of the time until the sandbox is ended by force, for the last words and the exit.
const shutdownMargin = 200 * time.Millisecond

// shutdownTime is how long a shutdown takes whose deadline nobody tells: what Lambda gives external extensions.
const shutdownTime = 2 * time.Second

// Config says what an extension serves. Open is required.
type Config struct {
	// Open makes the service. Its error is reported to Lambda as Extension.ConfigInvalid, and ends Run.
	Open func(s Sandbox) (Service, error)
	// Freeze is what becomes of connections in a freeze. Default FreezeIdle.
	Freeze Freeze
	// WarmTimeout bounds Warm. Init is not over before, and Lambda gives it ten seconds in all. Default DefaultWarmTimeout.
	WarmTimeout time.Duration
	// Quiet is how long nothing may have happened at the service until the function is taken to be done with it in this
	// invocation, if Lambda does not say earlier that it is; for FreezeClose. It bounds the time that the wait for the
	// function's end adds to an invocation. Default DefaultQuiet.
	Quiet time.Duration
	// ReleaseWithin bounds Release, whose time is part of the invocation. Default DefaultReleaseWithin.
	ReleaseWithin time.Duration
	// Flush writes out metrics; it is called every FlushInterval while the sandbox runs, and at its end. Default: nothing is.
	Flush func(ctx context.Context) error
	// FlushInterval is how long metrics are collected. Default DefaultFlushInterval.
	FlushInterval time.Duration
	// Logger gets what an operator acts on. Default: no logs.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Open == nil {
		return c, errors.New("lambda: Config.Open is nil: there is nothing to serve")
	}
	switch c.Freeze {
	case "":
		c.Freeze = FreezeIdle
	case FreezeKeep, FreezeIdle, FreezeClose:
	default:
		return c, fmt.Errorf("lambda: Config.Freeze is %q: keep, idle and close are known", c.Freeze)
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&c.WarmTimeout, DefaultWarmTimeout}, {&c.Quiet, DefaultQuiet}, {&c.ReleaseWithin, DefaultReleaseWithin}, {&c.FlushInterval, DefaultFlushInterval}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.Flush == nil {
		c.Flush = func(context.Context) error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
