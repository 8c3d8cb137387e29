package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/printed"
)

// output is what a command has printed so far.
type output struct{ printed.Buffer }

// wait waits for a text in the output behind what was there.
func (o *output) wait(t *testing.T, from int, text string) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if i := strings.Index(o.String()[from:], text); i >= 0 {
			return from + i + len(text)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in:\n%s", text, o.String()[from:])
		}
	}
}

// startLocal runs the command with an input of the test's; the channel gets its exit code.
func startLocal(t *testing.T, ctx context.Context, args ...string) (in *os.File, out *output, code <-chan int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	out = new(output)
	codes := make(chan int, 1)
	go func() { codes <- run(ctx, append([]string{"local"}, args...), console{in: r, out: out, err: out}) }()
	return w, out, codes
}

func exitCode(t *testing.T, codes <-chan int) int {
	t.Helper()
	select {
	case code := <-codes:
		return code
	case <-time.After(time.Minute):
		t.Fatal("the command does not end")
		return 0
	}
}

func TestLocalDoesWhatItIsTold(t *testing.T) {
	in, out, code := startLocal(t, t.Context(), "--name", "shop")
	at := out.wait(t, 0, "quit or ctrl+c ends it")
	for _, want := range []string{"shop-1   writer", "shop-3   reader", "target_session_attrs=read-write", "reader endpoint", "name server 127.0.0.1:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	for _, step := range []struct{ command, want string }{
		{"fly", `no command "fly"`},
		{"kill shop-9", `no instance "shop-9"`},
		{"failover 2", "failover takes no instance"},
		{"thaw", "no instance is frozen"},
		{"restart 3", "shop-3: reader, running"},
		{"kill", "shop-1: writer, down"},
		{"failover", "takes writes, "},
		{"", "shop-1: reader, running"}, // it comes back by itself
		{"freeze shop-1", "shop-1: reader, frozen"},
		{"thaw", "shop-1: reader, running"},
		{"partition", "writer, partitioned"},
		{"heal", "writer, running"},
		{"switchover", "takes writes, "},
		{"help", "end a partition"},
		{"status", "shop-3   reader"},
		{"dsn", "cluster endpoint"},
	} {
		if _, err := io.WriteString(in, step.command+"\n"); err != nil {
			t.Fatal(err)
		}
		at = out.wait(t, at, step.want)
	}
	if _, err := io.WriteString(in, "quit\n"); err != nil {
		t.Fatal(err)
	}
	if got := exitCode(t, code); got != 0 {
		t.Errorf("exit code %d:\n%s", got, out)
	}
	out.wait(t, at, "the cluster is gone")
}

func TestLocalEndsWithItsInputAndWithAnInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	for name, end := range map[string]func(*os.File){
		"input":     func(in *os.File) { in.Close() },
		"interrupt": func(*os.File) { interrupt() },
	} {
		t.Run(name, func(t *testing.T) {
			c := t.Context()
			if name == "interrupt" {
				c = ctx
			}
			in, out, code := startLocal(t, c, "--readers", "0", "--flavor", "replication")
			at := out.wait(t, 0, "quit or ctrl+c ends it")
			end(in)
			if got := exitCode(t, code); got != 0 {
				t.Errorf("exit code %d:\n%s", got, out)
			}
			out.wait(t, at, "the cluster is gone")
		})
	}
}

func TestLocalRefusesWhatItCannotDo(t *testing.T) {
	for want, args := range map[string][]string{
		"--readers=-1":             {"--readers=-1"},
		"Readers is 20":            {"--readers=20"},
		"--flavor must be one of":  {"--flavor=mysql"},
		"look for PostgreSQL in B": {"--bin-dir=/nowhere"},
	} {
		_, out, code := startLocal(t, t.Context(), args...)
		if got := exitCode(t, code); got == 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%v: exit code %d, no %q in:\n%s", args, got, want, out)
		}
	}
}
