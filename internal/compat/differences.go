package main

import (
	"bufio"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// difference is a test that passes directly and not through the driver.
type difference struct {
	pkg, test string
	through   outcome
	unsteady  bool // it passed when it was run again
	output    string
}

func (d difference) name() string { return d.pkg + "." + d.test }

// topLevel is the test that d is in or is.
func (d difference) topLevel() string {
	test, _, _ := strings.Cut(d.test, "/")
	return test
}

// compare returns the differences in one package, without the tests that differ only by their subtests.
func compare(pkg string, direct, through *results) []difference {
	differs := func(test string) bool {
		if direct.outcomes[test] != passed || through.outcomes[test] == passed {
			return false
		}
		// A name with a temporary folder in it is another one every time: what counts is then the test that it is in.
		for in := test; ; {
			if got, ran := through.outcomes[in]; ran {
				return in == test || got != passed
			}
			i := strings.LastIndex(in, "/")
			if i < 0 {
				return true
			}
			in = in[:i]
		}
	}
	var list []difference
	tests := slices.Sorted(maps.Keys(direct.outcomes))
	for i, test := range tests {
		if !differs(test) {
			continue
		}
		inSubtest := false
		for _, sub := range tests[i+1:] {
			if strings.HasPrefix(sub, test+"/") && differs(sub) {
				inSubtest = true
			}
		}
		if !inSubtest {
			list = append(list, difference{pkg: pkg, test: test, through: through.outcomes[test], output: through.output[test]})
		}
	}
	return list
}

// unexplained are the differences without a reason.
func unexplained(list []difference, known reasons) []difference {
	return slices.DeleteFunc(slices.Clone(list), func(d difference) bool {
		entry, _ := known.of(d.name())
		return entry != ""
	})
}

// testsOf matches the tests that the differences are in, for -test.run.
func testsOf(list []difference) string {
	var names []string
	for _, d := range list {
		names = append(names, regexp.QuoteMeta(d.topLevel()))
	}
	slices.Sort(names)
	return "^(" + strings.Join(slices.Compact(names), "|") + ")$"
}

// reasons are the explained differences: the test's name, with its package, and why.
type reasons map[string]reason

type reason struct {
	text   string
	notRun bool // through the driver, since it would only wait for its own end
	racy   bool // it does not differ every time
}

// parseReasons reads lines of a test's name and, behind blanks, the reason; # begins a comment, and an indented line goes
// on with the reason before. A name behind an exclamation mark is of a test that is not run through the driver, one
// behind a question mark of a test that differs now and then.
func parseReasons(text string) (reasons, error) {
	r := make(reasons)
	last := ""
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.HasPrefix(line, "#"):
			continue
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("compat: explained.txt:%d: no test before this reason", n)
			}
			why := r[last]
			why.text = strings.TrimSpace(why.text + " " + trimmed)
			r[last] = why
			continue
		}
		name, text, _ := strings.Cut(trimmed, " ")
		name, notRun := strings.CutPrefix(name, "!")
		name, racy := strings.CutPrefix(name, "?")
		if _, twice := r[name]; twice {
			return nil, fmt.Errorf("compat: explained.txt:%d: %s is there twice", n, name)
		}
		r[name], last = reason{strings.TrimSpace(text), notRun, racy}, name
	}
	for name, why := range r {
		if why.text == "" {
			return nil, fmt.Errorf("compat: explained.txt: %s has no reason", name)
		}
	}
	return r, lines.Err()
}

// skip matches the tests of a package that are not run through the driver, for -test.skip; empty if there are none.
func (r reasons) skip(pkg string) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if test, ok := strings.CutPrefix(name, pkg+"."); ok && r[name].notRun {
			names = append(names, regexp.QuoteMeta(test))
		}
	}
	if names == nil {
		return ""
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// of returns the reason for a test, or the one for the test that it is a subtest of.
func (r reasons) of(name string) (entry string, why reason) {
	for entry = name; ; {
		if why, ok := r[entry]; ok {
			return entry, why
		}
		i := strings.LastIndex(entry, "/")
		if i < 0 {
			return "", reason{}
		}
		entry = entry[:i]
	}
}
