package mount

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// departTime bounds how long the upstream of a client that has left is cleaned. One that is not clean by then is closed.
const departTime = time.Second

// depart begins to clean the upstream of a client that leaves in the middle of something, so that the pool keeps it: what runs is
// canceled, and the transaction rolled back. It reports false where the server's state is not known well enough for that, and where
// more is outstanding than one cancel ends. mu is held. The goroutine ends within departTime; Departed waits for it.
func (m *Conn) depart() bool {
	u := m.up
	if u == nil || m.lent == nil || m.gate || m.writing || m.doubt || m.confirm || m.more || m.replay || m.decide ||
		u.Killed() != nil || m.s.Pipelined() || !m.s.Recoverable() {
		return false
	}
	m.gate, m.given = true, true
	m.departed = make(chan struct{})
	m.deadlines = [2]time.Time{}
	m.applyDeadlines()
	go func() {
		defer close(m.departed)
		if m.cleanedUp(u) {
			m.pool.left(m)
		}
	}()
	return true
}

// cleanedUp cleans up, and reports whether the Conn was closed by then.
func (m *Conn) cleanedUp(u *backend.Upstream) (closed bool) {
	m.mu.Lock()
	defer m.done()
	defer func() {
		m.gate, closed = false, m.closed
		m.tell()
	}()
	m.cleanUp(u)
	return false
}

// departing reports whether the upstream is being cleaned. mu is held.
func (m *Conn) departing() bool {
	if m.departed == nil {
		return false
	}
	select {
	case <-m.departed:
		return false
	default:
		return m.gate
	}
}

// Departed waits until nothing of a Conn that is closed goes on any more.
func (m *Conn) Departed() {
	m.mu.Lock()
	departed := m.departed
	m.mu.Unlock()
	if departed != nil {
		<-departed
	}
}

// cleanUp gives the upstream back, clean, or ends it. mu is held, and let go of meanwhile.
func (m *Conn) cleanUp(u *backend.Upstream) {
	ctx, cancel := context.WithTimeout(context.Background(), departTime)
	defer cancel()
	clean := m.endUnit(ctx, u) && m.tidyUp(ctx, u)
	switch {
	case m.up != u:
	case clean && ctx.Err() == nil && len(m.hold) == 0 && m.s.Free():
		m.giveBack()
	default:
		m.part(u, true)
	}
}

// endUnit ends what the client has begun, and reports whether that is over.
func (m *Conn) endUnit(ctx context.Context, u *backend.Upstream) bool {
	if err := m.alone(u); err != nil || m.up != u {
		return false
	}
	m.s.AcceptNotified() // the client that would wait for its own notifications is gone
	if m.s.Busy() {
		var err error
		m.unlocked(func() { err = u.Cancel(ctx) })
		if err != nil {
			return false
		}
	}
	if m.s.Unsynced() && !m.instruct(ctx, u, &pgproto3.Sync{}) || !m.settleDown(ctx, u) {
		return false
	}
	for m.cancels > 0 { // one that is still on its way may meet whoever is next
		if !m.awaitNews(ctx) {
			return false
		}
	}
	return m.s.Status() == wire.StatusIdle || m.instruct(ctx, u, &pgproto3.Query{String: "ROLLBACK"}) && m.s.Status() == wire.StatusIdle
}

// tidyUp takes away what the client has left behind its last transaction, and reports whether nothing is left.
func (m *Conn) tidyUp(ctx context.Context, u *backend.Upstream) bool {
	if m.s.Inspects() {
		var answer string
		var err error
		m.unlocked(func() { answer, err = undisturbed(ctx, u, timeless+session.Inspect) })
		if err != nil || m.up != u {
			return false
		}
		m.lent.memory.ForgetUnnamed()
		m.s.Inspected(answer)
	}
	if m.s.Pins() == "" {
		return true
	}
	return m.s.Discardable() && m.instruct(ctx, u, &pgproto3.Query{String: "DISCARD ALL"}) && m.s.Pins() == ""
}

// instruct sends a message as if the client had, and reports whether its answer has come.
func (m *Conn) instruct(ctx context.Context, u *backend.Upstream, msg pgproto3.FrontendMessage) bool {
	b, err := msg.Encode(nil)
	if err != nil {
		return false
	}
	out := m.s.Client(b)
	if out.Lost || out.End || len(out.Rest) > 0 {
		return false
	}
	m.s.Sent()
	u.Begin()
	_, err = m.writeTo(u, out.Bytes())
	return err == nil && m.settleDown(ctx, u)
}

// settleDown reads until the server owes nothing any more. What it says is for nobody.
func (m *Conn) settleDown(ctx context.Context, u *backend.Upstream) bool {
	owed := m.pend
	err := m.readWhile(ctx, u, func() bool {
		m.pend = owed
		return m.s.Busy() && !m.s.CopyingIn()
	})
	m.pend = owed
	return err == nil && m.up == u && !m.s.Busy() && !m.doubt && !m.confirm && !m.more
}

// awaitNews waits until something has changed, and reports false if nothing has in time.
func (m *Conn) awaitNews(ctx context.Context) bool {
	news := m.news
	m.mu.Unlock()
	defer m.mu.Lock()
	select {
	case <-news:
		return true
	case <-ctx.Done():
		return false
	}
}
