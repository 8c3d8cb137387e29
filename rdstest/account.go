package rdstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is whom servers run as. PostgreSQL refuses to run as root, so root has it run as somebody else.
type account struct {
	uid, gid int
	other    bool // it is not the user that this process runs as
}

// otherAccounts are tried in this order when this process is root's.
var otherAccounts = []string{"postgres", "nobody"}

func findAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	var errs []error
	for _, name := range otherAccounts {
		u, err := user.Lookup(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a := account{other: true}
		var uidErr, gidErr error
		a.uid, uidErr = strconv.Atoi(u.Uid)
		a.gid, gidErr = strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			errs = append(errs, err)
			continue
		}
		return a, nil
	}
	return account{}, fmt.Errorf("rdstest: find a user other than root to run PostgreSQL: %w", errors.Join(errs...))
}

// command prepares a program that works in dir. It is in a session of its own, so that an interrupt from the terminal does
// not reach it: it is stopped by its owner alone. The guard knows what to end by the working directory.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = cleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	// Some programs fork.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a program to its end. What it wrote is in the error if it failed.
func (a account) run(ctx context.Context, dir string, input []byte, program string, args ...string) error {
	return runCommand(ctx, a.command(ctx, dir, program, args...), input)
}

func runCommand(ctx context.Context, cmd *exec.Cmd, input []byte) error {
	var out bytes.Buffer
	if input != nil {
		cmd.Stdin = bytes.NewReader(input)
	}
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, text)
	}
	return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}

// cleanEnv leaves out what PostgreSQL's programs would take for settings of theirs.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG") {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C")
}

// mkdir makes a directory that belongs to the account.
func (a account) mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return a.chown(path)
}

func (a account) chown(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// writeFile puts a file of the account in its place in one step, so that nobody ever reads half of it.
func (a account) writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	if err := a.chown(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
