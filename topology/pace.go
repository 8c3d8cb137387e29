package topology

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// pace says how long an asker waits before it asks again.
//
// While an instance answers, the pause grows by a hundredth of the time already spent: the search never adds more than about
// one percent to an outage, and a long outage does not mean that every client asks two hundred times a second. A dead instance
// is tried at a pace that grows faster, since each try costs a connection, and one that refuses the login at
// a pace that does not lock accounts. One that has no connection to spare is left alone the longer.
type pace struct {
	answered, failing, refused, busy *backoff.ExponentialBackOff
	last                             outcome
}

type outcome uint8

const (
	outcomeNone outcome = iota
	outcomeAnswered
	outcomeFailed
	outcomeRefused
	outcomeBusy
)

func newPace() *pace {
	series := func(first time.Duration, factor float64, last time.Duration) *backoff.ExponentialBackOff {
		return backoff.NewExponentialBackOff(backoff.WithInitialInterval(first), backoff.WithMultiplier(factor),
			backoff.WithMaxInterval(last), backoff.WithRandomizationFactor(0.2), backoff.WithMaxElapsedTime(0))
	}
	return &pace{
		answered: series(5*time.Millisecond, 1.01, 75*time.Millisecond),
		failing:  series(5*time.Millisecond, 1.05, 100*time.Millisecond),
		refused:  series(100*time.Millisecond, 1.5, 2*time.Second),
		busy:     series(50*time.Millisecond, 1.3, 500*time.Millisecond),
	}
}

// reset begins anew: something happened.
func (p *pace) reset() {
	p.answered.Reset()
	p.failing.Reset()
	p.refused.Reset()
	p.busy.Reset()
	p.last = outcomeNone
}

// next is the pause after an attempt that ended so.
func (p *pace) next(o outcome) time.Duration {
	b := p.answered
	switch o {
	case outcomeFailed:
		b = p.failing
	case outcomeRefused:
		b = p.refused
	case outcomeBusy:
		b = p.busy
	}
	if o != p.last && p.last != outcomeNone {
		b.Reset()
	}
	p.last = o
	return b.NextBackOff()
}
