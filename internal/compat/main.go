package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	dir        string
	run        string
	packages   string
	through    string
	parameters string
	timeout    time.Duration
	race       bool
	shell      bool
	verbose    bool
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "the folder to work in, removed at the end; default a temporary one")
	flag.StringVar(&o.run, "run", "", "run only the tests that match this `regexp`")
	flag.StringVar(&o.packages, "pkg", "", "run only these packages, comma-separated: pgx, pgconn, pgxpool, stdlib, with the pooler pgtype and others too")
	flag.StringVar(&o.through, "through", "driver", "what the tests are run through: `driver, pool or pooler`")
	flag.StringVar(&o.parameters, "parameters", "", "parameters of the driver, as in a `DSN`: topology=none")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long the tests of a package may run, and each one that is run alone a fifth of it")
	flag.BoolVar(&o.race, "race", false, "with the race detector")
	flag.BoolVar(&o.shell, "shell", false, "run no tests, but a shell in which they can be: bin/pgconn.test, through the driver or the pooler")
	flag.BoolVar(&o.verbose, "v", false, "print what explained differences print too")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ok, err := run(ctx, o)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "compat: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

// run reports whether all differences are explained.
func run(ctx context.Context, o options) (ok bool, err error) {
	by, err := findWay(o.through)
	if err != nil {
		return false, err
	}
	known, err := by.known()
	if err != nil {
		return false, err
	}
	packages, err := selectPackages(by, o.packages)
	if err != nil {
		return false, err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "fairlead-compat."); err != nil {
			return false, err
		}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	if err := os.Chmod(o.dir, 0o755); err != nil { // the server may run as another user
		return false, err
	}

	w, err := newWorkspace(ctx, o.dir)
	if err != nil {
		return false, err
	}
	progress("pgx %s: building its tests ...", w.version)
	var flags []string
	if o.race {
		flags = append(flags, "-race")
	}
	bins, err := w.build(ctx, packages, flags...)
	if err != nil {
		return false, err
	}
	certs := filepath.Join(o.dir, "certs")
	if err := w.certs(certs); err != nil {
		return false, err
	}
	setup := filepath.Join(w.pgx(), "testsetup")
	srv, err := startServer(ctx, filepath.Join(o.dir, "server"), certs,
		filepath.Join(setup, "pg_hba.conf"), filepath.Join(setup, "postgresql_setup.sql"))
	if err != nil {
		return false, err
	}
	defer srv.stop()
	progress("PostgreSQL %s on port %d", srv.version, srv.port)

	env := append(slices.Clone(w.env), srv.environment()...)
	env = append(env, fmt.Sprintf("COMPAT_PORT=%d", srv.port), "COMPAT_PARAMETERS="+strings.TrimSpace(by.parameters+" "+o.parameters))
	way, end, err := by.open(ctx, srv)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if o.shell {
		return true, shell(ctx, o.dir, append(env, way...))
	}
	c := comparison{w: w, bins: bins, env: env, way: way, alone: by.alone, known: known, timeout: o.timeout}
	rep, err := c.run(ctx, packages, o.run)
	if err != nil {
		return false, err
	}
	rep.print(os.Stdout, o.run == "" && o.packages == "", o.verbose)
	return rep.ok(), nil
}

// shell is for looking into a difference by hand.
func shell(ctx context.Context, dir string, env []string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-i")
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = cmd.Run() // says how the user's last command ended
	return context.Cause(ctx)
}

func selectPackages(by *way, names string) ([]string, error) {
	if names == "" {
		return by.packages, nil
	}
	var packages []string
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(by.packages, func(pkg string) bool { return title(pkg) == name })
		if i < 0 {
			return nil, fmt.Errorf("compat: -pkg %s: there are %s", name, strings.Join(titles(by.packages), ", "))
		}
		packages = append(packages, by.packages[i])
	}
	return packages, nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
