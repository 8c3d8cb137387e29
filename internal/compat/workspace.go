package main

import (
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

const (
	pgxModule  = "github.com/jackc/pgx/v5"
	glueModule = "fairlead.test/through"
)

//go:embed all:_glue
var glue embed.FS

// workspace is the temporary folder with a Go workspace in it: the copy of pgx, the glue, and the module under test in its
// place.
type workspace struct {
	dir     string
	version string // pgx's
	env     []string
	json    string // the program test2json
}

// newWorkspace makes it in dir. The current folder must be in the module under test.
func newWorkspace(ctx context.Context, dir string) (*workspace, error) {
	root, err := command(ctx, "", nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	var pgx struct{ Dir, Version string }
	out, err := command(ctx, root, nil, "go", "mod", "download", "-json", pgxModule)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &pgx); err != nil {
		return nil, fmt.Errorf("compat: go mod download %s: %w", pgxModule, err)
	}
	w := &workspace{
		dir: dir, version: pgx.Version,
		env: append(environ(), "GOWORK="+filepath.Join(dir, "go.work"), "GOFLAGS="),
	}
	if err := copyTree(w.pgx(), pgx.Dir); err != nil {
		return nil, err
	}
	if err := w.patch(); err != nil {
		return nil, fmt.Errorf("compat: pgx %s: %w", pgx.Version, err)
	}
	if err := w.addGlue(); err != nil {
		return nil, err
	}
	if _, err := command(ctx, dir, environ(), "go", "work", "init", w.pgx(), w.glue(), root); err != nil {
		return nil, err
	}
	w.json, err = command(ctx, root, environ(), "go", "tool", "-n", "test2json")
	return w, err
}

func (w *workspace) pgx() string  { return filepath.Join(w.dir, "pgx") }
func (w *workspace) glue() string { return filepath.Join(w.dir, "through") }

// patch adds the hook to the copy.
func (w *workspace) patch() error {
	for name, patch := range map[string]func([]byte) ([]byte, error){"pgconn.go": patchConnect, "config.go": patchConfig} {
		file := filepath.Join(w.pgx(), "pgconn", name)
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if src, err = patch(src); err != nil {
			return fmt.Errorf("patch pgconn/%s: %w", name, err)
		}
		if err := os.WriteFile(file, src, 0o666); err != nil {
			return err
		}
	}
	return w.put(filepath.Join(w.pgx(), "pgconn", "compat_hook.go"), "hook.go")
}

// addGlue adds the package that sets the hook, and its import to the tests of every package. It is imported from their
// external tests: the package itself may be one that the driver imports.
func (w *workspace) addGlue() error {
	if err := w.put(filepath.Join(w.glue(), "through.go"), "through.go"); err != nil {
		return err
	}
	mod := fmt.Sprintf("module %s\n\ngo 1.26\n", glueModule)
	if err := os.WriteFile(filepath.Join(w.glue(), "go.mod"), []byte(mod), 0o666); err != nil {
		return err
	}
	for _, pkg := range connecting {
		src := fmt.Sprintf("package %s_test\n\nimport _ %q\n", title(pkg), glueModule)
		if err := os.WriteFile(filepath.Join(w.pgx(), pkg, "compat_through_test.go"), []byte(src), 0o666); err != nil {
			return err
		}
	}
	return nil
}

func (w *workspace) put(file, name string) error {
	src, err := glue.ReadFile(path.Join("_glue", name))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return err
	}
	return os.WriteFile(file, src, 0o666)
}

// certs decodes the certificates that pgx keeps for its tests into dir.
func (w *workspace) certs(dir string) error {
	from := filepath.Join(w.pgx(), "testsetup", "certs")
	files, err := filepath.Glob(filepath.Join(from, "*.b64"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("compat: pgx's testsetup/certs is empty")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			return fmt.Errorf("compat: decode %s: %w", filepath.Base(file), err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".b64")
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// build compiles the tests of the packages and returns their binaries, by package.
func (w *workspace) build(ctx context.Context, packages []string, flags ...string) (map[string]string, error) {
	bins := make(map[string]string)
	for _, pkg := range packages {
		bin := filepath.Join(w.dir, "bin", title(pkg)+".test")
		args := append([]string{"test", "-c", "-vet=off", "-o", bin}, flags...)
		if _, err := command(ctx, filepath.Join(w.pgx(), pkg), w.env, "go", append(args, ".")...); err != nil {
			return nil, fmt.Errorf("compat: build the tests of %s: %w", title(pkg), err)
		}
		bins[pkg] = bin
	}
	return bins, nil
}

// title is what a package is called in the table and in explained.txt.
func title(pkg string) string {
	if pkg == "." {
		return "pgx"
	}
	return pkg
}

func titles(packages []string) []string {
	names := make([]string, len(packages))
	for i, pkg := range packages {
		names[i] = title(pkg)
	}
	return names
}

// copyTree copies a folder of the module cache, whose files are read-only.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o777)
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(target, src, 0o666)
	})
}

// environ is the environment without what would lead tests or servers elsewhere.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "FAIRLEAD_") || strings.HasPrefix(name, "COMPAT_") {
			continue
		}
		env = append(env, kv)
	}
	return env
}

// command runs a program to its end and returns what it wrote to its standard output; what it wrote to the other is in the
// error.
func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	ownGroup(cmd)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return "", fmt.Errorf("compat: %s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
