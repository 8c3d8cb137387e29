package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

// BenchmarkColdStart is the time from the start of a sandbox to the answer of its first invocation, which asks the database for a
// number, for each way to reach it. The ways take turns, as the machine may change its mind about its speed:
//
//	go test ./lambda/extension -run '^$' -bench ColdStart -benchtime 20x
func BenchmarkColdStart(b *testing.B) {
	dir := b.TempDir()
	for _, program := range []string{"pgx", "lambdadb", "extension"} {
		source := map[string]string{"extension": "."}[program]
		if source == "" {
			source = "./testdata/" + program
		}
		out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, program), source).CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	direct := shared.AddressDSN()
	ways := []struct {
		name string
		cfg  func() fakelambda.Config
	}{
		{"pgx", func() fakelambda.Config {
			return fakelambda.Config{Function: []string{filepath.Join(dir, "pgx")}, Env: []string{"TEST_DSN=" + direct}}
		}},
		{"driver", func() fakelambda.Config {
			return fakelambda.Config{Function: []string{filepath.Join(dir, "lambdadb")}, Env: []string{"FAIRLEAD_DSN=" + direct}}
		}},
		{"extension", func() fakelambda.Config {
			address := unused(b)
			return fakelambda.Config{
				Extension: []string{filepath.Join(dir, "extension")}, Function: []string{filepath.Join(dir, "pgx")},
				Env: []string{"FAIRLEAD_DSN=" + direct, "FAIRLEAD_LISTEN=" + address, "TEST_DSN=" + through(b, address)},
			}
		}},
		{"pooler", func() fakelambda.Config {
			return fakelambda.Config{Function: []string{filepath.Join(dir, "pgx")}, Env: []string{"TEST_DSN=" + through(b, central(b))}}
		}},
	}
	took := make([][]time.Duration, len(ways))
	cfgs := make([]fakelambda.Config, len(ways))
	for i, w := range ways {
		cfgs[i] = w.cfg()
	}
	for b.Loop() {
		for i, cfg := range cfgs {
			s := fakelambda.Start(b, cfg)
			began := time.Now()
			if _, err := s.Invoke(testContext(b), []byte("{}")); err != nil {
				b.Fatalf("%s: %v", ways[i].name, err)
			}
			took[i] = append(took[i], time.Since(began))
			must(b, s.Shutdown(testContext(b)))
		}
	}
	for i, w := range ways {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][len(took[i])/2].Microseconds())/1000, "ms/"+w.name)
	}
}

// unused is an address that nobody listens on.
func unused(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, ln.Close()) }()
	return ln.Addr().String()
}

// through is the DSN of the shared cluster's database at another address.
func through(t testing.TB, address string) string {
	t.Helper()
	own, err := driver.ParseConfig(shared.AddressDSN())
	must(t, err)
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", own.Conn.User, address, own.Conn.Database)
}

// central is the address of a pooler that has been running for a while.
func central(t testing.TB) string {
	t.Helper()
	database, err := driver.ParseConfig(shared.AddressDSN())
	must(t, err)
	address := unused(t)
	server, err := pooler.New(pooler.Config{
		Listeners: []pooler.Listener{{Address: address}}, Clusters: map[string]*pooler.Cluster{"main": {Database: database}},
	})
	must(t, err)
	must(t, server.Listen(testContext(t)))
	ended := make(chan error, 1)
	go func() { ended <- server.Run(testContext(t)) }()
	t.Cleanup(func() {
		server.Shutdown(t.Context())
		must(t, <-ended)
	})
	must(t, server.Warm(testContext(t)))
	return address
}
