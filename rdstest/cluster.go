package rdstest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/rdstest/internal/names"
	"github.com/fairlead-go/fairlead/rdstest/internal/testca"
)

// Cluster is a writer and its readers. It is safe for use by several goroutines; acts wait for each other.
type Cluster struct {
	cfg       Config
	dir       string
	hash      string
	secrets   secrets
	password  string // the application's
	ca        *testca.CA
	dns       *names.Server
	instances []*Instance

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	turn   chan struct{} // held by whoever changes the cluster
	wake   chan struct{} // capacity 1: the keeper has something to look at

	closes sync.Once

	mu         sync.Mutex // guards what follows, and the state of the instances
	writer     *Instance
	fenced     bool            // no reader gets anything from the writer any more
	reign      context.Context // ends when another instance becomes the writer
	depose     context.CancelFunc
	stuckAfter time.Duration
	pointed    []netip.Addr // where the reader endpoint leads, or will
}

var errClosed = errors.New("the cluster is closed")

// New starts a cluster and returns when its readers follow its writer. The context bounds the start only. Nothing of a
// cluster outlives this process, however it ends, but Close frees what it takes earlier.
func New(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg: cfg, hash: randomHex(6), password: randomHex(12), turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		stuckAfter: defaultStuckAfter,
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.reign, c.depose = context.WithCancel(c.ctx)
	begin := time.Now()
	if err := c.begin(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.cfg.Logger.Info("rdstest: cluster is ready", "cluster", cfg.Name, "instances", len(c.instances), "took", time.Since(begin))
	return c, nil
}

// Close ends all servers and removes their files. Whatever else of the cluster is going on fails. Calls after the first
// return nil.
func (c *Cluster) Close() error {
	var err error
	c.closes.Do(func() { err = c.close() })
	return err
}

func (c *Cluster) close() error {
	c.cancel(errClosed)
	c.turn <- struct{}{} // acts see the end of their context
	c.wg.Wait()
	errs := []error{each(c.instances, (*Instance).close)}
	if c.dns != nil {
		errs = append(errs, c.dns.Close())
	}
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("rdstest: close cluster %s: %w", c.cfg.Name, err)
	}
	return nil
}

// closeTimeout is far more than the end of a killed process takes.
const closeTimeout = 20 * time.Second

func (in *Instance) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	in.cluster.mu.Lock()
	p := in.process
	in.cluster.mu.Unlock()
	var errs []error
	if p != nil {
		errs = append(errs, in.server.kill(ctx, p))
	}
	in.server.admins.drop()
	if in.front != nil {
		errs = append(errs, in.front.Close())
	}
	if in.uplink != nil {
		errs = append(errs, in.uplink.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", in.id, err)
	}
	return nil
}

// act waits for the turn to change the cluster. The context that it returns ends with the caller's and with the cluster.
func (c *Cluster) act(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(errClosed) })
	release := func() { stop(); cancel(nil) }
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		release()
		return nil, nil, context.Cause(ctx)
	}
	if err := ctx.Err(); err != nil {
		<-c.turn
		release()
		return nil, nil, context.Cause(ctx)
	}
	return ctx, func() { <-c.turn; release() }, nil
}

// locked runs f under the lock.
func (c *Cluster) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// Writer is the instance that the cluster takes for its writer now; it need not be up.
func (c *Cluster) Writer() *Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writer
}

// Readers are all instances but the writer, in the order of their numbers.
func (c *Cluster) Readers() []*Instance {
	w := c.Writer()
	return slices.DeleteFunc(c.Instances(), func(in *Instance) bool { return in == w })
}

// Instances are all instances, in the order of their numbers.
func (c *Cluster) Instances() []*Instance { return slices.Clone(c.instances) }

// prefix stands before the names of functions that the flavor hides.
func (c *Cluster) prefix() string {
	if (templateKey{flavor: c.cfg.Flavor, walFunctions: c.cfg.WALFunctions}).raises() {
		return hidden
	}
	return ""
}

// CAFile is the certificate of the authority that all instances' certificates are from.
func (c *Cluster) CAFile() string { return filepath.Join(c.dir, "ca.pem") }
