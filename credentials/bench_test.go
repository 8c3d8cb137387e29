package credentials

import (
	"context"
	"testing"
	"time"
)

// cached is a provider as the ones of awscreds are made.
func cached() Provider {
	c := NewCache(CacheConfig[Target, Credential]{Fetch: func(context.Context, Target) (*Credential, Life, error) {
		return &Credential{Password: NewSecret("p")}, Life{Renew: time.Hour}, nil
	}})
	return Paced(Func(func(ctx context.Context, t Target, _ []Refusal) (*Credential, error) { return c.Get(ctx, t) }), 1<<40)
}

var target = Target{Host: "app-1.xyz.eu-west-1.rds.amazonaws.com", Port: 5432, User: "app"}

func TestACachedCredentialAllocatesNothing(t *testing.T) {
	p := cached()
	ask := func() {
		if _, err := p.Credential(t.Context(), target, nil); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = p.Credential(ctx, target, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCached is a cached credential, read by 32 goroutines.
func BenchmarkCached(b *testing.B) {
	p := cached()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Credential(context.Background(), target, nil); err != nil {
				b.Error(err)
			}
		}
	})
}
