package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/muesli/cancelreader"

	"github.com/fairlead-go/fairlead/rdstest"
)

// actTimeout bounds one command. A frozen server can make some of them wait for ever.
const actTimeout = time.Minute

// localCommand is one line that local understands.
type localCommand struct {
	name, args, help string
	run              func(ctx context.Context, l *local, of []*rdstest.Instance) error
	// state chooses the instances where none is named: all that are in it. Empty: the writer.
	state rdstest.State
}

func localCommands() []localCommand {
	each := func(act func(*rdstest.Cluster, context.Context, *rdstest.Instance) error) func(context.Context, *local, []*rdstest.Instance) error {
		return func(ctx context.Context, l *local, of []*rdstest.Instance) error {
			for _, in := range of {
				if err := act(l.cluster, ctx, in); err != nil {
					return err
				}
			}
			return nil
		}
	}
	takeOver := func(act func(*rdstest.Cluster, context.Context) (*rdstest.Instance, error)) func(context.Context, *local, []*rdstest.Instance) error {
		return func(ctx context.Context, l *local, _ []*rdstest.Instance) error {
			began := time.Now()
			in, err := act(l.cluster, ctx)
			if err != nil {
				return err
			}
			l.say("%s takes writes, %d ms after the command", in.ID(), time.Since(began).Milliseconds())
			return nil
		}
	}
	return []localCommand{
		{name: "status", help: "show the instances", run: func(_ context.Context, l *local, _ []*rdstest.Instance) error {
			l.status()
			return nil
		}},
		{name: "dsn", help: "show how to connect", run: func(_ context.Context, l *local, _ []*rdstest.Instance) error {
			l.dsns()
			return nil
		}},
		{name: "kill", args: "[ID]", help: "kill all processes of an instance (SIGKILL)", run: each((*rdstest.Cluster).Crash)},
		{name: "freeze", args: "[ID]", help: "stop all processes of an instance (SIGSTOP): it neither answers nor closes", run: each((*rdstest.Cluster).Freeze)},
		{name: "thaw", args: "[ID]", help: "let a frozen instance go on", run: each((*rdstest.Cluster).Thaw), state: rdstest.Frozen},
		{name: "partition", args: "[ID]", help: "cut an instance off: nothing is closed, and nothing comes", run: each((*rdstest.Cluster).Partition)},
		{name: "heal", args: "[ID]", help: "end a partition", run: each((*rdstest.Cluster).Heal), state: rdstest.Partitioned},
		{name: "failover", help: "let a reader take over, as RDS does when the writer is lost", run: takeOver((*rdstest.Cluster).Failover)},
		{name: "switchover", help: "let a reader take over in good order", run: takeOver((*rdstest.Cluster).Switchover)},
		{name: "restart", args: "[ID]", help: "restart an instance, or start one that was killed", run: each((*rdstest.Cluster).Restart)},
		{name: "help", help: "show this list", run: func(_ context.Context, l *local, _ []*rdstest.Instance) error {
			fmt.Fprint(l.out, commandHelp())
			return nil
		}},
		{name: "quit", help: "end the cluster"},
	}
}

func commandHelp() string {
	var b strings.Builder
	for _, cmd := range localCommands() {
		fmt.Fprintf(&b, "    %-16s %s\n", strings.TrimSpace(cmd.name+" "+cmd.args), cmd.help)
	}
	return b.String()
}

// do runs a command.
func (l *local) do(ctx context.Context, words []string) error {
	for _, cmd := range localCommands() {
		if cmd.name != words[0] {
			continue
		}
		of, err := l.named(cmd, words[1:])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		return cmd.run(ctx, l, of)
	}
	return fmt.Errorf("no command %q; help shows all", words[0])
}

// named finds the instances that a command is about.
func (l *local) named(cmd localCommand, ids []string) ([]*rdstest.Instance, error) {
	if len(ids) > 0 && cmd.args == "" {
		return nil, fmt.Errorf("%s takes no instance", cmd.name)
	}
	if len(ids) == 0 && cmd.state == "" {
		return []*rdstest.Instance{l.cluster.Writer()}, nil
	}
	var of []*rdstest.Instance
	for _, in := range l.cluster.Instances() {
		if len(ids) == 0 && in.State() == cmd.state {
			of = append(of, in)
		}
	}
	for _, id := range ids {
		in := l.find(id)
		if in == nil {
			return nil, fmt.Errorf("no instance %q", id)
		}
		of = append(of, in)
	}
	if len(of) == 0 {
		return nil, fmt.Errorf("%s: no instance is %s", cmd.name, cmd.state)
	}
	return of, nil
}

// find takes an identifier, or the number at its end.
func (l *local) find(id string) *rdstest.Instance {
	for _, in := range l.cluster.Instances() {
		if in.ID() == id || strings.HasSuffix(in.ID(), "-"+id) {
			return in
		}
	}
	return nil
}

// readLines sends the lines of an input, and closes the channel at its end. stop ends it earlier.
func readLines(in io.Reader) (lines <-chan string, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	cancelInput := func() bool { return false }
	// What cannot be polled, such as a file, cannot keep a reader waiting either.
	if r, err := cancelreader.NewReader(in); err == nil {
		in, cancelInput = r, r.Cancel
	}
	out := make(chan string)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(out)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			select {
			case out <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		if err := scanner.Err(); err != nil && !errors.Is(err, cancelreader.ErrCanceled) {
			select {
			case out <- "quit": // nothing can be told any more
			case <-ctx.Done():
			}
		}
	}()
	return out, func() {
		cancel()
		if cancelInput() {
			<-done
		}
	}
}
