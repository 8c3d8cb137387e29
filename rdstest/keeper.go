package rdstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How the keeper looks after the cluster.
const (
	keepQuiet         = time.Second           // between two looks when all is well
	keepBusy          = 20 * time.Millisecond // and while somebody is on the way to his place
	askTimeout        = 2 * time.Second       // how long a server may take to answer
	admitTimeout      = 5 * time.Second       // how long it may take until commits wait for the first reader
	defaultStuckAfter = 10 * time.Second      // a reader that does not follow for so long never will
)

// nudge lets the keeper look at once.
func (c *Cluster) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// keep looks after the cluster until it is closed: it takes readers in that have caught up, has those copied anew that
// cannot follow, and writes the status that the Aurora functions tell.
func (c *Cluster) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var lastStatus time.Time
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		busy := c.look()
		if time.Since(lastStatus) >= keepQuiet {
			c.examine()
			c.writeStatus()
			lastStatus = time.Now()
		}
		if busy {
			timer.Reset(keepBusy)
		} else {
			timer.Reset(max(0, keepQuiet-time.Since(lastStatus)))
		}
	}
}

// look asks the writer who follows it, and acts on it. It reports whether there is more to come.
func (c *Cluster) look() (busy bool) {
	c.mu.Lock()
	w, reign := c.writer, c.reign
	usable := w.reachable() && !c.fenced
	expected := false
	for _, in := range c.instances {
		if in.role == Reader && in.reachable() && in.stage != deposed {
			expected = true
		}
		busy = busy || in.reachable() && in.stage == following
		if !usable {
			in.since = time.Now() // nobody can follow, so nobody is late
		}
	}
	c.mu.Unlock()
	if !usable || !expected {
		return busy
	}
	ctx, cancel := context.WithTimeout(reign, askTimeout)
	defer cancel()
	followers, err := w.server.followers(ctx)
	if err != nil {
		c.cfg.Logger.Debug("rdstest: writer does not say who follows it", "instance", w.id, "error", err)
		return true
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	default:
		return true // an act is on; what was seen may be old when it ends
	}
	if reign.Err() != nil {
		return true
	}
	// A server that has ended by itself changes what there is to wait for.
	if err := c.reconfigure(); err != nil {
		c.cfg.Logger.Info("rdstest: configuration", "error", err)
	}
	for _, in := range c.instances {
		busy = c.judge(reign, in, followers) || busy
	}
	c.pointReaders(c.cfg.StaleDNS)
	return busy
}

// judge acts on whether a reader follows the writer, and reports whether it is still to be watched. The caller has the turn.
func (c *Cluster) judge(ctx context.Context, in *Instance, followers map[string]follower) (busy bool) {
	c.mu.Lock()
	if in.role != Reader || !in.reachable() || in.stage == deposed {
		c.mu.Unlock()
		return false
	}
	f := followers[in.id]
	if f.flushed > in.furthest || !in.serving {
		in.furthest, in.since = f.flushed, time.Now()
	}
	stage, confirmed, stuck := in.stage, in.confirmed, time.Since(in.since) > c.stuckAfter
	c.mu.Unlock()
	if f.streaming && !confirmed {
		confirmed = c.confirm(ctx, in)
	}
	switch {
	case f.streaming && confirmed && stage == placed:
		return false
	case f.streaming && confirmed:
		if err := c.admit(ctx, in); err != nil {
			c.cfg.Logger.Debug("rdstest: reader is not taken in yet", "instance", in.id, "error", err)
			return true
		}
		c.cfg.Logger.Info("rdstest: reader is in place", "instance", in.id)
		return false
	case stuck:
		c.cfg.Logger.Info("rdstest: reader cannot follow the writer and is copied anew", "instance", in.id)
		c.locked(func() { in.stage = deposed })
		if err := c.reconfigure(); err != nil {
			c.cfg.Logger.Info("rdstest: configuration", "error", err)
		}
		c.startRebuild(in, 0)
	}
	return true
}

// confirm asks a reader that streams whether it is on the writer's timeline. One that has more of the old timeline than
// the writer had when it was promoted streams too, again and again, and never gets there.
func (c *Cluster) confirm(ctx context.Context, in *Instance) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	follows, err := in.server.receivedTimeline(ctx)
	if err != nil {
		return false
	}
	writes, err := c.Writer().server.writeTimeline(ctx, c.prefix())
	if err != nil || follows != writes {
		return false
	}
	c.locked(func() { in.confirmed = true })
	return true
}

// admit makes a reader that streams one of those that commits wait for, and that may be promoted. The caller has the turn.
func (c *Cluster) admit(ctx context.Context, in *Instance) error {
	c.mu.Lock()
	w := c.writer
	first := len(w.synced) == 0
	in.awaited = true
	c.mu.Unlock()
	err := c.reconfigure()
	if err == nil && first {
		// Commits did not wait until now. It counts only once they do, and when it has those that did not.
		ctx, cancel := context.WithTimeout(ctx, admitTimeout)
		defer cancel()
		err = c.waitForCommits(ctx, w, in)
	}
	c.locked(func() {
		in.awaited = false
		if err == nil && in.stage == following {
			in.stage = placed
		}
	})
	if err != nil {
		return errors.Join(err, c.reconfigure())
	}
	return nil
}

// waitForCommits returns when commits on the writer wait for a reader, and that reader has all that did not.
func (c *Cluster) waitForCommits(ctx context.Context, w, in *Instance) error {
	for {
		// A new connection is forked after the other processes were told of the new configuration, the checkpointer among
		// them, which is the one that turns waiting on. It reads the configuration before it does what it is asked for.
		names, err := w.server.oneAnew(ctx, "show synchronous_standby_names")
		if err != nil {
			return err
		}
		if strings.Contains(names, `"`+in.id+`"`) {
			break
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return err
		}
	}
	if _, err := w.server.admins.query(ctx, w.server, "checkpoint"); err != nil {
		return err
	}
	return c.awaitFlushed(ctx, w, []*Instance{in})
}

// awaitFlushed returns when readers have what the writer has written by now.
func (c *Cluster) awaitFlushed(ctx context.Context, w *Instance, readers []*Instance) error {
	at, err := w.server.writePosition(ctx, c.prefix())
	if err != nil {
		return err
	}
	for {
		followers, err := w.server.followers(ctx)
		if err != nil {
			return err
		}
		behind := slices.ContainsFunc(readers, func(in *Instance) bool { return followers[in.id].flushed < at })
		if !behind {
			return nil
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return fmt.Errorf("wait until readers have what %s has: %w", w.id, err)
		}
	}
}

// synchronous are the readers that commits on an instance have to wait for one of, if it is the writer or becomes it. The
// lock is held.
func (c *Cluster) synchronous(in *Instance) []string {
	var ids []string
	for _, r := range c.instances {
		if r != in && r.role == Reader && (r.stage == placed || r.awaited) && !r.frozen && r.cut == 0 {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// reconfigure gives every server the configuration that fits how the cluster is now. Those that were left behind keep
// theirs: an old writer must go on waiting for readers that it does not have.
func (c *Cluster) reconfigure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, in := range c.instances {
		ids := c.synchronous(in)
		if in.process == nil || in.stage == deposed || in.stage == copying || slices.Equal(ids, in.synced) {
			continue
		}
		if err := in.server.configure(serverConfig{id: in.id, synchronous: ids}); err != nil {
			errs = append(errs, err)
			continue
		}
		in.synced = ids
		if err := in.server.reload(in.process); err != nil {
			errs = append(errs, fmt.Errorf("reload %s: %w", in.id, err))
		}
	}
	return errors.Join(errs...)
}

// WaitSettled returns when the cluster is as it should be again: one writer, and every other instance a reader that
// follows it, that commits wait for, and that has replayed what the writer had when WaitSettled was called. Instances that
// are down, frozen or partitioned are left out, but for those that the cluster is about to make readers.
func (c *Cluster) WaitSettled(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errClosed) })()
	return c.awaitSettled(ctx)
}

func (c *Cluster) awaitSettled(ctx context.Context) error {
	var at lsn
	for {
		missing, err := c.unsettled(ctx, &at)
		if err == nil && missing == "" {
			return nil
		}
		if sleepErr := sleep(ctx, 5*time.Millisecond); sleepErr != nil {
			if err != nil {
				missing = err.Error()
			}
			return fmt.Errorf("rdstest: wait until the cluster is settled: %s: %w", missing, sleepErr)
		}
	}
}

// unsettled says what is not as it should be. at is set when it is known.
func (c *Cluster) unsettled(ctx context.Context, at *lsn) (string, error) {
	c.mu.Lock()
	w := c.writer
	if !w.reachable() || c.fenced {
		defer c.mu.Unlock()
		return fmt.Sprintf("the writer %s is %s", w.id, w.state()), nil
	}
	var readers []*Instance
	for _, in := range c.instances {
		switch {
		case in == w, in.frozen, in.cut != 0, in.process == nil && in.stage == following:
		case in.stage != placed:
			defer c.mu.Unlock()
			return fmt.Sprintf("%s is %s", in.id, in.state()), nil
		case !in.confirmed:
			defer c.mu.Unlock()
			return in.id + " does not follow yet", nil
		default:
			readers = append(readers, in)
		}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if *at == 0 {
		pos, err := w.server.writePosition(ctx, c.prefix())
		if err != nil {
			return "", err
		}
		*at = pos
	}
	followers, err := w.server.followers(ctx)
	if err != nil {
		return "", err
	}
	for _, in := range readers {
		if !followers[in.id].streaming {
			return in.id + " does not follow " + w.id, nil
		}
		pos, err := in.server.position(ctx, c.prefix())
		if err != nil {
			return "", err
		}
		if pos.replayed < *at {
			return in.id + " has not replayed all that " + w.id + " has written", nil
		}
	}
	return "", nil
}
