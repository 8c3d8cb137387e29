package main

import (
	"strings"
	"testing"
)

func TestResultsOfABinaryThatPanics(t *testing.T) {
	res, err := readResults(strings.NewReader(`{"Action":"start"}
{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"a\n"}
{"Action":"run","Test":"TestA/sub"}
{"Action":"pass","Test":"TestA/sub"}
{"Action":"pass","Test":"TestA","Elapsed":1}
{"Action":"run","Test":"TestB"}
{"Action":"skip","Test":"TestB"}
{"Action":"run","Test":"TestC"}
{"Action":"output","Output":"panic: test timed out\n"}
{"Action":"fail"}
`))
	if err != nil {
		t.Fatal(err)
	}
	for o, want := range map[outcome]int{passed: 1, skipped: 1, failed: 0, "": 1} {
		if got := res.count(o); got != want {
			t.Errorf("%q: %d tests, want %d", o, got, want)
		}
	}
	if res.output["TestA"] != "a\n" || res.rest != "panic: test timed out\n" {
		t.Errorf("output %q, rest %q", res.output, res.rest)
	}
	if _, err := readResults(strings.NewReader("no JSON\n")); err == nil {
		t.Error("no error for what is no JSON")
	}
}
