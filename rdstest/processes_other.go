//go:build !linux

package rdstest

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
)

// childrenOf lists the live children of a process.
func childrenOf(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,state=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var children []int
	for line := range bytes.Lines(out) {
		f := bytes.Fields(line)
		if len(f) != 3 || string(f[1]) != strconv.Itoa(pid) || f[2][0] == 'Z' {
			continue
		}
		child, err := strconv.Atoi(string(f[0]))
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		children = append(children, child)
	}
	return children, nil
}

// processState is the letter that ps shows, or 0 if there is no such process.
func processState(pid int) (byte, error) {
	out, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	if _, gone := errors.AsType[*exec.ExitError](err); gone {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at process %d: %w", pid, err)
	}
	if out = bytes.TrimSpace(out); len(out) == 0 {
		return 0, nil
	}
	return out[0], nil
}
