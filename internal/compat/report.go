package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what the run has found, package by package.
type report struct {
	rows []row
}

type row struct {
	pkg             string
	direct, through *results
	differences     []difference
}

// print writes the table and the differences, and reports whether all of them are explained.
func (r *report) print(w io.Writer, known reasons, o options) bool {
	ok := true
	used := make(map[string]bool)
	for _, row := range r.rows {
		for _, d := range row.differences {
			entry, why := known.of(d.name())
			used[entry] = true
			switch {
			case entry != "":
				fmt.Fprintf(w, "explained   %s: %s: %s\n", d.name(), describe(d.through), why.text)
			case d.unsteady:
				fmt.Fprintf(w, "unsteady    %s: %s, but passed when run again\n", d.name(), describe(d.through))
			default:
				ok = false
				fmt.Fprintf(w, "DIFFERENCE  %s: %s\n", d.name(), describe(d.through))
			}
			if entry == "" || o.verbose && d.output != "" {
				fmt.Fprintln(w, indent(d.output))
			}
		}
		if row.through.rest != "" && row.through.count("") > 0 {
			fmt.Fprintf(w, "%s did not come to its end through Fairlead:\n%s\n", row.pkg, indent(row.through.rest))
		}
		for _, test := range slices.Sorted(maps.Keys(row.direct.outcomes)) {
			if got := row.direct.outcomes[test]; got == failed || got == "" {
				fmt.Fprintf(w, "directly    %s.%s: %s; through Fairlead: %s\n", row.pkg, test, describe(got),
					describe(row.through.outcomes[test]))
			}
		}
	}
	if o.run == "" && o.packages == "" {
		for _, entry := range slices.Sorted(maps.Keys(known)) {
			if !used[entry] {
				fmt.Fprintf(w, "explained.txt explains %s, which does not differ\n", entry)
			}
		}
	}
	fmt.Fprintln(w)
	r.table(w, known)
	return ok
}

func (r *report) table(w io.Writer, known reasons) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "package\tdirect passed\tskipped\tthrough passed\tskipped\tdifferences\texplained\t")
	var sum [6]int
	line := func(name string, n [6]int) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, n[0], n[1], n[2], n[3], n[4], n[5])
	}
	for _, row := range r.rows {
		n := [6]int{
			row.direct.count(passed), row.direct.count(skipped), row.through.count(passed), row.through.count(skipped),
			len(row.differences), len(row.differences) - len(unexplained(row.differences, known)),
		}
		for i := range n {
			sum[i] += n[i]
		}
		line(row.pkg, n)
	}
	line("all", sum)
	_ = t.Flush() // of a terminal or a pipe: there is nobody to tell
}

func describe(o outcome) string {
	switch o {
	case passed:
		return "passes"
	case failed:
		return "fails"
	case skipped:
		return "is skipped"
	}
	return "has no result"
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}
