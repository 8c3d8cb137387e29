// Command soak runs honest clients and attackers on a pooler at once, and prints what came of it.
//
//	go run ./internal/proof/soak/cmd -duration 10m -picture out/soak.svg
//
// It exits with 1 if an honest client saw an error or the pooler's process did not stay within its bounds.
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
	"syscall"
	"time"

	"github.com/fairlead-go/fairlead/internal/proof/soak"
)

func main() {
	soak.ServeIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cfg := soak.Config{Progress: os.Stderr, Serve: []string{os.Args[0]}}
	flag.DurationVar(&cfg.Duration, "duration", time.Minute, "how long the attacks go on")
	flag.IntVar(&cfg.Honest, "honest", 6, "honest clients")
	flag.IntVar(&cfg.Attackers, "attackers", 2, "attackers of each kind")
	flag.IntVar(&cfg.PoolSize, "pool-size", 30, "server connections of the pooler")
	flag.Uint64Var(&cfg.Seed, "seed", 0, "repeats the choices of another run (default: of the time)")
	kinds := flag.String("attacks", "", "kinds of attack, separated by commas (default all: "+strings.Join(soak.Attacks(), ", ")+")")
	picture := flag.String("picture", "", "file for the picture, .svg or .png")
	verbose := flag.Bool("v", false, "log what the pooler does")
	flag.Parse()
	if *kinds != "" {
		cfg.Attacks = strings.Split(*kinds, ",")
	}
	if *verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	result, err := soak.Run(ctx, cfg)
	if err != nil {
		return err
	}
	result.Write(os.Stdout)
	if *picture != "" {
		if err := result.Draw(*picture); err != nil {
			return err
		}
	}
	if n := len(result.Problems()); n > 0 {
		return errors.New("soak: something is wrong: see above")
	}
	return nil
}
