package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	failures int
	timeout  time.Duration
	only     string
	table    string
	check    bool
}

func run(ctx context.Context) (ok bool, err error) {
	var o options
	flag.IntVar(&o.failures, "failures", 12, "how many failures a torture may take to notice")
	flag.DurationVar(&o.timeout, "timeout", 8*time.Minute, "how long it may take")
	flag.StringVar(&o.only, "only", "", "take out only what has this in its name")
	flag.StringVar(&o.table, "table", "", "write the table to this `file`")
	flag.BoolVar(&o.check, "check", false, "only see whether all edits fit, and compile")
	flag.Parse()
	dir, err := os.MkdirTemp("", "fairlead-mutations.")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // the servers may run as another user
		return false, err
	}
	t, err := copyTree(ctx, filepath.Join(dir, "tree"))
	if err != nil {
		return false, err
	}
	whole := filepath.Join(dir, "torture")
	if err := t.build(ctx, whole); err != nil {
		return false, err
	}
	ok = true
	var rows []row
	for _, m := range mutations {
		if !strings.Contains(m.name, o.only) {
			continue
		}
		r, err := one(ctx, t, m, o, dir, whole)
		if err != nil {
			return false, fmt.Errorf("mutations: %s: %w", m.name, err)
		}
		if !o.check {
			rows = append(rows, r)
			ok = ok && r.good()
			fmt.Fprintf(os.Stderr, "%-35s %s\n", m.name, r)
		}
	}
	if o.check || o.table == "" {
		return ok, write(os.Stdout, rows)
	}
	f, err := os.Create(o.table)
	if err != nil {
		return false, err
	}
	return ok, errors.Join(write(f, rows), f.Close())
}

// row is what came of one mutation.
type row struct {
	mutation
	mutated, whole result
}

func (r row) good() bool { return r.mutated.red && !r.whole.red }

func (r row) String() string { return r.mutated.String() + "; with it: " + r.whole.String() }

// one takes a precaution out and tortures what is left, and then the whole for as many failures.
func one(ctx context.Context, t *tree, m mutation, o options, dir, whole string) (r row, err error) {
	r.mutation = m
	undo, err := t.apply(m.edits)
	if err != nil {
		return r, errors.Join(err, undo())
	}
	mutated := filepath.Join(dir, "mutated")
	err = errors.Join(t.build(ctx, mutated), undo())
	if err != nil || o.check {
		return r, err
	}
	if r.mutated, err = torture(ctx, mutated, m.torture, o.failures, o.timeout); err != nil {
		return r, err
	}
	r.whole, err = torture(ctx, whole, m.torture, max(3, r.mutated.failures), o.timeout)
	return r, err
}

// result is what one torture has found.
type result struct {
	red      bool
	failures int // until then
	found    string
}

func (r result) String() string {
	if r.red {
		return fmt.Sprintf("noticed at failure %d: %s", r.failures, r.found)
	}
	return fmt.Sprintf("nothing in %d failures", r.failures)
}

var (
	lineHas = regexp.MustCompile(`failures=(\d+) .*lost=(\d+) doubled=(\d+) refused_but_happened=(\d+) torn=(\d+) other=(\d+)`)
	stuckAt = regexp.MustCompile(`worker \d+ does not go on: it is at (\S+)`)
)

// torture runs a torture that audits after each failure, until it finds something.
func torture(ctx context.Context, bin string, flags []string, failures int, timeout time.Duration) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"-round", "1", "-failures", strconv.Itoa(failures)}, flags...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, runErr := cmd.CombinedOutput()
	text := string(out)
	lines := lineHas.FindAllStringSubmatch(text, -1)
	if len(lines) > 0 {
		last := lines[len(lines)-1]
		r.failures, _ = strconv.Atoi(last[1])
		for i, kind := range []string{"lost", "doubled", "refused but happened", "torn", "other"} {
			if n := last[2+i]; n != "0" {
				r.found = strings.TrimPrefix(r.found+", "+n+" "+kind, ", ")
			}
		}
	}
	if m := stuckAt.FindStringSubmatch(text); m != nil {
		r.failures++ // the one that did not come to its end
		r.found = strings.TrimPrefix(r.found+", sessions hang, the first at "+m[1], ", ")
	}
	r.red = r.found != ""
	switch {
	case runErr == nil && !r.red, r.red:
		return r, nil
	case ctx.Err() != nil:
		return r, nil // so many failures in all that time, and nothing
	}
	return r, fmt.Errorf("the torture failed by itself: %w\n%s", runErr, text)
}

func write(w io.Writer, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString(preface)
	for _, r := range rows {
		after := "not"
		if r.mutated.red {
			after = strconv.Itoa(r.mutated.failures)
		}
		found := r.mutated.found
		if found == "" {
			found = fmt.Sprintf("nothing in %d failures", r.mutated.failures)
		}
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %s | %s |\n", r.name, r.without, strings.Join(r.torture, " "), after, found, r.whole)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const preface = `# The precautions, taken out

Generated by ` + "`make mutations`" + `; do not edit. Each line takes one precaution out of a copy of the tree and tortures what is
left, with an audit after each failure, until something is found; then the whole for as many failures, three at least. The faults are
those that were made for it: without them some of these would show once in hundreds of failures.

| precaution | without it | torture | noticed at failure | what was found | nothing taken out |
|---|---|---|---|---|---|
`
