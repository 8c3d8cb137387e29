package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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

func TestASignalHasTheFileReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pooler.yaml")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	write := func(rest string) {
		t.Helper()
		text := "clusters: {main: {dsn: 'postgres://app@127.0.0.1:1/app'}}\nlisteners: [{address: " + dir + "/.s.PGSQL.5432}]\nadmin: {address: " + admin + "}\n" + rest
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	ctx, stop := context.WithCancel(t.Context())
	var said output
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"pooler", "--config", file}, console{in: strings.NewReader(""), out: &said, err: &said})
	}()
	await := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s; it said %s", what, said.String())
			}
		}
	}
	await("the admin address is not served", func() bool { // signals are heeded before
		resp, err := http.Get("http://" + admin + "/livez")
		return err == nil && resp.Body.Close() == nil
	})
	for text, want := range map[string]string{"query_timeout: 5\n": "was read again", "query_time: 5\n": `[4:1] this key is not known`} {
		write(text)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await("the signal is not heeded", func() bool { return strings.Contains(said.String(), want) })
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("it ended with %d: %s", code, said.String())
	}
}

func TestASecondSignalCutsOffThoseWhoAreWaitedFor(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "pooler.yaml"), filepath.Join(dir, ".s.PGSQL.5432")
	text := "clusters: {main: {dsn: 'postgres://app@127.0.0.1:1/app'}}\nlisteners: [{address: " + socket + "}]\nlogin_timeout: 10m\ndrain_timeout: 10m\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mine := make(chan os.Signal, 1) // it does not end the test
	signal.Notify(mine, syscall.SIGTERM)
	defer signal.Stop(mine)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var said output
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"pooler", "--config", file}, console{in: strings.NewReader(""), out: &said, err: &said})
	}()
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			defer conn.Close() // a client that does not log in
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens: %s", said.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	for !strings.Contains(said.String(), "listening") {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // it is let in
	stop()
	select {
	case code := <-ended:
		t.Fatalf("it did not wait, and ended with %d: %s", code, said.String())
	case <-time.After(300 * time.Millisecond):
	}
	for {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case code := <-ended:
			if code != 0 {
				t.Errorf("it ended with %d: %s", code, said.String())
			}
			return
		case <-time.After(100 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatalf("a second signal does not end it: %s", said.String())
			}
		}
	}
}
