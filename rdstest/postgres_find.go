package rdstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldest is the first version that can do what is needed: take a new primary_conninfo without a restart.
const oldest = 13

// binaries are the programs of one PostgreSQL installation.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

var programs = []string{"postgres", "initdb", "pg_basebackup", "pg_resetwal"}

// usualDirs are where packages put PostgreSQL's server programs. Debian's and Red Hat's keep them out of PATH.
var usualDirs = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/local/pgsql/bin",
	"/usr/libexec/postgresql*",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// findBinaries looks in dir if it is given, and else in all places that there are.
func findBinaries(ctx context.Context, dir string) (binaries, error) {
	if dir != "" {
		b, err := inspect(ctx, dir)
		if err != nil {
			return b, fmt.Errorf("rdstest: look for PostgreSQL in BinDir: %w", err)
		}
		return b, nil
	}
	var found []binaries
	var tooOld error
	look := func(dir string) {
		b, err := inspect(ctx, dir)
		if err == nil {
			found = append(found, b)
		} else if _, ok := errors.AsType[*tooOldError](err); ok {
			tooOld = err
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err == nil {
			look(dir)
		}
	}
	if len(found) > 0 {
		return found[0], nil // PATH is the user's choice
	}
	for _, pattern := range usualDirs {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return binaries{}, fmt.Errorf("rdstest: look for PostgreSQL in %s: %w", pattern, err)
		}
		for _, dir := range dirs {
			look(dir)
		}
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b binaries) int { return a.major - b.major }), nil
	}
	if err := ctx.Err(); err != nil {
		return binaries{}, fmt.Errorf("rdstest: look for PostgreSQL: %w", err)
	}
	if tooOld != nil {
		return binaries{}, fmt.Errorf("rdstest: look for PostgreSQL: %w; %s", tooOld, howToInstall())
	}
	return binaries{}, fmt.Errorf("rdstest: look for PostgreSQL: no server programs (%s) in PATH, nor in the usual places; %s",
		strings.Join(programs, ", "), howToInstall())
}

type tooOldError struct {
	dir   string
	major int
}

func (e *tooOldError) Error() string {
	return fmt.Sprintf("PostgreSQL in %s is version %d, and %d or later is needed", e.dir, e.major, oldest)
}

// inspect says what version is in dir, or what is wrong with it.
func inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	for _, p := range programs {
		if _, err := exec.LookPath(b.path(p)); err != nil {
			return b, err
		}
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").Output()
	if err != nil {
		return b, fmt.Errorf("ask %s for its version: %w", b.path("postgres"), err)
	}
	if b.major, err = parseVersion(string(out)); err != nil {
		return b, fmt.Errorf("ask %s for its version: %w", b.path("postgres"), err)
	}
	if b.major < oldest {
		return b, &tooOldError{dir: dir, major: b.major}
	}
	return b, nil
}

// parseVersion reads the major version in "postgres (PostgreSQL) 17.2 (Debian 17.2-1)", or 18 in "... 18beta1".
func parseVersion(text string) (int, error) {
	_, after, _ := strings.Cut(text, ") ")
	digits := after
	if i := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = after[:i]
	}
	major, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("no version in %q", strings.TrimSpace(text))
	}
	return major, nil
}

// howToInstall is for this system, as far as it can be told.
func howToInstall() string {
	if runtime.GOOS == "darwin" {
		return "install it with: brew install postgresql@17"
	}
	for _, m := range []struct{ tool, command string }{
		{"apt-get", "apt-get install postgresql"},
		{"dnf", "dnf install postgresql-server"},
		{"apk", "apk add postgresql"},
		{"pacman", "pacman -S postgresql"},
		{"zypper", "zypper install postgresql-server"},
	} {
		if _, err := exec.LookPath(m.tool); err == nil {
			return "install it with: " + m.command
		}
	}
	return "install PostgreSQL's server, or set BinDir"
}
