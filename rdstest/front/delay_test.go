package front

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// arrivals collects what a delay line delivers, with the time since the bubble's beginning.
type arrivals struct {
	began time.Time
	bytes int
	last  time.Duration
}

func (a *arrivals) deliver(b []byte) error {
	a.bytes += len(b)
	a.last = time.Since(a.began)
	return nil
}

func TestDelayIsOfEachByteAndNotOfEachWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var q delayLine
		a := arrivals{began: time.Now()}
		start := func() { go q.run(ctx, a.deliver) }
		for range 1000 {
			if queued, err := q.push(ctx, make([]byte, 1000), 50*time.Millisecond, start); !queued || err != nil {
				t.Fatal(queued, err)
			}
		}
		if err := q.drain(ctx); err != nil {
			t.Fatal(err)
		}
		if a.bytes != 1_000_000 || a.last != 50*time.Millisecond {
			t.Errorf("%d bytes, the last after %v; want 1000000 after 50ms", a.bytes, a.last)
		}
	})
}

func TestBytesWithoutDelayStayBehindDelayedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var q delayLine
		var got []byte
		start := func() {
			go q.run(ctx, func(b []byte) error { got = append(got, b...); return nil })
		}
		for _, step := range []struct {
			b      string
			d      time.Duration
			queued bool
		}{
			{"a", 0, false}, // passes by
			{"b", time.Second, true},
			{"c", 0, true},
			{"d", time.Millisecond, true},
		} {
			if queued, err := q.push(ctx, []byte(step.b), step.d, start); queued != step.queued || err != nil {
				t.Fatal(step.b, queued, err)
			}
		}
		if err := q.drain(ctx); err != nil {
			t.Fatal(err)
		}
		if string(got) != "bcd" {
			t.Errorf("delivered %q, want %q", got, "bcd")
		}
		if queued, err := q.push(ctx, []byte("e"), 0, start); queued || err != nil {
			t.Error("an empty line without delay queued")
		}
	})
}

func TestFullDelayLineWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var q delayLine
		a := arrivals{began: time.Now()}
		start := func() { go q.run(ctx, a.deliver) }
		for range 3 {
			if _, err := q.push(ctx, make([]byte, lineLimit), time.Second, start); err != nil {
				t.Fatal(err)
			}
		}
		// The second one has waited for the first, and was due when it was.
		if got := time.Since(a.began); got != time.Second {
			t.Errorf("three lines full were taken after %v, want 1s", got)
		}
	})
}

func TestDelayLinePassesErrorsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var q delayLine
		broken := errors.New("broken")
		start := func() { go q.run(ctx, func([]byte) error { return broken }) }
		if _, err := q.push(ctx, []byte("a"), time.Second, start); err != nil {
			t.Fatal(err)
		}
		if err := q.drain(ctx); !errors.Is(err, broken) {
			t.Errorf("drain: %v", err)
		}
		if _, err := q.push(ctx, []byte("b"), 0, start); !errors.Is(err, broken) {
			t.Errorf("push: %v", err)
		}
	})
}

// A round trip of a question that the front itself answers takes as long as one that the server answers.
func TestGreetingsAreDelayedThereAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Front{}
		f.weather.Store(newWeather(0))
		f.delay.Store(int64(time.Second))
		l := &link{front: f}
		l.ctx, l.cancel = context.WithCancel(t.Context())
		here, there := net.Pipe()
		p := &port{Conn: here, link: l}
		began := time.Now()
		hear := func() time.Duration {
			if _, err := there.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		p.greeting.Store(true)
		_, _ = p.Write([]byte("N"))
		if got := hear(); got != 2*time.Second {
			t.Errorf("the greeting came after %v, want 2s", got)
		}
		p.greeting.Store(false)
		_, _ = p.Write([]byte("R"))
		if got := hear(); got != 3*time.Second {
			t.Errorf("the next message came after %v, want 3s", got)
		}
		l.cancel()
		_, _ = here.Close(), there.Close()
		l.lines.Wait()
	})
}
