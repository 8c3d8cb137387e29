package rdstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// Crash kills all processes of an instance's server, as a loss of power does: its clients' connections are closed, and new
// ones are refused. It returns when the processes are gone. The instance stays down until [Cluster.Restart]; if it was the
// writer, it comes back by itself after a [Cluster.Failover].
func (c *Cluster) Crash(ctx context.Context, in *Instance) error {
	return c.change(ctx, "crash", in, func(ctx context.Context, p *process) error {
		return in.server.kill(ctx, p)
	})
}

// Shutdown stops an instance's server. In a partition or frozen it cannot be stopped so. The instance stays down as after
// [Cluster.Crash].
func (c *Cluster) Shutdown(ctx context.Context, in *Instance, mode ShutdownMode) error {
	return c.change(ctx, "shut down", in, func(ctx context.Context, p *process) error {
		if err := c.insist(func() bool { return !in.frozen }, "it is frozen"); err != nil {
			return err
		}
		if mode != Fast && mode != Immediate {
			return fmt.Errorf("mode %q: must be %q or %q", mode, Fast, Immediate)
		}
		return c.shutDown(ctx, in, p, mode)
	})
}

func (c *Cluster) shutDown(ctx context.Context, in *Instance, p *process, mode ShutdownMode) error {
	c.mu.Lock()
	var lost []*Instance
	for _, r := range c.instances {
		if r != in && r.role == Reader && (r.frozen || r.cut != 0) {
			lost = append(lost, r)
		}
	}
	c.mu.Unlock()
	for _, r := range lost {
		// The server would wait for a reader that cannot take what it is sent.
		r.uplink.Reset()
	}
	return in.server.stop(ctx, p, mode)
}

// Freeze stops all processes of an instance's server (SIGSTOP): connections stay open, new ones are accepted, and nothing
// comes. It returns when every process stands still.
func (c *Cluster) Freeze(ctx context.Context, in *Instance) error {
	return c.change(ctx, "freeze", in, func(ctx context.Context, p *process) error {
		if err := c.insist(func() bool { return !in.frozen }, "it is frozen already"); err != nil {
			return err
		}
		if err := freezeTree(ctx, p.pid); err != nil {
			return errors.Join(err, thawTree(p.pid))
		}
		c.locked(func() { in.frozen = in.process == p; in.displace() })
		return nil
	})
}

// Thaw lets the processes of a frozen instance go on. If another instance has become the writer meanwhile, this one
// believes that it is the writer still, until [Config.RejoinDelay] is over.
func (c *Cluster) Thaw(ctx context.Context, in *Instance) error {
	return c.change(ctx, "thaw", in, func(_ context.Context, p *process) error {
		if err := c.insist(func() bool { return in.frozen }, "it is not frozen"); err != nil {
			return err
		}
		if err := thawTree(p.pid); err != nil {
			return err
		}
		c.locked(func() { in.frozen, in.since = false, time.Now() })
		return nil
	})
}

// Partition cuts an instance off from its clients and from the other instances: what is in flight vanishes, and new
// connections are accepted and never answered. The server itself goes on, and [Cluster.AdminConn] reaches it.
func (c *Cluster) Partition(ctx context.Context, in *Instance) error {
	return c.PartitionAs(ctx, in, front.Swallow)
}

// PartitionAs is [Cluster.Partition] with another kind of silence. Between the instances, [front.Unplug] is like
// [front.Hold], and [front.Backlog] like [front.Swallow].
func (c *Cluster) PartitionAs(ctx context.Context, in *Instance, silence front.Silence) error {
	return c.change(ctx, "partition", in, func(context.Context, *process) error {
		if silence < front.Swallow || silence > front.Unplug {
			return fmt.Errorf("%d is no kind of silence", silence)
		}
		if err := c.insist(func() bool { return in.cut == 0 }, "it is partitioned already"); err != nil {
			return err
		}
		c.locked(func() { in.cut = silence; in.displace() })
		return nil
	})
}

// Heal ends a partition. If another instance has become the writer meanwhile, this one behaves as after [Cluster.Thaw].
func (c *Cluster) Heal(ctx context.Context, in *Instance) error {
	ctx, release, err := c.act(ctx)
	if err != nil {
		return fmt.Errorf("rdstest: heal %s: %w", in.id, err)
	}
	defer release()
	if err := c.insist(func() bool { return in.cut != 0 }, "it is not partitioned"); err != nil {
		return fmt.Errorf("rdstest: heal %s: %w", in.id, err)
	}
	c.locked(func() { in.cut, in.since = 0, time.Now() })
	return c.changed(ctx, "heal", in)
}

// Restart stops an instance's server if it runs, and starts it again, with crash recovery if it did not end in good order.
// It returns when the instance lets clients in. An old writer is not restarted: it comes back as a reader.
func (c *Cluster) Restart(ctx context.Context, in *Instance) error {
	if err := c.restart(ctx, in); err != nil {
		return fmt.Errorf("rdstest: restart %s: %w", in.id, err)
	}
	return nil
}

func (c *Cluster) restart(ctx context.Context, in *Instance) error {
	ctx, release, err := c.act(ctx)
	if err != nil {
		return err
	}
	defer release()
	c.mu.Lock()
	p, frozen, stage := in.process, in.frozen, in.stage
	c.mu.Unlock()
	switch {
	case stage == deposed || stage == copying:
		return errors.New("it was left behind by a failover, and comes back as a reader by itself")
	case frozen:
		return errors.New("it is frozen")
	case p != nil:
		if err := c.shutDown(ctx, in, p, Fast); err != nil {
			return err
		}
		if err := c.reconfigure(); err != nil {
			return err
		}
	}
	if err := c.launch(in); err != nil {
		return err
	}
	c.writeStatus()
	if err := c.open(ctx, in); err != nil {
		return err
	}
	c.cfg.Logger.Info("rdstest: restarted", "instance", in.id)
	return c.changed(ctx, "restart", in)
}

// ErrNoBackend is CrashBackend's error for a server process that the instance does not have, or not any more.
var ErrNoBackend = errors.New("it has no such process")

// CrashBackend kills one server process (SIGKILL) of an instance, by the number that pg_backend_pid() has. PostgreSQL ends
// all other sessions then, and recovers as from a crash, all within the same server. The error is ErrNoBackend if there is none.
func (c *Cluster) CrashBackend(ctx context.Context, in *Instance, pid int) error {
	return c.change(ctx, "crash a backend of", in, func(ctx context.Context, p *process) error {
		children, err := childrenOf(p.pid)
		if err != nil {
			return err
		}
		if !slices.Contains(children, pid) {
			return fmt.Errorf("%w: %d", ErrNoBackend, pid)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
		return waitState(ctx, pid, func(s byte) bool { return s == 0 || s == 'Z' || s == 'X' })
	})
}

// change does something to an instance whose server runs, and lets everything else follow from it.
func (c *Cluster) change(ctx context.Context, what string, in *Instance, do func(context.Context, *process) error) error {
	fail := func(err error) error { return fmt.Errorf("rdstest: %s %s: %w", what, in.id, err) }
	ctx, release, err := c.act(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	c.mu.Lock()
	p, state := in.process, in.state()
	copying := in.stage == copying
	c.mu.Unlock()
	if p == nil || copying {
		return fail(fmt.Errorf("it is %s", state))
	}
	if err := do(ctx, p); err != nil {
		return fail(err)
	}
	c.cfg.Logger.Info("rdstest: "+what, "instance", in.id)
	return c.changed(ctx, what, in)
}

// changed lets everything follow from a change of an instance. The caller has the turn.
func (c *Cluster) changed(ctx context.Context, what string, in *Instance) error {
	for _, i := range c.instances {
		c.setFronts(i)
	}
	if err := c.shrink(ctx); err != nil {
		return fmt.Errorf("rdstest: %s %s: %w", what, in.id, err)
	}
	c.welcomeBack(in)
	c.nudge()
	return nil
}

// shrink lets commits wait for those readers only that can still confirm them. When it returns, those have all that the
// others had confirmed.
func (c *Cluster) shrink(ctx context.Context) error {
	c.mu.Lock()
	w := c.writer
	before := slices.Clone(w.synced)
	usable := w.reachable()
	c.mu.Unlock()
	if err := c.reconfigure(); err != nil {
		return err
	}
	left := c.candidates()
	if !usable || len(left) == 0 || len(left) >= len(before) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := c.awaitFlushed(ctx, w, left); err != nil {
		// The writer or a reader has its own troubles by now; they are not this act's.
		c.cfg.Logger.Debug("rdstest: readers are behind", "error", err)
	}
	return nil
}

// insist is for conditions on an instance, which are looked at under the lock.
func (c *Cluster) insist(ok func() bool, otherwise string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok() {
		return nil
	}
	return errors.New(otherwise)
}
