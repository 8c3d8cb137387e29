package rdstest_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-go/fairlead/rdstest"
)

// childMode in the environment makes the test program start a cluster, and end in a way that gives it no chance to
// clean up.
const childMode = "RDSTEST_CHILD"

func beChild() {
	c, err := rdstest.New(context.Background(), rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	if err := c.Freeze(context.Background(), c.Readers()[0]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(filepath.Dir(filepath.Dir(c.CAFile())))
	switch os.Getenv(childMode) {
	case "exit":
		os.Exit(0)
	case "panic":
		go func() { panic("on purpose") }()
	}
	select {}
}

func TestNothingSurvivesTheProcess(t *testing.T) {
	for _, how := range []string{"kill", "exit", "panic"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childMode+"="+how)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			dir, err := bufio.NewReader(out).ReadString('\n')
			must(t, err)
			dir = strings.TrimSpace(dir)
			if !strings.HasPrefix(filepath.Base(dir), "rdstest-") {
				t.Fatalf("the child says %q", dir)
			}
			var segments []string
			if how == "kill" {
				segments = segmentsOf(t, dir)
				if len(processesIn(dir)) < 10 {
					t.Errorf("only %d processes work in %s", len(processesIn(dir)), dir)
				}
				must(t, cmd.Process.Signal(syscall.SIGKILL))
			}
			_ = cmd.Wait() // it ends badly, as it should
			eventually(t, "all processes are gone", func() bool { return len(processesIn(dir)) == 0 })
			eventually(t, "all files are gone", func() bool {
				_, err := os.Stat(dir)
				return os.IsNotExist(err)
			})
			if list, err := os.ReadFile("/proc/sysvipc/shm"); err == nil {
				for line := range strings.Lines(string(list)) {
					if slices.Contains(segments, strings.Fields(line)[1]) {
						t.Errorf("shared memory is left: %s", line)
					}
				}
			}
		})
	}
}

// processesIn lists those that have to do with a directory, but for the guard, which ends last.
func processesIn(dir string) (found []string) {
	out, err := exec.Command("ps", "-axo", "pid=,command=").Output()
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(out)) {
		pid := strings.Fields(line)[0]
		cwd, _ := os.Readlink("/proc/" + pid + "/cwd")
		if strings.HasPrefix(cwd, dir) || strings.Contains(line, "-D "+dir) {
			found = append(found, line)
		}
	}
	return found
}

// segmentsOf lists the System V segments of the servers below a directory.
func segmentsOf(t *testing.T, dir string) (ids []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "data", "postmaster.pid"))
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		must(t, err)
		if lines := strings.Split(string(data), "\n"); len(lines) > 6 {
			if words := strings.Fields(lines[6]); len(words) == 2 {
				ids = append(ids, words[1])
			}
		}
	}
	if len(ids) != 2 {
		t.Errorf("%d servers have left word of their segments in %v", len(ids), files)
	}
	return ids
}
