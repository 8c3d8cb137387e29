// Command boundaries cuts sessions at every message of many kinds of work, and says what came of it.
//
//	go run ./internal/boundaries/cmd -table docs/continuity-boundaries.md
//
// It exits with 1 if a caller was told what is not so, or something that callers need not be prepared for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/boundaries"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	table := flag.String("table", "", "write the table to this `file`")
	modes := flag.String("mode", "marker,lsn", "commit_resolution, separated by commas")
	units := flag.String("units", "", "kinds of work, separated by semicolons (default all: "+strings.Join(boundaries.Units(), "; ")+")")
	clients := flag.String("clients", "", "sql, pgx, pq, separated by commas (default all)")
	verbose := flag.Bool("v", false, "log what the cluster and the driver do")
	flag.Parse()
	cfg := boundaries.Config{Units: list(*units, ";"), Clients: list(*clients, ","), Progress: os.Stderr}
	if *verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	results, err := runAll(ctx, cfg, list(*modes, ","))
	bad := false
	for _, r := range results {
		for _, p := range r.Problems {
			bad = true
			fmt.Printf("%s: %v\n", r.Mode, p)
		}
	}
	if err == nil && *table != "" {
		err = write(*table, results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, r := range results {
		fmt.Printf("boundaries mode=%s runs=%d problems=%d\n", r.Mode, r.Runs, len(r.Problems))
	}
	if bad {
		return 1
	}
	return 0
}

// runAll runs all modes at the same time: each waits for its servers most of the time.
func runAll(ctx context.Context, cfg boundaries.Config, modes []string) ([]*boundaries.Result, error) {
	results, errs := make([]*boundaries.Result, len(modes)), make([]error, len(modes))
	var wg sync.WaitGroup
	for i, mode := range modes {
		own := cfg
		own.Mode = driver.CommitResolution(mode)
		wg.Go(func() { results[i], errs[i] = boundaries.Run(ctx, own) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return results, nil
}

func write(name string, results []*boundaries.Result) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	err = boundaries.WriteTable(f, results)
	return errors.Join(err, f.Close())
}

func list(s, separator string) (all []string) {
	for _, part := range strings.Split(s, separator) {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}
