package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tree is a copy of the files that git knows.
type tree struct{ dir string }

// copyTree copies the tree that the command runs in.
func copyTree(ctx context.Context, dir string) (*tree, error) {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("mutations: list the tree's files with git: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // removed, and not yet for git
		}
		to := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, b, 0o644)
		}
		if err != nil {
			return nil, fmt.Errorf("mutations: copy %s: %w", name, err)
		}
	}
	return &tree{dir}, nil
}

// apply makes the edits, and returns what takes them back.
func (t *tree) apply(edits []edit) (undo func() error, err error) {
	before := make(map[string][]byte)
	undo = func() error {
		for name, b := range before {
			if err := os.WriteFile(name, b, 0o644); err != nil {
				return fmt.Errorf("mutations: take an edit back: %w", err)
			}
		}
		return nil
	}
	for _, e := range edits {
		name := filepath.Join(t.dir, e.file)
		b, err := os.ReadFile(name)
		if err != nil {
			return undo, fmt.Errorf("mutations: %w: has it moved? See internal/torture/mutations/list.go", err)
		}
		if n := strings.Count(string(b), e.old); n != 1 {
			return undo, fmt.Errorf("mutations: %s has this %d times, not once, so the edit does not fit any more: see internal/torture/mutations/list.go:\n%s",
				e.file, n, e.old)
		}
		if _, ok := before[name]; !ok {
			before[name] = b
		}
		if err := os.WriteFile(name, []byte(strings.Replace(string(b), e.old, e.new, 1)), 0o644); err != nil {
			return undo, fmt.Errorf("mutations: edit %s: %w", e.file, err)
		}
	}
	return undo, nil
}

// build makes the torture of the tree.
func (t *tree) build(ctx context.Context, bin string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./internal/torture/cmd")
	cmd.Dir = t.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mutations: build the torture: %w\n%s", err, out)
	}
	return nil
}
