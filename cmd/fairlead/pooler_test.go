package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check runs fairlead pooler --check with a command line.
func check(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), append([]string{"pooler", "--check"}, args...), console{in: strings.NewReader(""), out: &out, err: &err})
	return code, out.String() + err.String()
}

func TestFlagsAndVariablesAreAsGoodAsAFile(t *testing.T) {
	simple := []string{"--listen", "127.0.0.1:6432", "--listen=/tmp/.s.PGSQL.6432", "--dsn", "postgres://app@h/app"}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"simple":                {simple, 0, "sound"},
		"all kinds":             {append(simple, "--mode=statement", "--target-role", "READ_ONLY", "--query-timeout=5", "--admin", "9127", "--init-query", "set a.b = 'x,y'"), 0, "sound"},
		"no DSN":                {simple[:2], 1, "--dsn are needed"},
		"a mode that is none":   {append(simple, "--mode=query"), 1, "--mode: allowed are transaction, session, statement"},
		"a number that is none": {append(simple, "--pool-size=many"), 1, "--pool-size: a number"},
		"too much":              {append(simple, "--max-connections-percent=101"), 1, "1 to 100"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, said := check(t, c.args...); code != c.code || !strings.Contains(said, c.want) {
				t.Errorf("%d, %s", code, said)
			}
		})
	}
	t.Setenv("FAIRLEAD_POOL_SIZE", "0")
	if code, said := check(t, simple...); code != 1 || !strings.Contains(said, "--pool-size") {
		t.Errorf("a variable: %d, %s", code, said)
	}
	file := filepath.Join(t.TempDir(), "pooler.yaml")
	if err := os.WriteFile(file, []byte("clusters: {main: {dsn: postgres://app@h/app}}\nlisteners: [{address: 127.0.0.1:6432}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := check(t, "--config", file); code != 1 || !strings.Contains(said, "FAIRLEAD_POOL_SIZE") {
		t.Errorf("a file and a variable: %d, %s", code, said)
	}
	t.Setenv("FAIRLEAD_POOL_SIZE", "")
	if code, said := check(t, "--config", file); code != 0 {
		t.Errorf("a file: %d, %s", code, said)
	}
	t.Setenv("FAIRLEAD_POOLSIZE", "9")
	if code, said := check(t, "--config", file); code != 0 || !strings.Contains(said, "did you mean FAIRLEAD_POOL_SIZE?") {
		t.Errorf("a misspelt variable: %d, %s", code, said)
	}
}
