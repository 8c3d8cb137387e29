package topology

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestReadersTakeTurnsAndASuspectedOneIsLeftOutAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(3)
		c := watch(t, w, nil)
		pick(t, c, WantReader, 0, time.Second)
		time.Sleep(time.Second)
		got := map[string]int{}
		for range 10 {
			in, _ := pick(t, c, WantReader, 0, time.Second)
			got[in.ID]++
		}
		if got[w.id(2)] != 5 || got[w.id(3)] != 5 {
			t.Fatalf("turns: %v", got)
		}
		w.crash(2)
		ticket := c.Suspect(w.id(2), errGone)
		for range 10 {
			if in, _ := pick(t, c, WantReader, ticket, time.Second); in.ID != w.id(3) {
				t.Fatalf("picked %v", in.ID)
			}
		}
		time.Sleep(time.Second)
		if in, _ := c.Snapshot().Find(w.id(2)); in.Role != Unknown {
			t.Fatalf("the dead reader is %v", in.Role)
		}
		w.restart(2)
		time.Sleep(10 * time.Second)
		if in, _ := c.Snapshot().Find(w.id(2)); in.Role != Reader || in.Boot != "boot-2+" {
			t.Fatalf("the restarted reader is %+v", in)
		}
		if s := c.Snapshot(); s.Epoch != 1 {
			t.Fatalf("epoch %d", s.Epoch)
		}
	})
}

func TestAReaderThatIsFullOrRefusesTheLoginIsNotGone(t *testing.T) {
	for _, err := range []error{&BusyError{errors.New("too many clients")}, &LoginRefusedError{errors.New("password authentication failed")}} {
		bubble(t, func(t *testing.T) {
			w := plain(2)
			c := watch(t, w, nil)
			pick(t, c, WantReader, 0, time.Second)
			time.Sleep(10 * time.Second) // until the connection to the reader is closed
			w.change(2, func(s *server) { s.deny = err })
			c.Suspect(w.id(2), errGone)
			time.Sleep(time.Minute)
			if in, _ := c.Snapshot().Find(w.id(2)); in.Role != Reader {
				t.Fatalf("after %v: %v", err, in.Role)
			}
			if s := c.Snapshot(); s.Epoch != 1 || s.Instances[0].Role != Writer {
				t.Fatalf("%+v", s)
			}
		})
	}
}

func TestTheWriterServesWhenNoReaderAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		c := watch(t, w, nil)
		w.freeze(2)
		time.AfterFunc(100*time.Millisecond, func() { w.thaw(2) })
		if in, _ := pick(t, c, PreferReader, 0, time.Second); in.ID != w.id(2) {
			t.Fatalf("picked %v though a reader answers", in.ID)
		}
		w.freeze(2)
		if in, _ := pick(t, c, PreferReader, c.Suspect(w.id(2), errGone), 5*time.Second); in.ID != w.id(1) {
			t.Fatalf("picked %v", in.ID)
		}
		w.crash(2)
		time.Sleep(10 * time.Second)
		began := time.Now()
		if in, _ := pick(t, c, PreferReader, 0, time.Second); in.ID != w.id(1) || time.Since(began) > 0 {
			t.Fatalf("picked %v after %v", in.ID, time.Since(began))
		}
	})
}

func TestAReaderThatComesBackIsSeenSoonByWhoWaitsForIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		w.crash(2)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(5 * time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() { pick(t, c, WantReader, 0, time.Minute) })
		time.Sleep(10 * time.Second)
		w.restart(2)
		back := time.Now()
		wg.Wait()
		if d := time.Since(back); d > time.Second {
			t.Fatalf("it took %v", d)
		}
	})
}

func TestARefusedLoginEndsPickAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(3)
		w.refuse = errors.New("password authentication failed")
		w.crash(3)
		c := watch(t, w, nil)
		for range 3 {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, _, err := c.Pick(ctx, WantWriter, 0)
			cancel()
			refused := (*LoginRefusedError)(nil)
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), "password authentication failed") || !strings.Contains(err.Error(), "connection refused") {
				t.Fatalf("error: %v", err)
			}
			if d := time.Since(began); d > 100*time.Millisecond {
				t.Fatalf("it took %v", d)
			}
		}
		w.mu.Lock()
		w.refuse = nil
		w.mu.Unlock()
		pick(t, c, WantWriter, 0, time.Second)
	})
}

func TestOneWrongPasswordDoesNotHideARightOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, bad := plain(2), plain(2)
		bad.refuse = errors.New("password authentication failed")
		c := watch(t, bad, nil)
		_, _, err := c.Pick(t.Context(), WantWriter, 0)
		if err == nil {
			t.Fatal("no error with the wrong password alone")
		}
		release := c.Attach(w)
		pick(t, c, WantWriter, 0, 5*time.Second)
		_, tries, _ := bad.counts()
		for range 5 {
			pick(t, c, WantWriter, c.Suspect(w.id(1), errGone), time.Second)
			time.Sleep(10 * time.Second)
		}
		if _, n, _ := bad.counts(); n != tries {
			t.Errorf("the refused login was tried %d times more", n-tries)
		}
		release()
		if open, _, _ := w.counts(); open != 0 {
			t.Errorf("%d connections of a released prober", open)
		}
	})
}

func TestPickEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		w.freeze(1)
		defer w.thaw(1)
		c := watch(t, w, nil)
		cause := errors.New("the user is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(cause) })
		began := time.Now()
		_, _, err := c.Pick(ctx, WantWriter, 0)
		if !errors.Is(err, cause) || time.Since(began) != 3*time.Second {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestWithoutProbingTheSeedsAreTakenInOrder(t *testing.T) {
	w := plain(3)
	c, err := New(Config{Seeds: w.seeds(), Kind: KindNone})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Attach(w)()
	for _, want := range []string{w.id(1), w.id(2), w.id(3), w.id(1)} {
		for range 2 {
			in, _, err := c.Pick(t.Context(), WantWriter, 0)
			if err != nil || in.ID != want || in.Role != Unknown {
				t.Fatalf("%+v, %v; want %s", in, err, want)
			}
		}
		first, second := c.Suspect(want, errGone), c.Suspect(want, errGone)
		if first != 0 || second != 0 {
			t.Fatal("a ticket")
		}
	}
	if _, opened, _ := w.counts(); opened != 0 {
		t.Fatalf("%d connections", opened)
	}
}

func TestASuspectedWriterIsNotPickedUntilItAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		w.freeze(1)
		defer w.thaw(1)
		c.Suspect(w.id(1), errGone)
		time.AfterFunc(time.Second, func() { w.promote(2, 2) })
		if in, _ := pick(t, c, WantWriter, 0, 5*time.Second); in.ID != w.id(2) {
			t.Fatalf("picked %v", in.ID)
		}
	})
}

func TestWhoComesWhileAHuntEndsIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		w.latency = 100 * time.Millisecond
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Second)
		c.Suspect(w.id(1), errGone)
		time.Sleep(50 * time.Millisecond) // the answer that will end the hunt is on its way
		pick(t, c, WantWriter, c.Now(), time.Second)
	})
}

func TestWhoComesWhileALoginIsRefusedGetsATryOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(1)
		w.latency = 100 * time.Millisecond
		w.refuse = errors.New("password authentication failed")
		c := watch(t, w, nil)
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		_, _, err := c.Pick(t.Context(), WantWriter, 0)
		if d := time.Since(began); err == nil || d != 150*time.Millisecond {
			t.Fatalf("after %v: %v", d, err)
		}
	})
}
