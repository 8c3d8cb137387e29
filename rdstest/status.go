package rdstest

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// newSessionID is a random UUID.
func newSessionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// examine asks every server that can answer how it is.
func (c *Cluster) examine() {
	if c.cfg.Flavor != Aurora {
		return
	}
	c.mu.Lock()
	reign := c.reign
	var asked []*Instance
	for _, in := range c.instances {
		if in.reachable() && in.serving && in.stage != deposed {
			asked = append(asked, in)
		}
	}
	w := c.writer
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(reign, askTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, in := range asked {
		wg.Go(func() {
			h, err := c.ask(ctx, in, in == w)
			if err != nil {
				c.cfg.Logger.Debug("rdstest: instance does not say how it is", "instance", in.id, "error", err)
				return
			}
			c.locked(func() { h.session = in.health.session; in.health = h })
		})
	}
	wg.Wait()
}

func (c *Cluster) ask(ctx context.Context, in *Instance, writer bool) (health, error) {
	if writer {
		at, err := in.server.writePosition(ctx, c.prefix())
		return health{seen: time.Now(), received: at, replayed: at}, err
	}
	pos, err := in.server.position(ctx, c.prefix())
	if err != nil {
		return health{}, err
	}
	h := health{seen: time.Now(), received: pos.received, replayed: pos.replayed}
	if pos.replayed < pos.received {
		if h.lag, err = in.server.replayLag(ctx, c.prefix()); err != nil {
			return health{}, err
		}
	}
	return h, nil
}

// writeStatus writes down how the cluster is for the functions of the Aurora flavor. An instance that was cut off, or left
// behind, goes on telling what it last knew.
func (c *Cluster) writeStatus() {
	if c.cfg.Flavor != Aurora {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := c.statusRows()
	for _, in := range c.instances {
		if !in.reachable() || in.stage == deposed {
			continue
		}
		data, err := auroraStatus{Instance: in.id, Status: rows}.encode()
		if err == nil {
			err = in.server.account.writeFile(filepath.Join(in.server.data(), statusFile), data)
		}
		if err != nil {
			c.cfg.Logger.Info("rdstest: status is not written", "instance", in.id, "error", err)
		}
	}
}

// statusRows is the content of aurora_replica_status. The lock is held.
func (c *Cluster) statusRows() []auroraRow {
	var rows []auroraRow
	durable := uint64(c.writer.health.received)
	for _, in := range c.instances {
		row := auroraRow{ServerID: in.id, SessionID: in.health.session, LastUpdate: in.health.seen, DurableLSN: &durable}
		if in == c.writer {
			row.SessionID = writerSession
		} else {
			received, replayed := uint64(in.health.received), uint64(in.health.replayed)
			lag := float64(in.health.lag) / float64(time.Millisecond)
			replay := in.health.lag.Microseconds()
			zero, none := 0, uint32(0)
			row.HighestRcvd, row.CurrentRead, row.OldestReadView = &received, &replayed, &replayed
			row.Lag, row.ReplayLatency, row.ActiveTxns, row.FeedbackEpoch, row.FeedbackXmin = &lag, &replay, &zero, &zero, &none
		}
		rows = append(rows, row)
	}
	return rows
}
