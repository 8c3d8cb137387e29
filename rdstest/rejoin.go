package rdstest

import (
	"context"
	"fmt"
	"time"
)

// welcomeBack lets an old writer become a reader, after a while, if nothing keeps it from that.
func (c *Cluster) welcomeBack(in *Instance) {
	c.mu.Lock()
	back := in.stage == deposed && !in.frozen && in.cut == 0
	c.mu.Unlock()
	if back {
		c.startRebuild(in, c.cfg.RejoinDelay)
	}
}

// startRebuild makes an instance a reader by a copy of the writer's data, in the background, unless that is under way.
func (c *Cluster) startRebuild(in *Instance, delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.rebuild || c.ctx.Err() != nil {
		return
	}
	in.rebuild = true
	c.wg.Go(func() { c.rebuild(in, delay) })
}

// rebuildPause is between two attempts.
const rebuildPause = 100 * time.Millisecond

func (c *Cluster) rebuild(in *Instance, delay time.Duration) {
	defer c.nudge()
	for wait := delay; ; wait = rebuildPause {
		if sleep(c.ctx, wait) != nil {
			return // the cluster is closed
		}
		done, err := c.rebuildOnce(in)
		if err != nil && c.ctx.Err() == nil {
			c.cfg.Logger.Debug("rdstest: instance is not a reader yet", "instance", in.id, "error", err)
		}
		if done {
			return
		}
	}
}

// rebuildOnce reports whether it is over: done, or put off until the instance is thawed or healed.
func (c *Cluster) rebuildOnce(in *Instance) (done bool, err error) {
	reign, ok, err := c.takeDown(in)
	if err != nil || !ok {
		return !ok && err == nil, err
	}
	if err := in.server.copyPrimary(reign); err != nil {
		return false, err
	}
	if err := in.server.standby(); err != nil {
		return false, err
	}
	return c.bringUp(reign, in)
}

// takeDown stops the server of an instance that is to be copied anew. It returns the reign of the writer to copy from, or
// false if the instance cannot be had now.
func (c *Cluster) takeDown(in *Instance) (context.Context, bool, error) {
	ctx, release, err := c.act(c.ctx)
	if err != nil {
		return nil, false, err
	}
	defer release()
	c.mu.Lock()
	p, reign := in.process, c.reign
	keeps := in.frozen || in.cut != 0 || in.role == Writer
	if keeps {
		in.rebuild = false // whoever thaws or heals it has the turn next, and has to begin anew
	} else {
		in.stage = copying
	}
	c.mu.Unlock()
	if keeps {
		return nil, false, nil
	}
	if p != nil {
		if err := in.server.kill(ctx, p); err != nil {
			return nil, false, fmt.Errorf("kill %s: %w", in.id, err)
		}
	}
	return reign, true, nil
}

// bringUp starts a server whose data are a copy, unless the writer is another one by now.
func (c *Cluster) bringUp(reign context.Context, in *Instance) (done bool, err error) {
	ctx, release, err := c.act(reign)
	if err != nil {
		return false, err
	}
	defer release()
	c.locked(func() { in.stage, in.since = following, time.Now() })
	if err := c.launch(in); err != nil {
		return false, err
	}
	c.writeStatus()
	if err := c.open(ctx, in); err != nil {
		return false, err
	}
	c.locked(func() { in.rebuild = false })
	return true, nil
}
