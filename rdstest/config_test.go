package rdstest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, cfg := range map[string]Config{
		`Name "A_b"`:          {Name: "A_b"},
		`Name "a--b"`:         {Name: "a--b"},
		`Name "` + longName:   {Name: longName},
		"Readers is 16":       {Readers: 16},
		`Flavor "mysql"`:      {Flavor: "mysql"},
		"BinDir":              {BinDir: filepath.Join(t.TempDir(), "none")},
		"version 12, and 13":  {BinDir: fakePostgres(t, "12.4")},
		`no version in "post`: {BinDir: fakePostgres(t, "new")},
	} {
		c, err := New(context.Background(), cfg)
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "rdstest: ") {
			t.Errorf("%+v: %v, want %s", cfg, err, want)
		}
	}
}

const longName = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"

// fakePostgres is a directory of programs that say what version they are.
func fakePostgres(t *testing.T, version string) string {
	dir := t.TempDir()
	for _, p := range programs {
		script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, p), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPostgreSQLIsFoundInPathFirst(t *testing.T) {
	ctx := context.Background()
	dir := fakePostgres(t, "17.2 (Debian 17.2-1)")
	t.Setenv("PATH", t.TempDir()+":"+dir+":"+os.Getenv("PATH"))
	b, err := findBinaries(ctx, "")
	if err != nil || b.dir != dir || b.major != 17 {
		t.Errorf("%+v, %v; want 17 in %s", b, err, dir)
	}
}

func TestTheHighestVersionInTheUsualPlacesIsTaken(t *testing.T) {
	ctx := context.Background()
	t.Setenv("PATH", t.TempDir())
	root := t.TempDir()
	defer func(dirs []string) { usualDirs = dirs }(usualDirs)
	usualDirs = []string{filepath.Join(root, "*", "bin")}
	_, err := findBinaries(ctx, "")
	if err == nil || !strings.Contains(err.Error(), "no server programs") || !strings.Contains(err.Error(), "install") {
		t.Errorf("with none: %v", err)
	}
	for _, v := range []string{"9.6.24", "11.3", "18beta1", "14.1"} {
		if v == "18beta1" {
			if _, err := findBinaries(ctx, ""); err == nil || !strings.Contains(err.Error(), "or later is needed; ") {
				t.Errorf("with old ones: %v", err)
			}
		}
		must(t, os.MkdirAll(filepath.Join(root, v), 0o755))
		must(t, os.Rename(fakePostgres(t, v), filepath.Join(root, v, "bin")))
	}
	b, err := findBinaries(ctx, "")
	if err != nil || b.major != 18 {
		t.Errorf("%+v, %v; want 18", b, err)
	}
}

func TestPositionsAreComparedByTimelineFirst(t *testing.T) {
	at, err := parseLSN("1/A0")
	if err != nil || at != 1<<32+0xa0 {
		t.Errorf("%x, %v", at, err)
	}
	if _, err := parseLSN("none"); err == nil {
		t.Error("anything is a position")
	}
	old := position{timeline: "00000002", received: 9}
	for _, p := range []position{{timeline: "00000003", received: 1}, {timeline: "0000000A", received: 2}, {timeline: "00000002", received: 10}} {
		if !old.less(p) || p.less(old) {
			t.Errorf("%+v is not before %+v", old, p)
		}
	}
}

func TestProcessesAreStoppedAndKilledWithTheirChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := findAccount()
	must(t, err)
	cmd := a.command(ctx, "/", "/bin/sh", "-c", "sleep 100 & sleep 100 & wait")
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	pid := cmd.Process.Pid
	var children []int
	for len(children) < 2 {
		children, err = childrenOf(pid)
		must(t, err)
	}
	state := func(want string) {
		t.Helper()
		for _, p := range append(children, pid) {
			if s, err := processState(p); err != nil || !strings.ContainsRune(want, rune(s)) {
				t.Errorf("process %d is %q, %v; want one of %s", p, s, err, want)
			}
		}
	}
	must(t, freezeTree(ctx, pid))
	state("T")
	must(t, thawTree(pid))
	state("SR")
	must(t, freezeTree(ctx, pid))
	must(t, killTree(ctx, pid))
	<-ended
	state("ZX\x00")
	must(t, killTree(ctx, pid)) // it is gone, and nothing is to be done
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
