package torture_test

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/torture"
	"github.com/fairlead-go/fairlead/rdstest"
)

// TestNothingIsLostDoubledOrTorn is the short form of `make torture`, which runs it.
func TestNothingIsLostDoubledOrTorn(t *testing.T) {
	if os.Getenv("FAIRLEAD_TORTURE") == "" {
		t.Skip("it needs the machine for itself, and other packages are tested at the same time: .ci/run has it run alone, with FAIRLEAD_TORTURE=1")
	}
	for name, cfg := range map[string]torture.Config{
		"aurora, marker": {
			Flavor: rdstest.Aurora, Mode: driver.ResolutionMarker, Failures: 4,
			Faults: []string{"crash", "freeze", "kill-backend", "reset"},
		},
		"replication, lsn": {
			Flavor: rdstest.Replication, Mode: driver.ResolutionLSN, Failures: 4,
			Faults: []string{"failover", "crash-promoted", "partition-swallow", "cut-crash"},
		},
		"replication, marker": {
			Flavor: rdstest.Replication, Mode: driver.ResolutionMarker, Failures: 2,
			Faults: []string{"immediate", "switchover"},
		},
		"aurora, off": {
			Flavor: rdstest.Aurora, Mode: driver.ResolutionOff, Failures: 1, Faults: []string{"fast"},
		},
		"languages, marker": {
			Flavor: rdstest.Aurora, Mode: driver.ResolutionMarker, Failures: 3, Clients: []string{"psycopg", "node", "jdbc", "pooler"},
			Faults: []string{"crash", "partition-hold", "reset"},
		},
		"languages, lsn": {
			Flavor: rdstest.Replication, Mode: driver.ResolutionLSN, Failures: 3, Clients: []string{"psycopg", "node", "jdbc", "pooler"},
			Faults: []string{"failover", "terminate", "cut-crash"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			if cfg.Clients != nil {
				cfg.Clients = able(ctx, t, cfg.Clients)
			}
			var progress bytes.Buffer
			cfg.Progress, cfg.Workers = &progress, 5
			result, err := torture.Run(ctx, cfg)
			if result != nil && (err != nil || result.Bad()) {
				result.Write(&progress)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, progress.String())
			}
			if result.Bad() {
				t.Errorf("callers were told what is not so:\n%s", progress.String())
			}
			if result.Total.Acked < 100 {
				t.Errorf("only %d units were acknowledged: the load does nothing", result.Total.Acked)
			}
			t.Log(result.Line())
		})
	}
}

// able are those of the clients that can work here: not everybody has Java.
func able(ctx context.Context, t *testing.T, clients []string) (list []string) {
	t.Helper()
	for _, name := range clients {
		if err := torture.Missing(ctx, name); err != nil {
			t.Logf("left out: %v", err)
			continue
		}
		list = append(list, name)
	}
	return list
}
