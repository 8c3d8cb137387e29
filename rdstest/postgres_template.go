package rdstest

import (
	"context"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The roles that every server has. The names of the first two are those that RDS uses for its own.
const (
	adminRole       = "rdsadmin"
	replicationRole = "rdsrepladmin"
	appRole         = "app"
	appDatabase     = "app"
)

// templateKey is what makes a template different from others.
type templateKey struct {
	binDir       string
	flavor       Flavor
	walFunctions bool
}

func (k templateKey) raises() bool { return k.flavor == Aurora && !k.walFunctions }

// template returns a data directory to be copied, and makes it first if there is none yet. The caller has the turn.
func (h *home) template(ctx context.Context, bin binaries, key templateKey) (string, error) {
	if dir := h.templates[key]; dir != "" {
		return dir, nil
	}
	plain := templateKey{binDir: key.binDir}
	if h.templates[plain] == "" {
		dir := filepath.Join(h.dir, "initdb-"+randomHex(3))
		if err := h.initdb(ctx, bin, dir); err != nil {
			return "", fmt.Errorf("rdstest: make a data directory: %w", err)
		}
		h.templates[plain] = dir
	}
	dir := filepath.Join(h.dir, "template-"+randomHex(3))
	if err := h.account.run(ctx, h.dir, nil, "cp", "-Rp", h.templates[plain], dir); err != nil {
		return "", fmt.Errorf("rdstest: make a template: %w", err)
	}
	if err := h.furnish(ctx, bin, dir, key); err != nil {
		return "", fmt.Errorf("rdstest: furnish a template: %w", err)
	}
	h.templates[key] = dir
	return dir, nil
}

// initdb makes a bare data directory. Small WAL segments are soon copied. Who may log in is said elsewhere: servers are given
// rules of their own.
func (h *home) initdb(ctx context.Context, bin binaries, dir string) error {
	args := []string{
		"--pgdata=" + dir, "--username=" + adminRole, "--encoding=UTF8", "--locale=C", "--auth=reject",
		"--wal-segsize=1", "--no-sync",
	}
	if bin.major >= 14 {
		args = append(args, "--no-instructions")
	}
	return h.account.run(ctx, h.dir, nil, bin.path("initdb"), args...)
}

// furnish makes the roles, the functions and the databases. A server in single-user mode is the fastest way; what
// it makes has OIDs of the system's range, like everything that is there from the start.
func (h *home) furnish(ctx context.Context, bin binaries, dir string, key templateKey) error {
	statements := []string{
		"alter role " + adminRole + " password '" + h.secrets.admin + "'",
		"create role " + replicationRole + " replication login password '" + h.secrets.replication + "'",
		"create role " + appRole + " login",
		"create role " + iamRole,
	}
	if key.flavor == Aurora {
		statements = append(statements, auroraFunctions...)
	}
	if key.raises() {
		statements = append(statements, auroraRefusals)
	}
	// All databases are copies of the one in which this runs.
	statements = append(statements, "drop database postgres", "create database postgres",
		"create database "+appDatabase+" owner "+appRole)
	return h.account.singleUser(ctx, bin, dir, statements)
}

// singleUser runs statements on a data directory that no server works on.
func (a account) singleUser(ctx context.Context, bin binaries, dir string, statements []string) error {
	script := strings.Join(statements, ";\n\n") + ";\n\n"
	return a.run(ctx, dir, []byte(script), bin.path("postgres"), "--single", "-D", dir, "-F", "-O", "-j",
		"-c", "exit_on_error=on", "-c", "log_checkpoints=off", "-c", "wal_level=replica", "template1")
}

// individualise gives a data directory an identity of its own. Without it, all clusters would be the same one to whoever
// compares their system identifiers.
func (a account) individualise(ctx context.Context, bin binaries, dir, password string) error {
	fail := func(err error) error { return fmt.Errorf("rdstest: give the cluster an identity: %w", err) }
	if err := writeSystemIdentifier(filepath.Join(dir, "global", "pg_control")); err != nil {
		return fail(err)
	}
	// It puts the checksum right, and begins a new WAL that bears the new identifier.
	if err := a.run(ctx, dir, nil, bin.path("pg_resetwal"), "--force", "--pgdata="+dir); err != nil {
		return fail(err)
	}
	// No standby takes a WAL that begins as pg_resetwal has it begin; here a run of the server comes in between.
	if err := a.singleUser(ctx, bin, dir, []string{"alter role " + appRole + " password '" + password + "'"}); err != nil {
		return fail(err)
	}
	return nil
}

// writeSystemIdentifier changes the identifier, with which the control file begins. As in those that initdb makes,
// the upper half is the time.
func writeSystemIdentifier(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	id := binary.NativeEndian.AppendUint64(nil, uint64(time.Now().Unix())<<32|uint64(mathrand.Uint32()))
	if _, err := f.WriteAt(id, 0); err != nil {
		_ = f.Close() // the first error is the one to tell
		return err
	}
	return f.Close()
}
