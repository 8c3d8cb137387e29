package fakelambda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// process is one of a sandbox's.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done
}

// start starts a command in a process group, 0 for a new one that it leads.
func (s *Sandbox) start(command []string, group int) (*process, error) {
	if len(command) == 0 {
		return nil, errors.New("fakelambda: there is no command for the function")
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.cfg.Dir, s.env(), &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: group}
	cmd.WaitDelay = time.Second // for what it has started itself and what holds its output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("fakelambda: start %s: %w", command[0], err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// terminate asks the process to end.
func (p *process) terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// kill ends the process and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // one that has ended is what is wanted
	<-p.done
}

// stopGroup stops the processes of a group, and returns when they stand still.
func stopGroup(ctx context.Context, group int) error {
	if err := syscall.Kill(-group, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("fakelambda: stop process group %d: %w", group, err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		still, err := standsStill(group)
		if err != nil {
			return fmt.Errorf("fakelambda: look at process group %d: %w", group, err)
		}
		if still {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("fakelambda: process group %d does not stand still: %w", group, context.Cause(ctx))
		}
	}
}

// standsStill reports whether no process of a group runs.
func standsStill(group int) (bool, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return false, err
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return false, err
		}
		// The name, in parentheses, may hold anything: state, parent and group are behind it.
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		if len(fields) < 3 || string(fields[2]) != strconv.Itoa(group) {
			continue
		}
		if state := fields[0][0]; state != 'T' && state != 't' && state != 'Z' && state != 'X' {
			return false, nil
		}
	}
	return true, nil
}
