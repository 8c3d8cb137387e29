package demo

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// WriteReport writes the table for people, and after it one line for programs for each contestant.
func WriteReport(w io.Writer, r *Result) error {
	var b strings.Builder
	writeTable(&b, r)
	b.WriteString("\n")
	for _, c := range r.Contestants {
		fmt.Fprintf(&b, "result driver=%s acked=%d errors=%d undecided=%d lost=%d doubled=%d refused_but_happened=%d outage_ms=%d\n",
			c.Name, c.Acked, c.Errors, c.Undecided, c.Lost, c.Doubled, c.RefusedButHappened, c.Outage().Milliseconds())
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("demo: report: %w", err)
	}
	return nil
}

func writeTable(b *strings.Builder, r *Result) {
	const label, column = 42, 16
	line := func(name string, cell func(Contestant) string) {
		fmt.Fprintf(b, "%-*s", label, name)
		for _, c := range r.Contestants {
			fmt.Fprintf(b, "%*s", column, cell(c))
		}
		b.WriteString("\n")
	}
	rule := strings.Repeat("-", label+column*len(r.Contestants)) + "\n"
	count := func(n func(Contestant) int) func(Contestant) string {
		return func(c Contestant) string { return fmt.Sprint(n(c)) }
	}

	line("", func(c Contestant) string { return c.Name })
	b.WriteString(rule)
	for i, f := range r.Failures {
		fmt.Fprintf(b, "writer %s; %s took writes after %s\n", f.Name, f.New, short(f.Accepting-f.At))
		line("  longest time without a write", func(c Contestant) string { return atLeast(c.Outages[i]) })
		line(fmt.Sprintf("  until each of %d workers wrote again", r.Workers), func(c Contestant) string {
			if c.Outages[i].AllBack == 0 {
				return "never"
			}
			return short(c.Outages[i].AllBack)
		})
	}
	line("time without a write, together", func(c Contestant) string { return short(c.Outage()) })
	if base := r.Contestant(PgxEndpoint); base != nil && base.Outage() > 0 {
		line("  against the cluster endpoint", func(c Contestant) string {
			if c.Name == base.Name {
				return "-"
			}
			return reduction(base.Outage(), c.Outage())
		})
		b.WriteString("  (Amazon says that RDS Proxy takes up to 66 % off.)\n")
	}
	b.WriteString(rule)
	line("writes acknowledged", count(func(c Contestant) int { return c.Acked }))
	line("reads answered", count(func(c Contestant) int { return c.Reads }))
	line("operations failed", count(func(c Contestant) int { return c.Errors }))
	line("  left open by the error, and happened", count(func(c Contestant) int { return c.FailedHappened }))
	line("undecided (SQLSTATE 08007)", count(func(c Contestant) int { return c.Undecided }))
	line("  of these, happened", count(func(c Contestant) int { return c.UndecidedHappened }))
	line("acknowledged and lost", count(func(c Contestant) int { return c.Lost }))
	line("happened twice", count(func(c Contestant) int { return c.Doubled }))
	line("refused, and happened", count(func(c Contestant) int { return c.RefusedButHappened }))
	line("transactions happened by half", count(func(c Contestant) int { return c.Torn }))
	line("latency p50", func(c Contestant) string { return short(c.P50) })
	line("latency p99", func(c Contestant) string { return short(c.P99) })
	line("slowest success", func(c Contestant) string { return short(c.Max) })
	b.WriteString(rule)
	for _, c := range r.Contestants {
		if len(c.Causes) > 0 {
			fmt.Fprintf(b, "%s failed with: %s\n", c.Name, listCauses(c.Causes))
		}
	}
}

func atLeast(o Outage) string {
	if o.Over {
		return short(o.None)
	}
	return "> " + short(o.None)
}

// reduction is how much less than base the outage is, in percent.
func reduction(base, outage time.Duration) string {
	percent := 100 * (1 - outage.Seconds()/base.Seconds())
	if percent < 0 {
		return fmt.Sprintf("+%.1f %%", -percent)
	}
	return fmt.Sprintf("-%.1f %%", percent)
}

// short gives a time with as many digits as say something.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func listCauses(causes map[string]int) string {
	names := slices.SortedFunc(maps.Keys(causes), func(a, b string) int {
		return cmp.Or(cmp.Compare(causes[b], causes[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, causes[name])
	}
	return strings.Join(names, ", ")
}
