package mount

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// Due reports whether Read has something to return without more being written first: what it waits for then is the server's
// to send, and not the client's.
func (m *Conn) Due() bool {
	m.mu.Lock()
	defer m.done()
	return m.due()
}

func (m *Conn) due() bool {
	return m.over() || m.given || m.up == nil && m.owes() || m.more || m.doubt || m.confirm || m.s.Waits() || m.s.Due()
}

// Pending reports whether Read has something to return at once.
func (m *Conn) Pending() bool {
	m.mu.Lock()
	defer m.done()
	return len(m.pend) > 0 || m.hears()
}

// Abandon cancels what the session runs: its client is gone.
func (m *Conn) Abandon(ctx context.Context) {
	_ = m.cancel(ctx) // nobody is left who could be told
}

// CancelRequest cancels what the session runs that has the key, if there is one, and nothing otherwise.
func (p *Pool) CancelRequest(ctx context.Context, pidAndKey []byte) {
	if len(pidAndKey) < 8 {
		return
	}
	m, ok := p.keys.Load(string(pidAndKey))
	if !ok {
		m, ok = p.mounts.Load(uint64(binary.BigEndian.Uint32(pidAndKey)))
	}
	if ok {
		_ = m.(*Conn).cancelRequest(ctx, pidAndKey) // a server does not tell either
	}
}

// pidAndKey is what a CancelRequest for the session has.
func (m *Conn) pidAndKey() string {
	return string(append(binary.BigEndian.AppendUint32(nil, m.pid), m.key...))
}

// Deserted reports whether a server works for a client that has not said goodbye. One that reads COPY data ends by itself.
func (m *Conn) Deserted() bool {
	m.mu.Lock()
	defer m.done()
	return m.up != nil && m.s.Busy() && !m.s.CopyingIn() && !m.given
}

// Crowded reports whether so much is outstanding that more is to be written behind a Settle.
func (m *Conn) Crowded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s.Crowded()
}

// Owes reports whether the server may send something at any time, because of work that is not over or a LISTEN.
func (m *Conn) Owes() bool {
	m.mu.Lock()
	defer m.done()
	return m.over() || m.owes() || m.s.Waits()
}

func (m *Conn) over() bool { return len(m.pend) > 0 || m.end != nil || m.closed || m.hears() }

// Duplex reports whether either side may speak at any time: the client sends COPY data, or waits for notifications.
func (m *Conn) Duplex() bool {
	m.mu.Lock()
	defer m.done()
	return m.s.CopyingIn() || m.s.Listening()
}

// Partial returns the number of the message that the client has begun and not ended, and how many bytes of it have come; 0 where
// there is none.
func (m *Conn) Partial() (message uint64, have int) {
	if !m.glance() {
		return 0, 0
	}
	defer m.done()
	return m.s.Partial()
}

// Idle reports whether the client is outside of a transaction and has been given all that it is owed.
func (m *Conn) Idle() bool {
	if !m.glance() {
		return false
	}
	defer m.done()
	return m.s.Idle() && m.s.Status() == wire.StatusIdle && len(m.pend) == 0
}

// InTransaction reports whether the client is in a transaction, or has begun what only it can go on with (COPY data, messages
// without a Sync), and has been given all that it is owed.
func (m *Conn) InTransaction() bool {
	if !m.glance() {
		return false
	}
	defer m.done()
	return m.s.Midway() && !m.due()
}

// Listens reports whether the client waits for notifications.
func (m *Conn) Listens() bool {
	if !m.glance() {
		return false
	}
	defer m.done()
	return m.s.Listens()
}

// Running reports whether a server works for the session.
func (m *Conn) Running() bool {
	if !m.glance() {
		return false
	}
	defer m.done()
	return m.up != nil && m.s.Busy() && m.section == nil
}

// glances is how often a look at a session tries to get its lock.
const glances = 20

// glance takes mu if that is to be had soon, and reports whether it was: those who look after all sessions do not wait for one that is
// stuck, and take it for one that is busy.
func (m *Conn) glance() bool {
	for range glances {
		if m.mu.TryLock() {
			return true
		}
		time.Sleep(50 * time.Microsecond)
	}
	return false
}
