package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

// BenchmarkSpawn is the time from the start of the extension's process to the moment at which it takes connections, and its
// memory with clients that do nothing:
//
//	go test ./lambda/extension -run '^$' -bench Spawn -benchtime 20x
func BenchmarkSpawn(b *testing.B) {
	const clients = 20
	binary := filepath.Join(b.TempDir(), "fairlead")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	api, err := fakelambda.NewAPI(fakelambda.APIConfig{})
	must(b, err)
	b.Cleanup(func() { _ = api.Close() })
	var took []time.Duration
	var rss int
	for b.Loop() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		address := ln.Addr().String()
		must(b, ln.Close())
		cmd := exec.Command(binary)
		cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + api.Addr(), "FAIRLEAD_LISTEN=" + address, "FAIRLEAD_DSN=" + shared.AddressDSN()}
		began := time.Now()
		must(b, cmd.Start())
		for {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				took = append(took, time.Since(began))
				must(b, conn.Close())
				break
			}
			if time.Since(began) > time.Minute {
				b.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
		b.StopTimer()
		if rss == 0 {
			rss = memory(b, cmd.Process.Pid, address, clients)
		}
		must(b, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/listening")
	b.ReportMetric(float64(rss)/1024, "MB-RSS")
}

// memory is the resident memory of a process with clients, in kB.
func memory(b *testing.B, pid int, address string, clients int) int {
	b.Helper()
	own, err := pgx.ParseConfig(shared.AddressDSN())
	must(b, err)
	for range clients {
		conn, err := pgx.Connect(testContext(b), fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", own.User, address, own.Database))
		must(b, err)
		b.Cleanup(func() { _ = conn.Close(b.Context()) })
		must(b, conn.Ping(testContext(b)))
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			must(b, err)
			return kb
		}
	}
	b.Fatal("no VmRSS in the process's status")
	return 0
}
