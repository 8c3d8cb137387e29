package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryEditFitsTheTree has whoever changes a precaution see that its mutation has to change too.
func TestEveryEditFitsTheTree(t *testing.T) {
	for _, m := range mutations {
		for _, e := range m.edits {
			b, err := os.ReadFile(filepath.Join("../../..", e.file))
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
				continue
			}
			if n := strings.Count(string(b), e.old); n != 1 {
				t.Errorf("%s: %s has this %d times, not once:\n%s", m.name, e.file, n, e.old)
			}
		}
	}
}

func TestAnEditThatDoesNotFitIsAnError(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.go")
	if err := os.WriteFile(name, []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := &tree{dir}
	for _, old := range []string{"two", "three"} {
		if _, err := tr.apply([]edit{{"a.go", old, ""}}); err == nil {
			t.Errorf("%q was taken out of %q", old, "one two two")
		}
	}
	undo, err := tr.apply([]edit{{"a.go", "one", "1"}, {"a.go", "1 two", "12"}})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "12 two" {
		t.Errorf("the file is %q", b)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "one two two" {
		t.Errorf("taken back, the file is %q", b)
	}
}
