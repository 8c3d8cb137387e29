package torture

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// maxExamples bounds what a result keeps of each kind of problem.
const maxExamples = 40

// Count is what became of units of work.
type Count struct {
	Faults    int // of a kind of fault: how many there were
	Acked     int
	Conflict  int // refused by the server itself, over another transaction
	Diverged  int // refused, as the same answers could not be given again, or the work could not be repeated
	Undecided int
	Failed    int // told something that callers need not expect
}

func (c *Count) add(u *unit) {
	switch {
	case u.outcome == Acked:
		c.Acked++
	case !u.expected:
		c.Failed++
	case u.outcome == Undecided:
		c.Undecided++
	case strings.Contains(u.told, "fairlead:"):
		c.Diverged++
	default:
		c.Conflict++
	}
}

// Result is what a run has found.
type Result struct {
	Config   Config
	Failures int
	// Total counts all units, ByOp those of one operation, ByClient those of one client, ByFault those that ended after one kind of fault and before
	// the next.
	Total    Count
	ByOp     map[string]*Count
	ByClient map[string]*Count
	ByFault  map[string]*Count
	// Reasons counts the errors that the driver gave, without what differs from one to the next.
	Reasons map[string]int
	// Verdicts are the driver's own counts of what became of sessions whose upstream was lost.
	Verdicts map[string]int64
	// Found counts problems by their kind, and Problems are the first ones of each.
	Found    map[string]int
	Problems []Problem

	faults []string // in their order
}

func newResult(cfg Config) *Result {
	return &Result{
		Config: cfg, ByFault: make(map[string]*Count), ByOp: make(map[string]*Count), ByClient: make(map[string]*Count), Reasons: make(map[string]int),
		Verdicts: make(map[string]int64), Found: make(map[string]int),
	}
}

// begin notes that a fault comes.
func (r *Result) begin(fault string) {
	r.faults = append(r.faults, fault)
	counter(r.ByFault, fault).Faults++
}

func counter(m map[string]*Count, key string) *Count {
	if m[key] == nil {
		m[key] = new(Count)
	}
	return m[key]
}

func (r *Result) add(l *ledger) {
	for _, u := range l.units {
		after := "nothing"
		if u.fault > 0 {
			after = r.faults[u.fault-1]
		}
		for _, c := range []*Count{&r.Total, counter(r.ByOp, u.op), counter(r.ByClient, u.client), counter(r.ByFault, after)} {
			c.add(u)
		}
		if u.told != "" {
			r.Reasons[fmt.Sprintf("%s: %s", u.outcome, reason(u.told))]++
		}
	}
	r.blame(l.problems)
}

func (r *Result) blame(problems []Problem) {
	for _, p := range problems {
		r.Found[p.Kind]++
		if r.Found[p.Kind] <= maxExamples {
			r.Problems = append(r.Problems, p)
		}
	}
}

// Bad reports whether something was found that must not be.
func (r *Result) Bad() bool { return len(r.Found) > 0 }

// Line is the result for machines.
func (r *Result) Line() string {
	t := r.Total
	refused := t.Conflict + t.Diverged
	return fmt.Sprintf("torture mode=%s flavor=%s failures=%d ops=%d acked=%d refused=%d undecided=%d lost=%d doubled=%d refused_but_happened=%d torn=%d other=%d diverged=%d seed=%d",
		r.Config.Mode, r.Config.Flavor, r.Failures, t.Acked+refused+t.Undecided+t.Failed, t.Acked, refused, t.Undecided,
		r.Found[kindLost], r.Found[kindDoubled], r.Found[kindRefused], r.Found[kindTorn], r.Found[kindOther], t.Diverged, r.Config.Seed)
}

// Write prints the result for people, and then its line.
func (r *Result) Write(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, c *Count) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", name, c.Faults, c.Acked, c.Conflict, c.Diverged, c.Undecided, c.Failed)
	}
	for _, table := range []struct {
		what string
		rows map[string]*Count
	}{{"operation", r.ByOp}, {"client", r.ByClient}, {"fault", r.ByFault}} {
		fmt.Fprintf(t, "%s\ttimes\tacked\tconflict\tdiverged\tundecided\tfailed\n", table.what)
		for _, name := range slices.Sorted(maps.Keys(table.rows)) {
			row(name, table.rows[name])
		}
		row("all", &r.Total)
		_ = t.Flush()
		fmt.Fprintln(out)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Verdicts)) {
		fmt.Fprintf(out, "%7d  sessions: %s\n", r.Verdicts[name], name)
	}
	for _, name := range slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int { return r.Reasons[b] - r.Reasons[a] }) {
		fmt.Fprintf(out, "%7d  %s\n", r.Reasons[name], name)
	}
	if len(r.Problems) > 0 {
		fmt.Fprintln(out)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(out, "%s: %s %s: %s\n", p.Kind, p.Client, p.Op, p.Text)
	}
	fmt.Fprintf(out, "\n%s\n", r.Line())
}
