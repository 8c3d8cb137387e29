package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
)

type localCmd struct {
	Readers      int            `default:"2" help:"How many readers there are beside the writer; 0 for none (default: ${default})."`
	Flavor       rdstest.Flavor `default:"aurora" enum:"aurora,replication" help:"What the cluster looks like: aurora has Aurora's functions, replication is plain PostgreSQL (default: ${default})."`
	Name         string         `default:"app" help:"The name of the cluster, of which those of its instances are made (default: ${default})."`
	StaleDNS     time.Duration  `name:"stale-dns" placeholder:"DURATION" help:"How long the names of the cluster lead to the old instances after a failover (default: not at all)."`
	WALFunctions bool           `name:"wal-functions" help:"Let pg_current_wal_lsn and its like work; on stock Aurora they raise an error."`
	BinDir       string         `placeholder:"DIR" help:"Where PostgreSQL's programs are (default: found)."`
}

// Help is shown by kong under the flags' list.
func (localCmd) Help() string {
	return `A cluster of PostgreSQL servers is started, and taken down in the end. What it prints can be used at once: the addresses by any
program on this machine, the names by programs that ask the name server that it prints, too.

Commands are read from the standard input, a line each:

` + commandHelp() + `
Without an instance, a command is about the writer, or about all that are frozen or partitioned. The end of the
input ends the cluster, as ctrl+c does: a script pipes its commands in, and whoever wants the cluster in the background gives it an
input that stays open.

Examples:

    fairlead local
    fairlead local --readers 1 --flavor replication
    (echo kill; sleep 1; echo failover; sleep 5) | fairlead local`
}

// Run is called by kong.
func (cmd localCmd) Run(ctx context.Context, c console) error {
	cfg := rdstest.Config{
		Name: cmd.Name, Readers: cmd.Readers, Flavor: cmd.Flavor, StaleDNS: cmd.StaleDNS, WALFunctions: cmd.WALFunctions, BinDir: cmd.BinDir,
	}
	if cmd.Readers == 0 {
		cfg.Readers = -1
	}
	if cmd.Readers < 0 {
		return fmt.Errorf("local: --readers=%d: must not be negative", cmd.Readers)
	}
	fmt.Fprintln(c.out, "starting PostgreSQL ...")
	began := time.Now()
	cluster, err := rdstest.New(ctx, cfg)
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	l := &local{cluster: cluster, out: c.out, flavor: cmd.Flavor, began: time.Now()}
	fmt.Fprintf(c.out, "ready after %.1f s\n\n", l.began.Sub(began).Seconds())
	l.status()
	fmt.Fprintln(c.out)
	l.dsns()
	fmt.Fprint(c.out, "\nhelp shows the commands; quit or ctrl+c ends it\n")
	err = l.serve(ctx, c.in)
	if closeErr := cluster.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("local: %w", closeErr))
	}
	fmt.Fprintln(c.out, "the cluster is gone")
	return err
}

// local is a cluster that takes commands.
type local struct {
	cluster *rdstest.Cluster
	flavor  rdstest.Flavor
	out     io.Writer
	began   time.Time
	shown   map[string]string // what was last said of each instance
}

// watchInterval is how often is looked whether there is something to tell.
const watchInterval = 100 * time.Millisecond

// serve runs until it is told to quit, the input ends, or ctx does: all three are good ends.
func (l *local) serve(ctx context.Context, in io.Reader) error {
	lines, stop := readLines(in)
	defer stop()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintln(l.out)
			return nil
		case <-tick.C:
			l.news()
		case line, open := <-lines:
			if !open {
				return nil
			}
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if words[0] == "quit" || words[0] == "exit" {
				return nil
			}
			if err := l.do(ctx, words); err != nil && ctx.Err() == nil {
				l.say("%s", strings.TrimPrefix(err.Error(), "rdstest: "))
			}
			l.news()
		}
	}
}

// say prints a line with the time.
func (l *local) say(format string, args ...any) {
	fmt.Fprintf(l.out, "%6.1f s  %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

// news tells which instances have changed.
func (l *local) news() {
	for _, in := range l.cluster.Instances() {
		now := fmt.Sprintf("%s, %s", in.Role(), in.State())
		if l.shown[in.ID()] != now {
			l.say("%s: %s", in.ID(), now)
			l.shown[in.ID()] = now
		}
	}
}

func (l *local) status() {
	l.shown = make(map[string]string)
	for _, in := range l.cluster.Instances() {
		role, state := in.Role(), in.State()
		l.shown[in.ID()] = fmt.Sprintf("%s, %s", role, state)
		fmt.Fprintf(l.out, "  %-8s %-6s  %-11s  %-21s  %s\n", in.ID(), role, state, in.Addr(), in.Host())
	}
}

func (l *local) dsns() {
	c := l.cluster
	fmt.Fprintf(l.out, `by address:
  the writer, whichever it is   psql '%s&target_session_attrs=read-write'
  for Go (fairlead)             %s
`, c.AddressDSN(), c.AddressDSN())
	for _, in := range c.Instances() {
		fmt.Fprintf(l.out, "  %-29s %s\n", in.ID(), c.AddressDSN(in))
	}
	fmt.Fprintf(l.out, `
by name, for programs that ask the name server %s:
  cluster endpoint              %s
  reader endpoint               %s
`, c.NameServer(), c.DSN(), c.ReaderDSN())
}
