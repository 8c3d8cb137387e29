package rdstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// guardScript waits until its standard input ends, which is when this process does, however it ends: only this process
// holds the other end. Then it ends everything that works in the directory, and removes it. Frozen processes do not
// outlive SIGKILL. A server that is being started at that moment shows up a little later, hence the second look.
const guardScript = `
trap '' HUP INT QUIT TERM
dir=$1
cat >/dev/null

sweep() {
	found=
	if [ -e /proc/self/cwd ]; then
		pids=$(ls -ld /proc/[0-9]*/cwd 2>/dev/null | sed -n "s|.*/proc/\([0-9]*\)/cwd -> $dir.*|\1|p")
	else
		pids=$(ps -axo pid=,ppid=,command= | awk -v dir="$dir/" '
			{ parent[$1] = $2 }
			index($0, dir) && !/awk/ { hit[$1] = 1 }
			END { for (p in parent) if (p in hit || parent[p] in hit) print p }')
	fi
	[ -n "$pids" ] && found=1 && kill -KILL $pids 2>/dev/null
}

quiet=0
rounds=0
while [ $quiet -lt 2 ] && [ $rounds -lt 200 ]; do
	sweep
	if [ -z "$found" ]; then quiet=$((quiet + 1)); else quiet=0; fi
	rounds=$((rounds + 1))
	sleep 0.05
done

# A killed server leaves its System V segment behind; its lock file names it.
for f in "$dir"/*/*/data/postmaster.pid; do
	[ -f "$f" ] || continue
	set -- $(sed -n 7p "$f")
	[ -n "$2" ] && ipcrm -m "$2" 2>/dev/null
done
for i in 1 2 3 4 5; do
	rm -rf "$dir" 2>/dev/null && break
	sleep 0.1
done
`

// guard sees to it that nothing outlives this process.
type guard struct {
	pipe    *os.File // held open, never written to
	process *os.Process
}

// startGuard starts the guard of a directory, which need not exist yet.
func startGuard(dir string) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("rdstest: start the guard of %s: %w", dir, err)
	}
	cmd := exec.Command("/bin/sh", "-c", guardScript, "rdstest-guard", dir)
	cmd.Dir = "/"
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = r.Close() // the guard has its own
	if err != nil {
		return nil, fmt.Errorf("rdstest: start the guard of %s: %w", dir, errors.Join(err, w.Close()))
	}
	return &guard{pipe: w, process: cmd.Process}, nil
}
