package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsNoDSNIsRefusedByEveryCommand(t *testing.T) {
	const secret = "s3cr3t-pw"
	for dsn, want := range map[string]string{
		`"postgres://u:` + secret + `@h/d?sslmode=disable"`:      "quotation mark",
		"jdbc:postgresql://u:" + secret + "@h/d?sslmode=disable": "take jdbc: away",
		"POSTGRES://u:" + secret + "@h/d?sslmode=disable":        "write postgres://",
		"DATABASE_URL=postgres://u:" + secret + "@h/d?a=b":       "without the name of a variable",
	} {
		file := filepath.Join(t.TempDir(), "pooler.yaml")
		if err := os.WriteFile(file, []byte("clusters: {main: {dsn: '"+dsn+"'}}\nlisteners: [{address: 127.0.0.1:6432}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		fromFile := filepath.Join(t.TempDir(), "dsn")
		if err := os.WriteFile(fromFile, []byte(dsn+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files := filepath.Join(t.TempDir(), "files.yaml")
		if err := os.WriteFile(files, []byte("clusters: {main: {dsn_file: '"+fromFile+"'}}\nlisteners: [{address: 127.0.0.1:6432}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, args := range map[string][]string{
			"doctor":           {"doctor", dsn},
			"commits-table":    {"commits-table", "--apply", dsn},
			"pooler":           {"pooler", "--check", "--listen", "127.0.0.1:6432", "--dsn", dsn},
			"pooler, YAML":     {"pooler", "--check", "--config", file},
			"pooler, dsn_file": {"pooler", "--check", "--config", files},
		} {
			var out, err bytes.Buffer
			code := run(t.Context(), args, console{in: strings.NewReader(""), out: &out, err: &err})
			said := out.String() + err.String()
			if code == 0 || !strings.Contains(said, want) {
				t.Errorf("%s %s: %d, %s", name, dsn, code, said)
			}
			if strings.Contains(said, secret) {
				t.Errorf("%s: the password is in %s", name, said)
			}
			if strings.Count(said, "fairlead: ") != 1 {
				t.Errorf("%s: the prefix is there %d times: %s", name, strings.Count(said, "fairlead: "), said)
			}
		}
	}
}
