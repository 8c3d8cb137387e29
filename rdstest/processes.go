package rdstest

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// pollInterval is how soon is looked again at what the kernel does by itself.
const pollInterval = time.Millisecond

// A process and those that it has forked. The parent is stopped before its children are listed: it cannot fork then, nor
// reap, so the list stays true.

// freezeTree stops a process and all its children.
func freezeTree(ctx context.Context, pid int) error {
	if err := stopAndWait(ctx, pid); err != nil {
		return err
	}
	children, err := childrenOf(pid)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := stopAndWait(ctx, child); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// thawTree lets a process and its children go on.
func thawTree(pid int) error {
	children, err := childrenOf(pid)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := syscall.Kill(child, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("continue process %d: %w", child, err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("continue process %d: %w", pid, err)
	}
	return nil
}

// killTree kills a process and its children, and returns when the children are dead. Of the parent itself, whoever started
// it hears.
func killTree(ctx context.Context, pid int) error {
	if err := stopAndWait(ctx, pid); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return err
	}
	children, err := childrenOf(pid)
	if err != nil {
		return err
	}
	for _, child := range append(children, pid) {
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d: %w", child, err)
		}
	}
	for _, child := range children {
		if err := waitState(ctx, child, func(s byte) bool { return s == 0 || s == 'Z' || s == 'X' }); err != nil {
			return fmt.Errorf("wait for the end of process %d: %w", child, err)
		}
	}
	return nil
}

// stopAndWait sends SIGSTOP and returns when the process does stand still.
func stopAndWait(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	err := waitState(ctx, pid, func(s byte) bool { return s == 'T' || s == 't' || s == 'Z' || s == 'X' || s == 0 })
	if err != nil {
		return fmt.Errorf("wait until process %d stands still: %w", pid, err)
	}
	return nil
}

// waitState waits until the state of a process is as wanted; 0 is the state of one that is gone.
func waitState(ctx context.Context, pid int, wanted func(byte) bool) error {
	for {
		s, err := processState(pid)
		if err != nil {
			return err
		}
		if wanted(s) {
			return nil
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return err
		}
	}
}

// sleep returns early, with the cause, when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
