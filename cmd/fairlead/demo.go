package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/x/term"

	"github.com/fairlead-go/fairlead/internal/demo"
	"github.com/fairlead-go/fairlead/internal/demo/picture"
)

type demoCmd struct {
	Out       string        `default:"out/fairlead-demo.svg" placeholder:"FILE" help:"Where the picture goes; the name ends in .svg or .png (default: ${default})."`
	StaleDNS  time.Duration `name:"stale-dns" default:"15s" help:"How long the name of the cluster leads to the old writer after a failover. RDS changes the record some time after the new writer is there, and clients keep the old answer for 5 s and more; half a minute is often reported (default: ${default})."`
	OpTimeout time.Duration `default:"10s" help:"After which time a worker gives an operation up (default: ${default})."`
	Workers   int           `default:"16" help:"How many workers each driver has (default: ${default})."`
	Plain     bool          `help:"Lines instead of a live view, also on a terminal. NO_COLOR in the environment turns only the colours off."`
	Short     bool          `help:"A demo of a few seconds, with a name of the cluster that is stale for 1 s and workers that give up after 2 s, to see that everything works."`
	BinDir    string        `placeholder:"DIR" help:"Where PostgreSQL's programs are (default: found)."`
}

// Help is shown by kong under the flags' list.
func (demoCmd) Help() string {
	return `A cluster of one writer and two readers gets the same load through three drivers at the same time:

    pgx-endpoint    pgx on the cluster's name, which is what most people run
    pgx-multihost   pgx on a list of all instances, with target_session_attrs=read-write
    fairlead        fairlead on the cluster's name

All three connect with connect_timeout=5, and pgx-endpoint too with target_session_attrs=read-write: without it, it would stay for good
on the old writer once that is back as a reader. They share the cluster, so that they see the same failures at the same
moments; the load is paced, so that they do not stand in each other's way.

The writer is killed (SIGKILL); when all have recovered, the next one is frozen (SIGSTOP): its connections stay open, and
nothing comes. Every write has an identity. In the end each one is looked up in the tables, and compared with what its
caller was told. The time without a write is the longest gap between two successful writes of any worker around a failure, less the
usual one; outage_ms is the sum for both failures.

The exit code is 1 if fairlead lost or doubled anything, or did something that it had said was not done.

Examples:

    fairlead demo
    fairlead demo --stale-dns 30s --out picture.png
    fairlead demo --plain | grep ^result`
}

// Run is called by kong.
func (cmd demoCmd) Run(ctx context.Context, c console) error {
	if err := picture.Check(cmd.Out); err != nil {
		return err
	}
	if cmd.Workers < 1 || cmd.Workers > 50 {
		return fmt.Errorf("demo: --workers=%d: must be from 1 to 50", cmd.Workers)
	}
	cfg := cmd.config()
	var result *demo.Result
	var err error
	if out, ok := c.terminal(); ok && !cmd.Plain {
		result, err = runLive(ctx, cfg, c.in, out)
	} else {
		result, err = demo.Run(ctx, cfg, newLines(c.out))
	}
	if err != nil {
		return err
	}
	return cmd.finish(c.out, result)
}

func (cmd demoCmd) config() demo.Config {
	cfg := demo.Config{
		Workers: cmd.Workers, OpTimeout: cmd.OpTimeout, StaleDNS: cmd.StaleDNS, BinDir: cmd.BinDir,
	}
	if cmd.Short {
		cfg.StaleDNS, cfg.OpTimeout, cfg.Settle = time.Second, 2*time.Second, 500*time.Millisecond
	}
	if cfg.StaleDNS == 0 {
		cfg.StaleDNS = -1
	}
	return cfg
}

// finish shows the result. It fails if fairlead did not keep its word.
func (cmd demoCmd) finish(out io.Writer, result *demo.Result) error {
	saveErr := picture.Save(cmd.Out, result)
	if saveErr == nil {
		fmt.Fprintf(out, "picture: %s\n", cmd.Out)
	}
	fmt.Fprintf(out, "done in %.1f s\n\n", result.Took.Seconds())
	if err := demo.WriteReport(out, result); err != nil {
		return errors.Join(saveErr, err)
	}
	if saveErr != nil {
		return saveErr
	}
	if f := result.Contestant(demo.Fairlead); !f.Sound() {
		fmt.Fprintln(out, "\nfairlead did not keep its word: see the lines on what was lost, twice, refused or half")
		return errFound
	}
	return nil
}

// terminal returns where a live view can be shown.
func (c console) terminal() (*os.File, bool) {
	f, ok := c.out.(*os.File)
	return f, ok && term.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}
