// Command fairlead is the pooler, and shows what it and the driver do, on a cluster of its own.
//
//	fairlead demo     # the same load three ways side by side, and the writer goes away twice
//	fairlead local    # a cluster on this machine to try things on
//	fairlead pooler   # a pooler for clients of any language
//	fairlead commits-table    # the SQL that makes commits decidable everywhere
//	fairlead doctor DSN       # what is between this machine and a cluster, and how to mend it
//
// Every subcommand explains itself with --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
}

// commands are the subcommands; kong reads the tags.
type commands struct {
	Demo         demoCmd         `cmd:"" help:"Run the same load through three drivers at the same time, and take the writer away twice."`
	Local        localCmd        `cmd:"" help:"Start a cluster on this machine, to try things on by hand."`
	Pooler       poolerCmd       `cmd:"" help:"Let any PostgreSQL client share few server connections, and go on when the writer changes."`
	CommitsTable commitsTableCmd `cmd:"" help:"Print or apply the SQL that makes commits decidable everywhere, also on Aurora."`
	Doctor       doctorCmd       `cmd:"" help:"Check everything between this machine and a cluster, and say how to mend what is wrong."`
	Version      versionCmd      `cmd:"" help:"Say which version this is."`
}

const description = `Fairlead keeps sessions and commits alive while the writer of a PostgreSQL cluster changes.

The clusters here are real PostgreSQL servers with streaming replication, started on this machine and gone afterwards, behind
relays that look and fail like the instances of Amazon Aurora.`

// The exit codes: 1 is for what a command has found, 2 for a command line that makes no sense.
const (
	exitFound       = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// found is an error that needs no more words: the command has said what is wrong.
var errFound = errors.New("found something wrong")

// complain prints an error with the program's name before it, once: errors of the driver begin with it too.
func (c console) complain(err error) {
	fmt.Fprintf(c.err, "fairlead: %s\n", strings.ReplaceAll(err.Error(), "fairlead: ", ""))
}

// run returns the exit code.
func run(ctx context.Context, args []string, c console) (code int) {
	type exit int
	defer func() {
		if v := recover(); v != nil {
			e, ok := v.(exit)
			if !ok {
				panic(v)
			}
			code = int(e)
		}
	}()
	parser, err := kong.New(&commands{Pooler: newPoolerCmd()},
		kong.Name("fairlead"), kong.Description(description), kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { panic(exit(code)) }), // kong shows help in the midst of parsing, and expects not to go on
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(c),
	)
	if err != nil {
		c.complain(err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		c.complain(errors.New(hide(err, args, names(parser))))
		var parse *kong.ParseError
		if errors.As(err, &parse) && parse.Context != nil {
			fmt.Fprintf(c.err, "fairlead: see fairlead %s--help\n", commandOf(parse.Context))
		}
		return exitUsage
	}
	err = kctx.Run()
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		fmt.Fprintln(c.err, "fairlead: interrupted; nothing is left running")
		return exitInterrupted
	case !errors.Is(err, errFound):
		c.complain(err)
	}
	return exitFound
}

// names are those of the subcommands.
func names(parser *kong.Kong) (list []string) {
	for _, n := range parser.Model.Children {
		list = append(list, n.Name)
	}
	return list
}

// commandOf is the subcommand that was recognised, if any, with a space after it.
func commandOf(ctx *kong.Context) string {
	if name := ctx.Command(); name != "" {
		return name + " "
	}
	return ""
}
