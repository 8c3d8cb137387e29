package lambda

import (
	"sync"
	"time"
)

// beat is how often the clocks are looked at while the process runs.
const beat = time.Second

// minGap is the shortest gap that counts; a busy machine makes shorter ones.
const minGap = 2 * time.Second

// stamp is a moment by both clocks.
type stamp struct {
	wall time.Time     // without its monotonic part
	mono time.Duration // since the process began
}

// gapBetween is how long a process did not run between two looks at the clocks, which are beat apart while it runs. A paused
// virtual machine can have its monotonic clock stand still, and then the wall clock has gone on alone; in a process that
// was stopped both have, for longer than a beat. The wall clock can also be set, forwards by a little or backwards: that is
// no gap.
func gapBetween(before, now stamp) time.Duration {
	wall, mono := now.wall.Sub(before.wall), now.mono-before.mono
	gap := max(wall, mono) - beat
	if gap < minGap {
		return 0
	}
	return gap
}

// clock notices when the process was frozen.
type clock struct {
	began time.Time

	mu   sync.Mutex
	last stamp // guarded by mu
}

func newClock() *clock {
	c := &clock{began: time.Now()}
	c.last = c.now()
	return c
}

func (c *clock) now() stamp {
	t := time.Now()
	return stamp{wall: t.Round(0), mono: t.Sub(c.began)}
}

// look returns how long the process was frozen since the last look, 0 if it was not.
func (c *clock) look() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	gap := gapBetween(c.last, now)
	c.last = now
	return gap
}
