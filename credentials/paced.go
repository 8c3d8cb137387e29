package credentials

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// DefaultIAMRate is how many logins a second AWS lets an instance check by IAM, less a margin: its guidance is to stay under
// 200.
const DefaultIAMRate = 150

// Paced is p with the logins to one host smoothed to perSecond: who asks too early waits. A quarter of a second's worth may
// come at once. 0 or less is no limit, and p itself.
func Paced(p Provider, perSecond int) Provider {
	if perSecond <= 0 {
		return p
	}
	gap := time.Second / time.Duration(perSecond)
	return &paced{provider: p, gap: gap, burst: gap * time.Duration(perSecond/4)}
}

type paced struct {
	provider   Provider
	gap, burst time.Duration
	hosts      table[gate, *atomic.Int64] // when the next login is due, in nanoseconds since the epoch
}

var _ io.Closer = (*paced)(nil)

// gate is what logins are counted for.
type gate struct {
	host string
	port uint16
}

// Credential implements [Provider].
func (p *paced) Credential(ctx context.Context, t Target, refused []Refusal) (*Credential, error) {
	if wait := p.reserve(gate{t.Host, t.Port}); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, &UnavailableError{Err: fmt.Errorf("credentials: %s: wait %v for a turn among many logins: %w", t, wait.Round(time.Millisecond), context.Cause(ctx))}
		}
	}
	return p.provider.Credential(ctx, t, refused)
}

// reserve takes a turn, and tells how long it is until then.
func (p *paced) reserve(g gate) time.Duration {
	due, ok := p.hosts.get(g)
	if !ok {
		due = p.hosts.getOrMake(g, func() *atomic.Int64 { return new(atomic.Int64) },
			func(_ gate, d *atomic.Int64) bool { return d.Load() < time.Now().UnixNano() })
	}
	for {
		now, next := time.Now().UnixNano(), due.Load()
		turn := max(next, now)
		if due.CompareAndSwap(next, turn+int64(p.gap)) {
			return time.Duration(turn-now) - p.burst
		}
	}
}

// Close closes the provider within.
func (p *paced) Close() error { return Close(p.provider) }
