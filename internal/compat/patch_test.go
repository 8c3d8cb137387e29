package main

import (
	"strings"
	"testing"
)

const connectSource = `package pgconn

func ConnectConfig(ctx context.Context, config *Config) (*PgConn, error) {
	if !config.createdByParseConfig {
		panic("config must be created by ParseConfig")
	}

	return connect(ctx, config)
}
`

func TestPatchPutsTheHookBehindTheCheckOfTheConfig(t *testing.T) {
	got, err := patchConnect([]byte(connectSource))
	if err != nil {
		t.Fatal(err)
	}
	check, hook, use := strings.Index(string(got), "panic("), strings.Index(string(got), "ConnectHook(config)"),
		strings.Index(string(got), "return connect(")
	if check < 0 || hook < check || use < hook {
		t.Errorf("the hook is in the wrong place:\n%s", got)
	}
}

func TestPatchAddsItsFieldToTheConfig(t *testing.T) {
	got, err := patchConfig([]byte("package pgconn\n\ntype Config struct {\n\tHost string\n}\n\ntype FallbackConfig struct {\n\tHost string\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(got), "type FallbackConfig")
	if strings.Count(string(got), "direct bool") != 1 || !strings.Contains(before, "direct bool") {
		t.Errorf("got\n%s", got)
	}
}

func TestPatchRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, src := range map[string]string{
		"no function":      "package pgconn",
		"a method":         strings.Replace(connectSource, "func ConnectConfig", "func (Dialer) ConnectConfig", 1),
		"other parameters": strings.Replace(connectSource, "config *Config)", "cfg *Config)", 1),
		"no check":         "package pgconn\n\nfunc ConnectConfig(ctx, config int) {\n\treturn\n}\n",
		"empty":            "package pgconn\n\nfunc ConnectConfig(ctx, config int) {}\n",
		"not Go":           "package",
	} {
		if _, err := patchConnect([]byte(src)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, src := range map[string]string{
		"no type":   "package pgconn",
		"no struct": "package pgconn\n\ntype Config int\n",
		"not Go":    "package",
	} {
		if _, err := patchConfig([]byte(src)); err == nil {
			t.Errorf("Config: %s: no error", name)
		}
	}
}
