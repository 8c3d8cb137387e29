package topology

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheWriterIsFoundAmongReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(3)
		c := watch(t, w, nil)
		in, s := pick(t, c, WantWriter, 0, time.Second)
		if in.ID != w.id(1) || s.Epoch != 1 || s.Kind != KindReplication || s.SystemID != "sys" || s.Timeline != 1 || in.Boot != "boot-1" {
			t.Fatalf("writer %+v in %+v", in, s)
		}
		time.Sleep(time.Second)
		if r := c.Snapshot().Readers(); len(r) != 2 || r[0].ID != w.id(2) {
			t.Fatalf("readers %+v", r)
		}
	})
}

func TestQuietIsOneConnectionAskedOncePerInterval(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(auroraOf(3)...)
		c := watch(t, w, func(cfg *Config) { cfg.HostPattern = "10.0.0.?" })
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(5 * time.Second)
		open, opened, probes := w.counts()
		if open != 1 {
			t.Fatalf("%d connections when nothing happens", open)
		}
		time.Sleep(100 * time.Second)
		if o, n, p := w.counts(); o != 1 || n != opened || p < probes+3 || p > probes+4 {
			t.Fatalf("in 100 s: %d connections, %d new ones, %d probes", o, n-opened, p-probes)
		}
	})
}

func TestAPromotedReaderIsKnownAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var failovers []Failover
		w := plain(3)
		c := watch(t, w, func(cfg *Config) { cfg.OnFailover = func(f Failover) { failovers = append(failovers, f) } })
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		w.crash(1)
		_, opened, _ := w.counts()
		began := time.Now()
		ticket := c.Suspect(w.id(1), errGone)
		time.Sleep(time.Millisecond)
		if _, n, _ := w.counts(); n-opened < 3 {
			t.Errorf("a dead writer gets a head start: %d connections were opened", n-opened)
		}
		var found time.Time
		var wg sync.WaitGroup
		wg.Go(func() {
			in, s := pick(t, c, WantWriter, ticket, time.Minute)
			found = time.Now()
			if in.ID != w.id(2) || s.Epoch != 2 || s.Timeline != 2 {
				t.Errorf("writer %+v in %+v", in, s)
			}
		})
		time.Sleep(300 * time.Millisecond)
		w.promote(2, 2)
		promoted := time.Now()
		wg.Wait()
		if d := found.Sub(promoted); d > 15*time.Millisecond {
			t.Errorf("it took %v from the promotion", d)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(failovers) != 1 {
			t.Fatalf("%d failovers told", len(failovers))
		}
		f := failovers[0]
		if f.Old.ID != w.id(1) || f.New.ID != w.id(2) || f.Epoch != 2 || !f.Began.Equal(began) || f.Detect+f.Find != found.Sub(began) {
			t.Errorf("%+v", f)
		}
	})
}

func TestAFalseSuspicionChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var changes atomic.Int64
		w := plain(3)
		c := watch(t, w, func(cfg *Config) { cfg.OnChange = func(_, _ *Snapshot) { changes.Add(1) } })
		_, before := pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(10 * time.Second)
		changes.Store(0)
		_, opened, _ := w.counts()
		began := time.Now()
		ticket := c.Suspect(w.id(1), errGone)
		in, s := pick(t, c, WantWriter, ticket, time.Second)
		if d := time.Since(began); d > 10*time.Millisecond {
			t.Errorf("it took %v to be sure", d)
		}
		if in.ID != w.id(1) || s.Epoch != before.Epoch || Ticket(in.Round) <= ticket {
			t.Fatalf("%+v in epoch %d after ticket %d", in, s.Epoch, ticket)
		}
		time.Sleep(100 * time.Millisecond)
		if open, n, _ := w.counts(); open != 1 || n != opened || changes.Load() != 0 {
			t.Fatalf("%d connections, %d opened for it, %d changes", open, n-opened, changes.Load())
		}
	})
}

func TestARestartOfTheWriterIsANewEpoch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(1)
		c := watch(t, w, nil)
		old, _ := pick(t, c, WantWriter, 0, time.Second)
		w.crash(1)
		ticket := c.Suspect(w.id(1), errGone)
		time.Sleep(2 * time.Second)
		w.restart(1)
		began := time.Now()
		in, s := pick(t, c, WantWriter, ticket, time.Minute)
		if s.Epoch != 2 || in.ID != old.ID || in.Boot == old.Boot {
			t.Fatalf("%+v in epoch %d", in, s.Epoch)
		}
		if d := time.Since(began); d > 200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

func TestAFrozenWriterLosesWithoutAnyError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(3)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		w.freeze(1)
		frozen := time.Now()
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					c.Check(w.id(1))
				}
			}
		}()
		defer close(stop)
		time.Sleep(300 * time.Millisecond) // less than the probe timeout: nobody suspects it yet
		w.promote(3, 2)
		for c.Snapshot().Epoch == 1 {
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(frozen); d > 320*time.Millisecond {
			t.Errorf("the newer epoch was seen %v after the freeze", d)
		}
		w.thaw(1)
		c.Suspect(w.id(1), errGone)
		time.Sleep(10 * time.Second)
		s := c.Snapshot()
		if in, _ := s.Writer(); in.ID != w.id(3) || s.Epoch != 2 {
			t.Fatalf("after the thaw: %+v", s)
		}
		if in, _ := s.Find(w.id(1)); in.Role != Unknown {
			t.Fatalf("the old writer is %v", in.Role)
		}
	})
}

func TestAnUnansweredCheckIsASuspicion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		w.freeze(1)
		c.Check(w.id(1))
		time.Sleep(DefaultProbeTimeout + 50*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, _, err := c.Pick(ctx, WantWriter, c.Now())
		if err == nil || !strings.Contains(err.Error(), "login timed out") || !strings.Contains(err.Error(), "in recovery") || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error: %v", err)
		}
		w.promote(2, 2)
		if in, _ := pick(t, c, WantWriter, 0, time.Second); in.ID != w.id(1) {
			t.Logf("without a ticket the snapshot will do: %v", in.ID)
		}
		if in, _ := pick(t, c, WantWriter, c.Now(), time.Second); in.ID != w.id(2) {
			t.Fatalf("writer %v", in.ID)
		}
	})
}

func TestAHungLoginIsTriedAgainSinceAPartitionMayHeal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(1)
		w.freeze(1)
		lost := w.servers[w.id(1)].frozen
		c := watch(t, w, nil)
		time.Sleep(500 * time.Millisecond)
		w.change(1, func(s *server) { s.frozen = nil }) // healed, but what was sent before is lost
		defer close(lost)
		pick(t, c, WantWriter, 0, 2*time.Second)
	})
}

func TestTheReleaseOfOneProberHandsItsConnectionsToAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		other := &world{servers: w.servers, latency: time.Millisecond}
		release := c.Attach(other)
		w.mu.Lock()
		w.refuse = errors.New("expired")
		for _, s := range w.servers {
			s.run++
		}
		w.mu.Unlock()
		pick(t, c, WantWriter, c.Suspect(w.id(1), errGone), 5*time.Second)
		if open, _, _ := other.counts(); open == 0 {
			t.Fatal("the other prober was not used")
		}
		w.mu.Lock()
		w.refuse = nil
		w.mu.Unlock()
		began := time.Now()
		release()
		release()
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("the release took %v", d)
		}
		if open, _, _ := other.counts(); open != 0 {
			t.Fatalf("%d connections after the release", open)
		}
		pick(t, c, WantWriter, c.Now(), time.Second)
	})
}

func TestNothingRunsBeforeTheFirstAttachOrAfterTheLastRelease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(3)
		c, err := New(Config{Seeds: w.seeds()})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Pick(t.Context(), WantWriter, 0); err == nil {
			t.Fatal("picked of nothing")
		}
		for range 3 {
			release := c.Attach(w)
			pick(t, c, WantWriter, 0, time.Second)
			waited := make(chan error)
			w.crash(1)
			go func() {
				_, _, err := c.Pick(context.Background(), WantWriter, c.Suspect(w.id(1), errGone))
				waited <- err
			}()
			synctest.Wait()
			release()
			if err := <-waited; err == nil {
				t.Fatal("picked after the release")
			}
			synctest.Wait()
			if open, _, _ := w.counts(); open != 0 {
				t.Fatalf("%d connections", open)
			}
			w.restart(1)
		}
	})
}

func TestTenThousandSuspicionsAreOneHunt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(3)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(time.Minute)
		_, opened, _ := w.counts()
		w.crash(1)
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				if in, _, err := c.Pick(t.Context(), WantWriter, c.Suspect(w.id(1), errGone)); err != nil || in.ID != w.id(2) {
					t.Errorf("%v, %v", in.ID, err)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		w.promote(2, 2)
		wg.Wait()
		if _, n, _ := w.counts(); n > opened+30 {
			t.Errorf("%d connections were opened", n-opened)
		}
	})
}

func TestTwoWritersOnOneTimelineAreBothRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		var logs logbook
		c := watch(t, w, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
		pick(t, c, WantWriter, 0, time.Second)
		w.promote(2, 1)
		time.Sleep(time.Minute) // until a refresh sees it
		if n := logs.count("neither is used"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, logs.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, _, err := c.Pick(ctx, WantWriter, c.Now())
		if err == nil || strings.Count(err.Error(), "claims to be the writer") != 2 {
			t.Fatalf("error: %v", err)
		}
		w.promote(2, 2)
		if in, _ := pick(t, c, WantWriter, 0, time.Second); in.ID != w.id(2) {
			t.Fatalf("writer %v", in.ID)
		}
	})
}

func TestARelaxedHuntHurriesWhenSomebodyWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		w.crash(1)
		c.Suspect(w.id(1), errGone)
		time.Sleep(time.Hour)
		_, _, before := w.counts()
		time.Sleep(100 * time.Second)
		if _, _, n := w.counts(); n-before > 110 {
			t.Errorf("%d probes in 100 s that nobody waits for", n-before)
		}
		var wg sync.WaitGroup
		wg.Go(func() { pick(t, c, WantWriter, 0, time.Minute) })
		time.Sleep(5 * time.Second)
		w.promote(2, 2)
		began := time.Now()
		wg.Wait()
		if d := time.Since(began); d > 150*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

func TestWhatWasKnownBeforeAPauseIsProvenAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		c := watch(t, w, nil)
		pick(t, c, WantWriter, 0, time.Second)
		other, err := New(Config{Seeds: w.seeds()})
		if err != nil {
			t.Fatal(err)
		}
		release := other.Attach(w)
		pick(t, other, WantWriter, 0, time.Second)
		release()
		w.crash(1)
		w.promote(2, 2)
		defer other.Attach(w)()
		if in, s := pick(t, other, WantWriter, 0, 5*time.Second); in.ID != w.id(2) || s.Epoch != 2 {
			t.Fatalf("picked %v in epoch %d", in.ID, s.Epoch)
		}
	})
}

func TestACutMonitorConnectionIsNoFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := plain(2)
		var logs logbook
		c := watch(t, w, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
		pick(t, c, WantWriter, 0, time.Second)
		time.Sleep(10 * time.Second)
		w.change(1, func(s *server) { s.run++ })
		in, s := pick(t, c, WantWriter, c.Suspect(w.id(1), errGone), time.Second)
		time.Sleep(time.Second)
		if in.ID != w.id(1) || s.Epoch != 1 || logs.String() != "" {
			t.Fatalf("%v in epoch %d; logged:\n%s", in.ID, s.Epoch, logs.String())
		}
		w.crash(1)
		c.Suspect(w.id(1), errGone)
		time.Sleep(time.Second)
		w.change(1, func(s *server) { s.down = false })
		time.Sleep(time.Second)
		if logs.count("failover began") != 1 || logs.count("writer is back") != 1 {
			t.Fatalf("logged:\n%s", logs.String())
		}
	})
}
