package lambda

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestAGapIsSeenByEitherClock(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name       string
		wall, mono time.Duration
		gap        time.Duration
	}{
		{"it runs", s, s, 0},
		{"it runs on a busy machine", 2500 * time.Millisecond, 2500 * time.Millisecond, 0},
		{"the process was stopped", 61 * s, 61 * s, 60 * s},
		{"the machine was paused, and its monotonic clock", 601 * s, s, 600 * s},
		{"the wall clock was set back while the process was stopped", -600 * s, 61 * s, 60 * s},
		{"the wall clock was set back", -600 * s, s, 0},
		{"the wall clock was corrected", 2 * s, s, 0},
	} {
		before := stamp{wall: time.Unix(1_800_000_000, 0), mono: 5 * s}
		if gap := gapBetween(before, stamp{wall: before.wall.Add(c.wall), mono: before.mono + c.mono}); gap != c.gap {
			t.Errorf("%s: gap %v, not %v", c.name, gap, c.gap)
		}
	}
}

func TestAFreezeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		for range 5 {
			time.Sleep(beat)
			if gap := c.look(); gap != 0 {
				t.Fatalf("gap %v while it runs", gap)
			}
		}
		time.Sleep(time.Hour)
		if gap := c.look(); gap < 59*time.Minute {
			t.Errorf("gap %v after an hour", gap)
		}
		if gap := c.look(); gap != 0 {
			t.Errorf("the same gap again: %v", gap)
		}
	})
}

// busy is a service whose clients do something until a moment.
type busy struct {
	Service
	began        time.Time
	used, in     time.Duration // when the last use began, and how long it took
	released     time.Duration
	releasedWith context.Context
}

func (b *busy) Activity() Activity {
	now := time.Since(b.began)
	a := Activity{}
	if now >= b.used {
		a.Mark = 1
		if now < b.used+b.in {
			a.Busy = 1
		}
	}
	return a
}
func (b *busy) Invoked(time.Time)    {}
func (b *busy) Thawed(time.Duration) {}
func (b *busy) Release(ctx context.Context) {
	b.released, b.releasedWith = time.Since(b.began), ctx
}

func TestTheFunctionIsDoneWhenNothingHappensForAWhile(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name           string
		used, in, want time.Duration
	}{
		{"after its last use", 50 * ms, 300 * ms, 450 * ms},
		{"though it never used the service", time.Hour, ms, 100 * ms},
		{"at its deadline, with a transaction open", 0, time.Hour, 3000 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &busy{began: time.Now(), used: c.used, in: c.in}
			cfg, err := Config{Open: func(Sandbox) (Service, error) { return b, nil }, Freeze: FreezeClose, Quiet: 100 * ms}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			x := &extension{cfg: cfg, service: b, clock: newClock()}
			x.invoked(t.Context(), &Event{Type: Invoke, DeadlineMs: b.began.Add(3 * time.Second).UnixMilli()})
			if off := b.released - c.want; off < 0 || off > 3*lookInterval {
				t.Errorf("%s: released after %v, not %v", c.name, b.released, c.want)
			}
			if deadline, ok := b.releasedWith.Deadline(); !ok || deadline.Sub(b.began) > b.released+cfg.ReleaseWithin {
				t.Errorf("%s: the release is not bounded", c.name)
			}
		})
	}
}
