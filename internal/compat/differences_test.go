package main

import (
	"slices"
	"strings"
	"testing"
)

func TestCompareNamesTheInnermostTestsThatDiffer(t *testing.T) {
	direct := &results{outcomes: map[string]outcome{
		"TestSame": passed, "TestFails": passed, "TestSkipped": passed, "TestGone": passed, "TestFailsDirectly": failed,
		"TestSub": passed, "TestSub/a": passed, "TestSub/b": passed, "TestSubmarine": passed,
		"TestTemp": passed, "TestTemp/dir=/tmp/1": passed,
	}}
	through := &results{outcomes: map[string]outcome{
		"TestSame": passed, "TestFails": failed, "TestSkipped": skipped, "TestFailsDirectly": failed,
		"TestSub": failed, "TestSub/a": passed, "TestSub/b": failed, "TestSubmarine": passed,
		"TestTemp": passed, "TestTemp/dir=/tmp/2": passed,
	}}
	var got []string
	list := compare("pgx", direct, through)
	for _, d := range list {
		got = append(got, d.name())
	}
	if want := []string{"pgx.TestFails", "pgx.TestGone", "pgx.TestSkipped", "pgx.TestSub/b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := testsOf(list), "^(TestFails|TestGone|TestSkipped|TestSub)$"; got != want {
		t.Errorf("they are run again by %q, want %q", got, want)
	}
}

func TestAReasonHoldsForSubtestsToo(t *testing.T) {
	r, err := parseReasons("# a comment\npgx.TestA  because\n  of this\n\n!pgconn.TestB/sub  too slow\n!pgconn.TestC  as well\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"pgx.TestA": "because of this", "pgx.TestA/x/y": "because of this", "pgconn.TestB/sub/z": "too slow",
		"pgx.TestAB": "", "pgconn.TestB": "", "pgconn.TestB/other": "",
	} {
		if _, why := r.of(name); why.text != want {
			t.Errorf("%s: %q, want %q", name, why.text, want)
		}
	}
	if got, want := r.skip("pgconn"), "^(TestB/sub|TestC)$"; got != want {
		t.Errorf("not run are %q, want %q", got, want)
	}
	if got := r.skip("pgx"); got != "" {
		t.Errorf("not run are %q, want none", got)
	}
}

func TestReasonsMustBeThere(t *testing.T) {
	for _, text := range []string{"pgx.TestA\n", "pgx.TestA  x\npgx.TestA  y\n", "  x\n"} {
		if r, err := parseReasons(text); err == nil {
			t.Errorf("%q: %v and no error", text, r)
		}
	}
	for _, by := range ways {
		if _, err := by.known(); err != nil {
			t.Errorf("through the %s: %v", by.name, err)
		}
	}
}

func TestReportFailsOnWhatNothingExplains(t *testing.T) {
	direct := &results{outcomes: map[string]outcome{"TestA": passed, "TestB": passed}}
	through := &results{outcomes: map[string]outcome{"TestA": failed, "TestB": passed}, output: map[string]string{"TestA": "why not"}}
	for _, test := range []struct {
		reasons  string
		unsteady bool
		ok       bool
		says     []string
	}{
		{"", false, false, []string{"DIFFERENCE  pgx.TestA fails\n    why not\n"}},
		{"pgx.TestA  reason", false, true, []string{"explained   pgx.TestA fails: reason\n"}},
		{"", true, true, []string{"unsteady    pgx.TestA fails, but passed when run again\n"}},
		{"?pgx.TestA  reason\n?pgx.TestB  reason", false, true, []string{"explained   pgx.TestA fails: reason\n\n"}},
		{"pgx.TestB  reason", false, false, []string{"no more     pgx.TestB passes", "DIFFERENCE  pgx.TestA"}},
	} {
		known, err := parseReasons(test.reasons)
		if err != nil {
			t.Fatal(err)
		}
		list := compare("pgx", direct, through)
		list[0].unsteady = test.unsteady
		r := report{rows: []row{{"pgx", direct, through, list}}, known: known}
		if r.ok() != test.ok {
			t.Errorf("with %q: ok is %v", test.reasons, !test.ok)
		}
		var b strings.Builder
		r.print(&b, true, false)
		for _, s := range test.says {
			if !strings.Contains(b.String(), s) {
				t.Errorf("with %q it does not say %q:\n%s", test.reasons, s, b.String())
			}
		}
	}
}
