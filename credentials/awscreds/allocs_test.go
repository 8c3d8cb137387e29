package awscreds_test

import (
	"testing"

	"github.com/fairlead-go/fairlead/credentials"
	"github.com/fairlead-go/fairlead/credentials/awscreds"
	"github.com/fairlead-go/fairlead/rdstest/fakeaws"
)

func TestCachedTokensAndSecretsAllocateNothing(t *testing.T) {
	s := fakeaws.StartInEnvironment(t)
	s.CreateSecret("prod/app", secretText("app", "first"))
	for name, p := range map[string]credentials.Provider{
		"iam":    credentials.Paced(newIAM(t, awscreds.IAMConfig{}), 1<<40),
		"secret": newSecrets(t, awscreds.SecretsConfig{SecretID: "prod/app"}),
	} {
		mustGive(t, p, target)
		ctx := t.Context()
		if n := testing.AllocsPerRun(1000, func() { _, _ = p.Credential(ctx, target, nil) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkCached is what a login pays for its credential, at 32 goroutines.
func BenchmarkCached(b *testing.B) {
	p := awscreds.NewIAM(awscreds.IAMConfig{Config: awscreds.Config{AWS: static()}})
	defer p.Close()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Credential(b.Context(), target, nil); err != nil {
				b.Error(err)
			}
		}
	})
}
