package rdstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// stillTimeout is how long a failover waits for a reader to say how far it has got, and to notice that the writer is gone.
const stillTimeout = 10 * time.Second

// Failover is what RDS does when the writer is lost: the reader that has got furthest is promoted, the others follow it, the
// cluster endpoint moves, and the old writer comes back as a reader. A writer that still runs is taken away first; one
// that is frozen or partitioned stays as it is until it is thawed or healed. Failover returns as soon as the new writer has
// acknowledged a write; the rest goes on in the background, see [Cluster.WaitSettled].
//
// Without a reader that could be promoted, the writer is restarted.
func (c *Cluster) Failover(ctx context.Context) (*Instance, error) {
	next, err := c.failover(ctx)
	if err == nil {
		err = c.accepts(ctx, next)
	}
	if err != nil {
		return nil, fmt.Errorf("rdstest: failover: %w", err)
	}
	c.cfg.Logger.Info("rdstest: failover", "writer", next.id)
	return next, nil
}

func (c *Cluster) failover(ctx context.Context) (*Instance, error) {
	ctx, release, err := c.act(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	old := c.Writer()
	if p := c.reachableProcess(old); p != nil {
		if err := old.server.stop(ctx, p, Immediate); err != nil {
			return nil, fmt.Errorf("stop %s: %w", old.id, err)
		}
	}
	return c.replace(ctx, old)
}

// Switchover is the planned form of [Cluster.Failover]: the writer is shut down in good order, so that its readers have
// everything, and one of them takes over. It returns as Failover does.
func (c *Cluster) Switchover(ctx context.Context) (*Instance, error) {
	next, err := c.switchover(ctx)
	if err == nil {
		err = c.accepts(ctx, next)
	}
	if err != nil {
		return nil, fmt.Errorf("rdstest: switchover: %w", err)
	}
	c.cfg.Logger.Info("rdstest: switchover", "writer", next.id)
	return next, nil
}

func (c *Cluster) switchover(ctx context.Context) (*Instance, error) {
	ctx, release, err := c.act(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	old := c.Writer()
	p := c.reachableProcess(old)
	if p == nil {
		return nil, fmt.Errorf("the writer %s is %s: nothing can be planned with it", old.id, old.State())
	}
	if len(c.candidates()) == 0 {
		return nil, errors.New("no reader is in a state to take over")
	}
	if err := c.shutDown(ctx, old, p, Fast); err != nil {
		return nil, err
	}
	return c.replace(ctx, old)
}

// reachableProcess is the running server of an instance that is neither frozen nor partitioned, or nil.
func (c *Cluster) reachableProcess(in *Instance) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !in.reachable() {
		return nil
	}
	return in.process
}

// candidates are the readers that may be promoted: any commit that was acknowledged is on one of them.
func (c *Cluster) candidates() []*Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*Instance
	for _, in := range c.instances {
		if in.role == Reader && in.stage == placed && in.reachable() {
			all = append(all, in)
		}
	}
	return all
}

// replace makes another instance the writer. The old one is down, or does not answer.
func (c *Cluster) replace(ctx context.Context, old *Instance) (*Instance, error) {
	c.fence()
	next, err := c.furthest(ctx)
	if err != nil {
		c.unfence()
		return nil, err
	}
	if next == nil {
		return old, c.revive(ctx, old)
	}
	c.crown(next)
	if err := c.reconfigure(); err != nil {
		return nil, err
	}
	c.writeStatus()
	if _, err := next.server.one(ctx, "select pg_promote(false)"); err != nil {
		return nil, fmt.Errorf("promote %s: %w", next.id, err)
	}
	c.unfence()
	for {
		recovering, err := next.server.one(ctx, "select pg_is_in_recovery()")
		if err != nil {
			return nil, fmt.Errorf("wait for the promotion of %s: %w", next.id, err)
		}
		if recovering == "f" {
			break
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return nil, fmt.Errorf("wait for the promotion of %s: %w", next.id, err)
		}
	}
	c.hurry()
	c.pointWriter(c.cfg.StaleDNS)
	c.welcomeBack(old)
	c.nudge()
	return next, nil
}

// fence lets no reader get anything more from the writer. Otherwise one that is about to be left behind could still
// acknowledge a commit, or run ahead of the one that is chosen.
func (c *Cluster) fence() {
	c.locked(func() { c.fenced = true })
	for _, in := range c.instances {
		in.uplink.Reset()
	}
}

// unfence lets the readers get what they need from the writer that there is now.
func (c *Cluster) unfence() {
	c.locked(func() { c.fenced = false })
	for _, in := range c.instances {
		c.setFronts(in)
	}
}

// hurry wakes the readers that wait before they try again to reach the writer.
func (c *Cluster) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, in := range c.instances {
		if in.role == Reader && in.stage != deposed && in.process != nil {
			_ = in.server.reload(in.process) // without it they try a little later
		}
	}
}

// furthest is the candidate that has got furthest, or nil if there is none.
func (c *Cluster) furthest(ctx context.Context) (*Instance, error) {
	candidates := c.candidates()
	positions := make(map[*Instance]position)
	var mu sync.Mutex
	err := each(candidates, func(in *Instance) error {
		pos, err := c.finalPosition(ctx, in)
		if err != nil {
			return fmt.Errorf("ask %s how far it has got: %w", in.id, err)
		}
		mu.Lock()
		defer mu.Unlock()
		positions[in] = pos
		return nil
	})
	if ctx.Err() != nil || err != nil && len(positions) == 0 {
		return nil, err
	}
	var best *Instance
	for _, in := range candidates {
		if pos, ok := positions[in]; ok && (best == nil || positions[best].less(pos)) {
			best = in
		}
	}
	return best, nil
}

// finalPosition is how far an instance has got once it has taken in what was still on the way to it.
func (c *Cluster) finalPosition(ctx context.Context, in *Instance) (position, error) {
	ctx, cancel := context.WithTimeout(ctx, stillTimeout)
	defer cancel()
	for {
		pos, err := in.server.position(ctx, c.prefix())
		if err == nil && !pos.streaming {
			return pos, nil
		}
		if c.reachableProcess(in) == nil {
			return pos, errors.New("it has ended")
		}
		if sleepErr := sleep(ctx, pollInterval); sleepErr != nil {
			// That it is slow is no reason to leave behind what it alone may have.
			return pos, err
		}
	}
}

// crown makes an instance the writer, as far as the cluster is concerned.
func (c *Cluster) crown(next *Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writer.role, c.writer.stage = Reader, deposed
	next.role, next.stage = Writer, placed
	c.writer = next
	c.depose()
	c.reign, c.depose = context.WithCancel(c.ctx)
	for _, in := range c.instances {
		in.since, in.furthest, in.confirmed = time.Now(), 0, false
	}
}

// revive restarts a writer that nobody can take over from.
func (c *Cluster) revive(ctx context.Context, w *Instance) error {
	var p *process
	c.locked(func() { p, w.cut = w.process, 0 })
	if p != nil {
		if err := w.server.kill(ctx, p); err != nil {
			return fmt.Errorf("kill %s: %w", w.id, err)
		}
	}
	c.unfence()
	if err := c.launch(w); err != nil {
		return err
	}
	if err := c.open(ctx, w); err != nil {
		return err
	}
	c.writeStatus()
	c.nudge()
	return nil
}

// accepts returns when a write on the instance is acknowledged. That includes the wait for a reader.
func (c *Cluster) accepts(ctx context.Context, in *Instance) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errClosed) })()
	if _, err := in.server.one(ctx, "select pg_logical_emit_message(true, 'rdstest', '')"); err != nil {
		return fmt.Errorf("write on %s: %w", in.id, err)
	}
	return nil
}
