package soak

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Sample is the pooler's process at one moment, and what honest clients did since the sample before.
type Sample struct {
	At         time.Duration `json:"-"` // since the beginning
	RSS        int64         // bytes
	Heap       int64         // bytes
	Goroutines int
	Clients    int
	Open       int // server connections
	Waiting    int
	Pinned     int
	Unclean    uint64

	Ops     uint64        `json:"-"` // of honest clients
	Failed  int           `json:"-"` // of them, since the beginning
	Slowest time.Duration `json:"-"`
}

// Result is what came of a Run.
type Result struct {
	Config   Config
	Ops      uint64            // of honest clients
	Failed   []string          // what they saw that they must not have, and what else must not be
	Attempts map[string]uint64 // by kind of attack
	Before   Sample            // with the honest clients alone
	After    Sample
	Samples  []Sample
}

// Bounds of what the pooler's process may come to. A client's own share is bounded by its settings; these are for all.
const (
	mostRSS        = 600 << 20 // bytes
	moreGoroutines = 10        // after the attacks than before
	moreHeap       = 24 << 20  // bytes, after the attacks than before
)

func (r *run) result(before, after Sample) *Result {
	res := &Result{Config: r.cfg, Ops: r.ops.Load(), Failed: r.failed, Attempts: make(map[string]uint64), Before: before, After: after, Samples: r.samples}
	for name, n := range r.attacks {
		res.Attempts[name] = n.Load()
	}
	return res
}

// Peak returns the largest value that a sample has.
func Peak[T int | int64](samples []Sample, of func(Sample) T) (most T) {
	for _, s := range samples {
		most = max(most, of(s))
	}
	return most
}

// Problems returns what is wrong with the pooler, nil if nothing is.
func (res *Result) Problems() (problems []string) {
	problems = slices.Clone(res.Failed)
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	rss := Peak(res.Samples, func(s Sample) int64 { return s.RSS })
	open := Peak(res.Samples, func(s Sample) int { return s.Open })
	add(res.Ops == 0, "the honest clients did nothing")
	add(rss > mostRSS, "the pooler's memory came to %d MB, more than %d", rss>>20, mostRSS>>20)
	add(open > res.Config.PoolSize, "%d server connections, more than the pool's size of %d", open, res.Config.PoolSize)
	add(res.After.Goroutines > res.Before.Goroutines+moreGoroutines, "%d goroutines after the attacks, %d before", res.After.Goroutines, res.Before.Goroutines)
	add(res.After.Heap > res.Before.Heap+moreHeap, "%d kB of heap after the attacks, %d before", res.After.Heap>>10, res.Before.Heap>>10)
	add(res.After.Unclean > 0, "%d connections were handed over with another session's state", res.After.Unclean)
	for name, n := range res.Attempts {
		add(n == 0, "attack %s was never made", name)
	}
	return problems
}

// Write writes the result as a table.
func (res *Result) Write(w io.Writer) {
	fmt.Fprintf(w, "%s, %d honest clients, %d attackers of each of %d kinds, %d server connections, seed %d\n",
		res.Config.Duration, res.Config.Honest, res.Config.Attackers, len(res.Attempts), res.Config.PoolSize, res.Config.Seed)
	fmt.Fprintf(w, "operations of honest clients   %d\n", res.Ops)
	fmt.Fprintf(w, "of these, failed               %d\n", len(res.Failed))
	fmt.Fprintf(w, "slowest operation              %s\n", time.Duration(Peak(res.Samples, func(s Sample) int64 { return int64(s.Slowest) })).Round(time.Millisecond))
	row := func(what string, before, peak, after int64, unit string) {
		fmt.Fprintf(w, "%-30s %d before, %d at most, %d after %s\n", what, before, peak, after, unit)
	}
	row("resident memory", res.Before.RSS>>20, Peak(res.Samples, func(s Sample) int64 { return s.RSS })>>20, res.After.RSS>>20, "(MB)")
	row("heap", res.Before.Heap>>10, Peak(res.Samples, func(s Sample) int64 { return s.Heap })>>10, res.After.Heap>>10, "(kB)")
	row("goroutines", int64(res.Before.Goroutines), int64(Peak(res.Samples, func(s Sample) int { return s.Goroutines })), int64(res.After.Goroutines), "")
	row("clients", int64(res.Before.Clients), int64(Peak(res.Samples, func(s Sample) int { return s.Clients })), int64(res.After.Clients), "")
	row("server connections", int64(res.Before.Open), int64(Peak(res.Samples, func(s Sample) int { return s.Open })), int64(res.After.Open), "")
	for _, name := range Attacks() {
		if n, ok := res.Attempts[name]; ok {
			fmt.Fprintf(w, "  attack %-23s %d times\n", name, n)
		}
	}
	for _, p := range res.Problems() {
		fmt.Fprintf(w, "WRONG: %s\n", p)
	}
}

// sqlState is the SQLSTATE of an error, "" if it has none.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// detail is what an error of the server's says beside its message.
func detail(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Detail != "" {
		return ": " + e.Detail
	}
	return ""
}
