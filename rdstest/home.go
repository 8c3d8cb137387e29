package rdstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// home is what all clusters of this process share: the directory, its guard, and the templates that clusters are copied
// from.
type home struct {
	turn      chan struct{} // held by whoever uses the fields
	dir       string
	guard     *guard
	account   account
	binaries  map[string]binaries // by Config.BinDir
	templates map[templateKey]string
	clusters  int
	secrets   secrets
}

// secrets are the passwords of the roles by which clusters are run.
type secrets struct{ admin, replication string }

var sharedHome = &home{turn: make(chan struct{}, 1)}

// enter waits for the turn, and sees to it that there is a directory with a guard.
func (h *home) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("rdstest: prepare the directory: %w", context.Cause(ctx))
	}
	leave = func() { <-h.turn }
	if _, err := os.Stat(h.dir); h.guard != nil && err == nil {
		return leave, nil
	}
	if err := h.settle(); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// settle makes the directory. The guard comes first, so that there is no moment at which it could be left behind.
func (h *home) settle() error {
	account, err := findAccount()
	if err != nil {
		return err
	}
	dir := filepath.Join(shortTempDir(), "rdstest-"+randomHex(5))
	guard, err := startGuard(dir)
	if err != nil {
		return err
	}
	// Others may pass through, to the certificates that programs of any user need; what is inside says for itself who
	// may read it.
	if err := account.mkdir(dir, 0o711); err != nil {
		return fmt.Errorf("rdstest: make a directory: %w", err)
	}
	h.dir, h.guard, h.account = dir, guard, account
	h.binaries, h.templates = make(map[string]binaries), make(map[templateKey]string)
	h.secrets = secrets{admin: randomHex(16), replication: randomHex(16)}
	return nil
}

// find is findBinaries, once.
func (h *home) find(ctx context.Context, binDir string) (binaries, error) {
	if b, ok := h.binaries[binDir]; ok {
		return b, nil
	}
	b, err := findBinaries(ctx, binDir)
	if err == nil {
		h.binaries[binDir] = b
	}
	return b, err
}

// newClusterDir makes an empty directory for a cluster.
func (h *home) newClusterDir() (string, error) {
	h.clusters++
	dir := filepath.Join(h.dir, strconv.Itoa(h.clusters))
	if err := h.account.mkdir(dir, 0o711); err != nil {
		return "", fmt.Errorf("rdstest: make a directory: %w", err)
	}
	return dir, nil
}

// shortTempDir is /tmp where there is one: the path of a Unix socket has room for about a hundred bytes, and some
// systems' own temporary directories take most of them.
func shortTempDir() string {
	if fi, err := os.Stat("/tmp"); err == nil && fi.IsDir() {
		return "/tmp"
	}
	return os.TempDir()
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
