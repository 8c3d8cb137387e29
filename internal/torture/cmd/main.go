// Command torture runs known operations through the driver while the cluster under them fails, and audits what came of them.
//
//	go run ./internal/torture/cmd -failures 20 -mode marker
//
// It exits with 1 if something was lost, doubled, torn, happened after it was refused, or failed as it must not.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/torture"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	cfg := torture.Config{Progress: os.Stderr}
	flag.IntVar(&cfg.Failures, "failures", 20, "how many failures")
	flag.IntVar(&cfg.Round, "round", 10, "failures between two audits")
	flag.IntVar(&cfg.Workers, "workers", 6, "sessions that work at the same time")
	flag.Uint64Var(&cfg.Seed, "seed", 0, "repeats the choices of another run (default: of the time)")
	flag.BoolVar(&cfg.KeepGoing, "keep-going", false, "go on after an audit that has found something")
	mode := flag.String("mode", "marker", "commit_resolution: marker, lsn, auto or off")
	flavor := flag.String("flavor", "", "aurora or replication (default aurora; replication with -mode lsn)")
	faults := flag.String("faults", "", "what may happen, separated by commas (default all: "+strings.Join(torture.Faults(), ",")+")")
	load := flag.String("load", "", "operations, separated by commas (default all: "+strings.Join(torture.Operations(), ",")+")")
	clients := flag.String("clients", "", "who works, separated by commas: "+strings.Join(torture.Clients(), ",")+" (default sql,pq,pgx; the rest goes through a pooler)")
	options := flag.String("options", "", "parameters of the driver, as in probe_timeout=1s,journal_limit=1024")
	verify := flag.Bool("verify-clean", false, "have the pooler ask the server whether a connection that it hands over is clean")
	verbose := flag.Bool("v", false, "log what the cluster and the driver do")
	flag.Parse()
	cfg.Mode, cfg.Flavor = driver.CommitResolution(*mode), rdstest.Flavor(*flavor)
	cfg.Faults, cfg.Load, cfg.Clients = list(*faults), list(*load), list(*clients)
	for _, o := range list(*options) {
		k, v, _ := strings.Cut(o, "=")
		if cfg.Options == nil {
			cfg.Options = make(map[string]string)
		}
		cfg.Options[k] = v
	}
	if *verify {
		cfg.VerifyClean = pooler.VerifyOn
	}
	if *verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	result, err := torture.Run(ctx, cfg)
	if result != nil {
		result.Write(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if result.Bad() {
		return 1
	}
	return 0
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}
