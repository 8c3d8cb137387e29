package lambda

import (
	"context"
	"time"
)

// lookInterval is how often it is looked whether the function is done with the service.
const lookInterval = 5 * time.Millisecond

// invoked tells the service of an invocation, and returns when the sandbox may be frozen as far as the service is concerned.
func (x *extension) invoked(ctx context.Context, e *Event) {
	x.thawed()
	x.service.Invoked(e.Deadline())
	if x.cfg.Freeze != FreezeClose {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, e.Deadline())
	defer cancel()
	x.awaitAnswer(ctx, e.RequestID)
	ctx, cancel = context.WithTimeout(ctx, x.cfg.ReleaseWithin)
	defer cancel()
	x.service.Release(ctx)
}

// awaitAnswer waits until the function has answered, or seems to: nothing has happened at the service for a while.
func (x *extension) awaitAnswer(ctx context.Context, requestID string) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	last, since := x.service.Activity(), time.Now()
	for {
		answered, news := x.told.answered(requestID)
		if answered {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-tick.C:
			now := x.service.Activity()
			if now != last || now.Busy > 0 {
				last, since = now, time.Now()
			}
			if time.Since(since) >= x.cfg.Quiet {
				return
			}
		}
	}
}

// watch looks at the clocks, and writes metrics out, until ctx is over.
func (x *extension) watch(ctx context.Context) {
	x.flushed = time.Now().Round(0)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		x.thawed()
		// By the wall clock, so that a freeze counts; once, however many intervals it took.
		if now := time.Now().Round(0); now.Sub(x.flushed) >= x.cfg.FlushInterval {
			x.flushed = now
			if err := x.cfg.Flush(ctx); err != nil {
				x.cfg.Logger.Warn("lambda: metrics could not be written", "error", err)
			}
		}
	}
}

// thawed tells the service if there was a freeze.
func (x *extension) thawed() {
	if gap := x.clock.look(); gap > 0 {
		x.cfg.Logger.Debug("lambda: the sandbox was frozen", "gap", gap)
		x.service.Thawed(gap)
	}
}
