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
	rows  []row
	known reasons
}

type row struct {
	pkg             string
	direct, through *results
	differences     []difference
}

// ok reports whether all differences are explained, or were gone when the test was run again.
func (r *report) ok() bool {
	for _, row := range r.rows {
		if slices.ContainsFunc(unexplained(row.differences, r.known), func(d difference) bool { return !d.unsteady }) {
			return false
		}
	}
	return true
}

// print writes what differs and why, what it has printed where that is not known, and the table. Whole says that all tests
// were run, so that what explained.txt explains should be there; verbose prints what explained differences print too.
func (r *report) print(w io.Writer, whole, verbose bool) {
	r.explained(w, whole, verbose)
	for _, row := range r.rows {
		for _, test := range slices.Sorted(maps.Keys(row.direct.outcomes)) {
			if got := row.direct.outcomes[test]; got == failed || got == "" {
				fmt.Fprintf(w, "directly    %s.%s %s; through Fairlead it %s\n", row.pkg, test, describe(got),
					describe(row.through.outcomes[test]))
			}
		}
	}
	for _, row := range r.rows {
		for _, d := range unexplained(row.differences, r.known) {
			if d.unsteady {
				fmt.Fprintf(w, "unsteady    %s %s, but passed when run again\n", d.name(), describe(d.through))
			} else {
				fmt.Fprintf(w, "DIFFERENCE  %s %s\n", d.name(), describe(d.through))
			}
			fmt.Fprintln(w, indent(d.output))
		}
		if row.through.count("") > 0 {
			fmt.Fprintf(w, "%s did not come to its end through Fairlead:\n%s\n", row.pkg, indent(row.through.rest))
		}
	}
	fmt.Fprintln(w)
	r.table(w)
}

func (r *report) explained(w io.Writer, whole, verbose bool) {
	found := make(map[string][]difference)
	for _, row := range r.rows {
		for _, d := range row.differences {
			if entry, _ := r.known.of(d.name()); entry != "" {
				found[entry] = append(found[entry], d)
			}
		}
	}
	for _, entry := range slices.Sorted(maps.Keys(r.known)) {
		list := found[entry]
		if len(list) == 0 {
			if whole {
				fmt.Fprintf(w, "no more     %s passes: take it out of explained.txt\n", entry)
			}
			continue
		}
		fmt.Fprintf(w, "explained   %s %s: %s\n", entry, describe(list[0].through), r.known[entry].text)
		for _, d := range list {
			if verbose && d.output != "" {
				fmt.Fprintln(w, indent(d.output))
			}
		}
	}
}

// table counts tests; a test with subtests is one.
func (r *report) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "package\tdirect passed\tskipped\tthrough passed\tskipped\tdiffer\texplained\t")
	var sum [6]int
	line := func(name string, n [6]int) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, n[0], n[1], n[2], n[3], n[4], n[5])
	}
	for _, row := range r.rows {
		differ, open := tests(row.differences), tests(unexplained(row.differences, r.known))
		n := [6]int{
			row.direct.count(passed), row.direct.count(skipped), row.through.count(passed), row.through.count(skipped),
			differ, differ - open,
		}
		for i := range n {
			sum[i] += n[i]
		}
		line(row.pkg, n)
	}
	line("all", sum)
	_ = t.Flush() // of a terminal or a pipe: there is nobody to tell
}

// tests is in how many tests the differences are.
func tests(list []difference) int {
	in := make(map[string]bool)
	for _, d := range list {
		in[d.topLevel()] = true
	}
	return len(in)
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
