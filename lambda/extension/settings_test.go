package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/pooler"
)

var update = flag.Bool("update", false, "write the table of variables into docs/lambda.md")

// environment is one for readSettings.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if value, ok := strings.CutPrefix(p, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestVariablesSayEverything(t *testing.T) {
	s, err := readSettings(environment("FAIRLEAD_DSN=postgres://app@h/app", "FAIRLEAD_LISTEN=127.0.0.1:6432, /tmp/.s.PGSQL.6432", "FAIRLEAD_MODE=session",
		"FAIRLEAD_POOL_SIZE=7", "FAIRLEAD_CONNECTION_BORROW_TIMEOUT=2", "FAIRLEAD_SERVER_LIFETIME=90s", "FAIRLEAD_FREEZE=close",
		"FAIRLEAD_FREEZE_IDLE=5m", "FAIRLEAD_FREEZE_WAIT=100ms", "FAIRLEAD_LOG_LEVEL=warn", "FAIRLEAD_METRICS=off"))
	if err != nil {
		t.Fatal(err)
	}
	k := s.pooler.Clusters["main"]
	if len(s.pooler.Listeners) != 2 || s.pooler.Listeners[1].Address != "/tmp/.s.PGSQL.6432" || s.pooler.Listeners[0].Mode != pooler.Session || k.PoolSize != 7 ||
		k.BorrowTimeout != 2*time.Second || k.ServerLifetime != 90*time.Second || k.Database.Conn.Host != "h" {
		t.Errorf("the pooler's: %+v", s.pooler)
	}
	if s.freeze != lambda.FreezeClose || s.freezeIdle != 5*time.Minute || s.freezeWait != 100*time.Millisecond ||
		s.logLevel != slog.LevelWarn || s.metrics != metricsOff || s.metricsNamespace != "Fairlead" {
		t.Errorf("the extension's: %+v", s)
	}
}

func TestAllThatIsWrongIsTold(t *testing.T) {
	_, err := readSettings(environment("FAIRLEAD_POOL_SIZE=0", "FAIRLEAD_FREEZE=never", "FAIRLEAD_WARM_TIMEOUT=soon", "FAIRLEAD_LOG_LEVEL=loud"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"FAIRLEAD_POOL_SIZE: a number of 1 or more", "FAIRLEAD_FREEZE: allowed are keep, idle, close", "FAIRLEAD_WARM_TIMEOUT: a duration", "FAIRLEAD_LOG_LEVEL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: there is no %s", err, want)
		}
	}
}

func TestAFileInThePackageIsRead(t *testing.T) {
	root := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(root, "fairlead.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("clusters:\n  main:\n    dsn: postgres://app@h/app\n    pool_size: 9\n")
	s, err := readSettings(environment("LAMBDA_TASK_ROOT="+root, "FAIRLEAD_FREEZE=keep"))
	if err != nil {
		t.Fatal(err)
	}
	if s.pooler.Clusters["main"].PoolSize != 9 || s.freeze != lambda.FreezeKeep || s.pooler.Listeners[0].Address != "127.0.0.1:5432" {
		t.Errorf("%+v", s)
	}
	if _, err := readSettings(environment("LAMBDA_TASK_ROOT="+root, "FAIRLEAD_DSN=postgres://h/app")); err == nil || !strings.Contains(err.Error(), "FAIRLEAD_DSN together with the file") {
		t.Errorf("file and variable: %v", err)
	}
	write("clusters:\n  main:\n    dsn: postgres://app@h/app\n    pool_sise: 9\n")
	if _, err := readSettings(environment("LAMBDA_TASK_ROOT=" + root)); err == nil || !strings.Contains(err.Error(), "fairlead.yaml") || !strings.Contains(err.Error(), "[4:") {
		t.Errorf("a key that is misspelt: %v", err)
	}
}

func TestTheDocumentationHasAllVariables(t *testing.T) {
	var b strings.Builder
	b.WriteString("| variable | default | what it does |\n|---|---|---|\n")
	for _, s := range table {
		def := "none"
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, def, s.effect)
	}
	const path, begin, end = "../../docs/lambda.md", "<!-- variables -->\n", "<!-- end -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	now, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table between %q and %q", path, begin, end)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now != b.String() {
		t.Errorf("the table in %s is not the extension's: run go test ./lambda/extension -run Documentation -update", path)
	}
}
