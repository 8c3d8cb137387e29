package driver

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// golden compares what a command prints with a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	name := filepath.Join("testdata", file)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	old, now := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for _, line := range now {
		if !slices.Contains(old, line) {
			t.Errorf("new: %s", line)
		}
	}
	for _, line := range old {
		if !slices.Contains(now, line) {
			t.Errorf("gone: %s", line)
		}
	}
	t.Errorf("%s differs; if that is meant, run go test ./driver -update", name)
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}

// TestDependencies watches what an application imports with the driver.
func TestDependencies(t *testing.T) {
	list := strings.Fields(run(t, "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "."))
	slices.Sort(list)
	golden(t, "dependencies.golden", strings.Join(list, "\n")+"\n")
}

// TestAPI watches what the packages that users import export.
func TestAPI(t *testing.T) {
	for _, p := range []string{"driver", "topology", "credentials", "credentials/awscreds", "rdstest", "rdstest/fakeaws"} {
		golden(t, path.Base(p)+".api.golden", run(t, "go", "doc", "-all", "github.com/fairlead-go/fairlead/"+p))
	}
}
