package sqltext

import (
	"strings"
	"testing"
)

func seeds(f *testing.F) {
	for _, sql := range pureStatements {
		f.Add(sql, false)
	}
	for _, sql := range impureStatements {
		f.Add(sql, true)
	}
	for _, sql := range []string{
		"set a to 'b'; reset all; set local time zone interval '1' hour", "create function f() begin atomic select 1; end; select 2", `select E'\'' '` + "\n" + `'`,
		"set session characteristics as transaction read only", "select $a$ $b$ $a$; /* /* */ */ ;", `select U&"a" '\'`, "select set_config('a', $1, true)",
	} {
		f.Add(sql, false)
	}
}

// What Split leaves out is nothing but semicolons, white space and comments, and a piece stays what it was when it is
// split again.
func FuzzSplit(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, sql string, off bool) {
		o := Options{NonStandardStrings: off}
		list, err := Split(sql, o)
		if err != nil {
			return
		}
		at := 0
		for _, s := range list {
			if s.Offset < at || sql[s.Offset:s.Offset+len(s.Text)] != s.Text || s.Text == "" || s.Kind != Classify(s.Text, o) {
				t.Fatalf("%q: %+v", sql, s)
			}
			nothing(t, sql[at:s.Offset], o)
			at = s.Offset + len(s.Text)
			again, err := Split(s.Text, o)
			if err != nil || len(again) != 1 || again[0].Text != s.Text {
				t.Fatalf("%q: %q splits into %+v, %v", sql, s.Text, again, err)
			}
		}
		nothing(t, sql[at:], o)
	})
}

func nothing(t *testing.T, gap string, o Options) {
	list, err := tokenize(gap, o)
	if err != nil {
		t.Fatalf("%q was left out: %v", gap, err)
	}
	for i, tok := range list.list {
		if tok.kind != tokEnd && !list.is(i, ";") {
			t.Fatalf("%q was left out", gap)
		}
	}
}

// A pure statement is one statement of a kind that reads, stays pure in parentheses and in a subquery, and mentions no
// function that the list calls harmful.
func FuzzPure(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, sql string, off bool) {
		o := Options{NonStandardStrings: off}
		ok, reason := Pure(sql, o)
		if ok != (reason == "") {
			t.Fatalf("%q: %v, %q", sql, ok, reason)
		}
		if !ok {
			return
		}
		list, err := Split(sql, o)
		if err != nil || len(list) != 1 {
			t.Fatalf("%q is pure and splits into %+v, %v", sql, list, err)
		}
		switch list[0].Kind {
		case Select, Values, Table, With:
			if again, reason := Pure("("+list[0].Text+"\n)", o); !again && !strings.HasPrefix(reason, "too ") {
				t.Fatalf("%q is not pure in parentheses: %s", sql, reason)
			}
		case Show, Explain:
		default:
			t.Fatalf("%q is pure and %s", sql, list[0].Kind)
		}
		tokens, _ := tokenize(sql, o)
		for i := range tokens.list {
			name, _ := tokens.name(i)
			if harmless, known := loadCatalog().functions[name]; known && !harmless && tokens.is(i+1, "(") &&
				!tokens.isWord(i, "filter", "values", "row") && !isColumnList(&tokens, i) {
				t.Fatalf("%q is pure and calls %s", sql, name)
			}
		}
	})
}

// isColumnList reports whether the i-th token can be an alias with columns, or a common table expression.
func isColumnList(t *tokens, i int) bool {
	return i > 0 && (t.isWord(i-1, "as", "with", "recursive") || t.is(i-1, ",") || t.at(i-1).kind == tokWord ||
		t.at(i-1).kind == tokQuoted || t.is(i-1, ")") || t.is(i-1, "*"))
}

// A setting's SQL reads as the same setting, whatever standard_conforming_strings is.
func FuzzParseSetting(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, sql string, off bool) {
		s, ok := ParseSetting(sql, Options{NonStandardStrings: off})
		SetConfigCalls(sql, Options{NonStandardStrings: off})
		SearchPathSafe(sql)
		if !ok {
			return
		}
		for _, o := range []Options{{}, {NonStandardStrings: true}} {
			if again, ok := ParseSetting(s.SQL, o); !ok || again != s {
				t.Fatalf("%q is %+v, and its SQL %+v, %v", sql, s, again, ok)
			}
		}
		switch Classify(sql, Options{NonStandardStrings: off}) {
		case Set, SetLocal, SetCharacteristics, Reset, Discard:
		default:
			t.Fatalf("%q is a setting and %s", sql, Classify(sql, Options{}))
		}
	})
}

// Opaque takes any text; one that Pure lets run again calls nothing of the user's own.
func FuzzOpaque(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, sql string, off bool) {
		o := Options{NonStandardStrings: off}
		opaque := Opaque(sql, o)
		if pure, _ := Pure(sql, o); pure && opaque {
			t.Fatalf("%q is pure, and opaque", sql)
		}
	})
}
