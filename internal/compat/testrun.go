package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"strings"
	"time"
)

// outcome is how a test ended; empty if it did not.
type outcome string

const (
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip"
)

// results are those of the tests of one package, subtests among them.
type results struct {
	outcomes map[string]outcome
	output   map[string]string
	rest     string // what was printed outside of tests: a panic, a timeout
	took     time.Duration
}

// event is a line of test2json.
type event struct {
	Action, Test, Output string
}

// testRun says how to run a test binary.
type testRun struct {
	json, bin, dir string // the program test2json, the test binary, and where to run it
	env            []string
	pattern        string // -test.run's
	skip           string // -test.skip's
	timeout        time.Duration
}

// run runs a test binary. Tests that fail are no error.
func (r testRun) run(ctx context.Context) (*results, error) {
	args := []string{r.bin, "-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + r.timeout.String()}
	if r.pattern != "" {
		args = append(args, "-test.run="+r.pattern)
	}
	if r.skip != "" {
		args = append(args, "-test.skip="+r.skip)
	}
	cmd := exec.CommandContext(ctx, r.json, args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	ownGroup(cmd)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	res, readErr := readResults(stdout)
	err = cmd.Wait() // says no more than the results
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if readErr != nil {
		return nil, fmt.Errorf("compat: results of %s: %w", r.bin, readErr)
	}
	if len(res.outcomes) == 0 && err != nil {
		return nil, fmt.Errorf("compat: run %s: %w\n%s%s", r.bin, err, res.rest, stderr.String())
	}
	res.took = time.Since(began)
	return res, nil
}

// runAlone runs each of the tests in a process of its own, which may take a fifth of the timeout: one that hangs, or leaves
// something behind, does not harm the others.
func (r testRun) runAlone(ctx context.Context) (*results, error) {
	pattern := r.pattern
	if pattern == "" {
		pattern = "."
	}
	list, err := command(ctx, r.dir, r.env, r.bin, "-test.list="+pattern)
	if err != nil {
		return nil, err
	}
	all := &results{outcomes: make(map[string]outcome), output: make(map[string]string)}
	for _, test := range strings.Fields(list) {
		if strings.HasPrefix(test, "Benchmark") {
			continue
		}
		one := r
		one.pattern, one.timeout = "^"+test+"$", r.timeout/5
		res, err := one.run(ctx)
		if err != nil {
			return nil, err
		}
		maps.Copy(all.outcomes, res.outcomes)
		maps.Copy(all.output, res.output)
		if res.count("") > 0 {
			all.rest += res.rest
		}
		all.took += res.took
	}
	return all, nil
}

func readResults(r io.Reader) (*results, error) {
	res := &results{outcomes: make(map[string]outcome)}
	output := make(map[string]*strings.Builder)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				return nil, fmt.Errorf("%w in %q", err, line)
			}
			switch e.Action {
			case "output":
				if output[e.Test] == nil {
					output[e.Test] = new(strings.Builder)
				}
				output[e.Test].WriteString(e.Output)
			case "run":
				res.outcomes[e.Test] = ""
			case string(passed), string(failed), string(skipped):
				if e.Test != "" {
					res.outcomes[e.Test] = outcome(e.Action)
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	res.output = make(map[string]string, len(output))
	for test, b := range output {
		res.output[test] = b.String()
	}
	res.rest = res.output[""]
	return res, nil
}

// count is how many tests ended so, subtests not among them.
func (r *results) count(o outcome) int {
	n := 0
	for test, got := range r.outcomes {
		if got == o && !strings.Contains(test, "/") {
			n++
		}
	}
	return n
}
