package topology

import (
	"testing"
	"time"
)

// BenchmarkSnapshot is what a hot path pays to look.
func BenchmarkSnapshot(b *testing.B) {
	c := benchCluster(b)
	b.ReportAllocs()
	for b.Loop() {
		if c.Snapshot() == nil {
			b.Fatal("no snapshot")
		}
	}
}

// BenchmarkSuspect is what one of many failing connections pays.
func BenchmarkSuspect(b *testing.B) {
	c := benchCluster(b)
	id := c.Snapshot().Instances[0].ID
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Suspect(id, errGone)
		}
	})
}

// BenchmarkPick is what a new connection pays when nothing happens.
func BenchmarkPick(b *testing.B) {
	c := benchCluster(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Pick(b.Context(), WantWriter, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLookingCostsNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates itself, which would be counted: make test counts without it")
	}
	c := benchCluster(t)
	if n := testing.AllocsPerRun(100, func() {
		_ = c.Snapshot()
		if _, _, err := c.Pick(t.Context(), WantWriter, 0); err != nil {
			t.Fatal(err)
		}
		c.Check("10.0.0.9:5432")
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func benchCluster(tb testing.TB) *Cluster {
	w := plain(3)
	w.latency = time.Microsecond
	c, err := New(Config{Seeds: w.seeds()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Attach(w))
	if _, _, err := c.Pick(tb.Context(), WantWriter, 0); err != nil {
		tb.Fatal(err)
	}
	return c
}
