package credentials

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a fetch that counts, takes a second, and fails while broken is set.
type counted struct {
	fetches atomic.Int32
	broken  atomic.Bool
	life    Life
}

var errBroken = errors.New("out of reach")

func (f *counted) fetch(ctx context.Context, key string) (*int, Life, error) {
	n := int(f.fetches.Add(1))
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, Life{}, context.Cause(ctx)
	}
	if f.broken.Load() {
		return nil, Life{}, errBroken
	}
	return &n, f.life, nil
}

func newCounted(t *testing.T, life Life) (*counted, *Cache[string, int]) {
	f := &counted{life: life}
	c := NewCache(CacheConfig[string, int]{Fetch: f.fetch})
	t.Cleanup(func() { _ = c.Close() })
	return f, c
}

func get(t *testing.T, c *Cache[string, int]) int {
	t.Helper()
	v, err := c.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	return *v
}

func TestAValueIsFetchedOnceHoweverManyAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: time.Hour})
		var wg sync.WaitGroup
		for range 10000 {
			wg.Go(func() {
				if get(t, c) != 1 {
					t.Error("another value")
				}
			})
		}
		wg.Wait()
		if n := f.fetches.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestAValueIsRenewedInTheBackgroundBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: 15 * time.Minute, End: 15 * time.Minute})
		get(t, c)
		time.Sleep(8 * time.Minute) // less than two thirds, less the jitter
		get(t, c)
		synctest.Wait()
		if n := f.fetches.Load(); n != 1 {
			t.Fatalf("%d fetches before two thirds of the life", n)
		}
		time.Sleep(3*time.Minute + time.Second) // more than two thirds, with the jitter
		begin := time.Now()
		for range 100 {
			if v := get(t, c); v != 1 {
				t.Fatalf("value %d", v)
			}
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a caller waited %v for what happens in the background", waited)
		}
		time.Sleep(2 * time.Second)
		if v, n := get(t, c), f.fetches.Load(); v != 2 || n != 2 {
			t.Errorf("value %d after %d fetches", v, n)
		}
	})
}

func TestTheProcessesOfAFleetRenewAtDifferentTimes(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 100 {
		d := jittered(10 * time.Minute)
		if d < 9*time.Minute || d > 11*time.Minute {
			t.Fatalf("%v", d)
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different times", len(seen))
	}
}

func TestAnOldValueIsServedWhileNoNewOneCanBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: time.Hour})
		get(t, c)
		f.broken.Store(true)
		before := f.fetches.Load()
		for range 24 * 60 {
			time.Sleep(time.Minute)
			if get(t, c) != 1 {
				t.Fatal("another value")
			}
		}
		if n := f.fetches.Load() - before; n < 100 || n > 24*60 {
			t.Errorf("%d attempts to renew in a day", n)
		}
		f.broken.Store(false)
		time.Sleep(time.Minute)
		get(t, c)
		time.Sleep(2 * time.Second)
		if get(t, c) == 1 {
			t.Error("still the old value")
		}
	})
}

func TestAValuePastItsEndIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: 15 * time.Minute, End: 15 * time.Minute})
		get(t, c)
		time.Sleep(15*time.Minute + time.Second)
		if v := get(t, c); v != 2 {
			t.Errorf("value %d", v)
		}
		f.broken.Store(true)
		time.Sleep(20 * time.Minute)
		if v, err := c.Get(t.Context(), "k"); !errors.Is(err, errBroken) {
			t.Errorf("%v, %v", v, err)
		}
		if _, ok := c.Peek("k"); ok {
			t.Error("Peek gives it")
		}
	})
}

func TestWhoGivesUpWaitingDoesNotTakeTheValueFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if v := get(t, c); v != 1 || f.fetches.Load() != 1 {
			t.Errorf("value %d after %d fetches", v, f.fetches.Load())
		}
	})
}

func TestRenewingFetchesOnceForAllWhoseValueWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: time.Hour})
		old := get(t, c)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond) // some notice when the new value is there
				v, err := c.Renew(t.Context(), "k", func(v *int, _ time.Duration) bool { return *v != old })
				if err != nil || *v != 2 {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if n := f.fetches.Load(); n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestWhoComesLateToAFetchTakesItsValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newCounted(t, Life{Renew: time.Hour})
		get(t, c) // after it was looked for in vain, and before this:
		if v, err := c.fetch(t.Context(), "k", func(it *item[int]) bool { return it.usable(time.Now()) }); err != nil || *v != 1 || f.fetches.Load() != 1 {
			t.Errorf("%d fetches, %v", f.fetches.Load(), err)
		}
	})
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(CacheConfig[string, int]{Fetch: func(ctx context.Context, _ string) (*int, Life, error) {
			<-ctx.Done()
			return nil, Life{}, context.Cause(ctx)
		}})
		failed := make(chan error)
		go func() {
			_, err := c.Get(context.Background(), "k")
			failed <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = c.Get(ctx, "other")
		go func() { _ = c.Close() }()
		var u *UnavailableError
		if err := <-failed; !errors.As(err, &u) || !errors.Is(err, errCacheClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestValuesPastTheirEndAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newCounted(t, Life{Renew: time.Minute, End: time.Minute})
		for _, key := range []string{"a", "b", "c"} {
			if _, err := c.Get(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}
		if m := *c.entries.read.Load(); len(m) != 1 {
			t.Errorf("%d entries", len(m))
		}
	})
}
