package pooler

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// cancel passes a CancelRequest on to the session that has the key, if there is one. The sender is not told.
func (s *Server) cancel(pidAndKey []byte) {
	for _, p := range s.pools.list() {
		p.pool.CancelRequest(context.Background(), pidAndKey)
	}
}

// begin ends the wait for the client, which has said something. It reports false when somebody has ended the client.
func (c *client) begin() bool {
	c.beginning.Lock()
	defer c.beginning.Unlock()
	now := time.Now().UnixNano()
	c.waiting.Store(now)
	c.said.Store(now)
	return !c.ended.Load()
}

// look ends the client if it is idle for too long, or gone while its work goes on.
func (c *client) look(now time.Time, cfg *Config) {
	since := c.waiting.Load()
	if since >= 0 {
		c.upload = upload{} // it was not waited for
		c.busy = now
		c.leaveIfGone(watchInterval)
		return
	}
	var limit time.Duration
	var code, why string
	var idle func() bool
	switch {
	case cfg.ClientMessageTimeout > 0 && c.stalled(now, cfg.ClientMessageTimeout):
		c.dismiss(since, "57P05", "terminating connection due to client_message_timeout: the rest of a message has not come", c.inMessage)
		return
	case c.mount.InTransaction():
		limit, code, idle = cfg.IdleTransactionTimeout, "25P03", c.mount.InTransaction
		why = "terminating connection due to idle-in-transaction timeout"
	case c.mount.Idle() && !c.mount.Listens():
		limit, code, idle = cfg.IdleClientTimeout, "57P01", c.mount.Idle
		why = "terminating connection due to idle_client_timeout"
	default:
		c.busy = now // its server has something to say yet, or may have at any time
		return
	}
	if limit > 0 && now.Sub(c.idleSince(since)) > limit {
		c.dismiss(since, code, why, func() bool { return idle() && now.Sub(c.idleSince(since)) > limit })
	}
}

// idleSince is from when on the client has been waited for that is waited for since then, as waiting has it: the end of the
// last answer may have come to it later. What it is sent at the moment has no end.
func (c *client) idleSince(waiting int64) time.Time {
	since := time.Unix(0, max(-waiting, c.sent.Load()))
	if since.Before(c.busy) {
		return c.busy
	}
	return since
}

// leastProgress is how much of a message has to come within client_message_timeout, in bytes, if not its end.
const leastProgress = 16 << 10

// upload is how far a message had come when it last made progress.
type upload struct {
	message uint64
	have    int
	since   time.Time
}

// stalled reports whether the client has begun a message, and not sent enough of its rest for so long. It is called while the
// client is waited for.
func (c *client) stalled(now time.Time, limit time.Duration) bool {
	message, have := c.mount.Partial()
	u := &c.upload
	if message != u.message || have >= u.have+leastProgress {
		*u = upload{message, have, now}
	}
	return message != 0 && now.Sub(u.since) > limit
}

// inMessage reports whether the end of a message has not come.
func (c *client) inMessage() bool {
	message, _ := c.mount.Partial()
	return message != 0
}

// slow reports whether a server has worked for so long on what the client said last.
func (c *client) slow(now time.Time, limit time.Duration) bool {
	said := c.said.Load()
	return limit > 0 && said != 0 && now.Sub(time.Unix(0, said)) > limit && c.mount.Running()
}

// cancelTime bounds how long a server is asked to cancel something.
const cancelTime = 5 * time.Second

// cancelSlow cancels what the client runs, and nothing that it says meanwhile.
func (c *client) cancelSlow(limit time.Duration) {
	defer c.canceling.Store(false)
	c.beginning.Lock()
	defer c.beginning.Unlock()
	if !c.slow(time.Now(), limit) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelTime)
	defer cancel()
	c.mount.Abandon(ctx)
	c.server.log.Info("a statement was canceled: it has run for longer than query_timeout", "client", c.raw.RemoteAddr().String(),
		"cluster", c.listener.Cluster, "query_timeout", limit)
}

// cancelDeserted cancels what a server does for the client, which is gone without a word.
func (c *client) cancelDeserted() {
	if !c.mount.Deserted() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelTime)
	defer cancel()
	c.mount.Abandon(ctx)
}

// leaveIfGone ends the client if it has waited for so long for its server, and is gone itself.
func (c *client) leaveIfGone(waited time.Duration) {
	since := c.waiting.Load()
	if since > 0 && time.Since(time.Unix(0, since)) > waited && gone(c.raw) && c.leaving.CompareAndSwap(false, true) {
		c.server.leaving.Go(func() {
			defer c.leaving.Store(false)
			c.server.guard("client that is gone", func() { c.abandon(cancelTime) })
		})
	}
}

// abandonTime bounds how long a server is asked to cancel something once the drain is over.
const abandonTime = 150 * time.Millisecond

// abandon ends the client and what its server does for it, which would go on otherwise: a server looks at its client only when it
// has something to say. The server is asked for no longer than limit.
func (c *client) abandon(limit time.Duration) {
	if c.waiting.Load() > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		c.mount.Abandon(ctx)
	}
	c.cut()
}

// leaveIfIdle ends the client with words of the server's, unless it is in a transaction or waits for an answer.
func (c *client) leaveIfIdle(why string) {
	if since := c.waiting.Load(); since < 0 {
		c.dismiss(since, "57P01", why, func() bool { return c.mount.Idle() && c.sent.Load() != sending })
	}
}

// dismiss ends the client with words of the server's, if it has said nothing since then, and the condition still holds.
func (c *client) dismiss(since int64, code, why string, still func() bool) {
	if !c.beginning.TryLock() {
		return // it says something, or something is being done to it; the next look finds it so or otherwise
	}
	defer c.beginning.Unlock()
	if c.waiting.Load() != since || !still() || !c.ended.CompareAndSwap(false, true) {
		return
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	_ = c.send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: why})
	_ = c.raw.Close()
}

// cut ends the client without a word.
func (c *client) cut() {
	c.ended.Store(true)
	_ = c.raw.Close()
	if c.waiting.Load() != 0 {
		_ = c.mount.Close()
	}
}
