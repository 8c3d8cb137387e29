package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// pingAfter is after how long a silence a server is asked whether it is there, before it is sent what could not be told of
	// afterwards whether it happened. All else finds out by itself, without a round trip for it.
	pingAfter = 500 * time.Millisecond
	// pingPatience bounds the wait for the answer. That the path is dead is known sooner, mostly.
	pingPatience = 2 * time.Second
)

// leaves is called when the upstream begins to be one that is to be left.
func (m *Conn) leaves() {
	m.mu.Lock()
	defer m.done()
	if !m.reading {
		m.moveOn()
	}
}

// moveOn lets go of an upstream that is to be left, if the session is between two units and holds nothing there; its next
// statement gets another. mu is held. It reports whether it did.
func (m *Conn) moveOn() bool {
	u := m.up
	if u == nil || !u.Leaves() && !u.Doubtful() || m.reading || m.gate || m.writing || !m.ready || m.given || m.closed || m.end != nil ||
		m.doubt || m.confirm || m.more || m.replay || m.decide || m.cancels > 0 || len(m.hold) > 0 || !m.s.Movable() {
		return false
	}
	why := fmt.Sprintf("%s is not of the wanted kind any more, or another instance is wanted more", u.Instance.ID)
	if u.Doubtful() {
		why = fmt.Sprintf("another connection to %s was lost on the way", u.Instance.ID)
	}
	m.detach(u.Doubtful())
	m.ticket = 0
	verdict, reason := m.s.Lost(why)
	m.settle(verdict, reason)
	m.tell()
	return true
}

// moveToWrite is moveOn for somebody who is about to write: a Read that waits for what nobody is to send is called back.
func (m *Conn) moveToWrite() error {
	u := m.up
	if m.reading && m.s.Movable() {
		_, leave := m.enter(writes)
		err := m.alone(u)
		leave()
		if err != nil || m.up != u {
			return err
		}
	}
	if m.moveOn() {
		m.lostAt = time.Now()
	}
	return nil
}

// ping asks the server whether it is there. mu is held, and let go of meanwhile. When it is not, the session is lost as ever.
func (m *Conn) ping() error {
	ctx, leave := m.enter(writes)
	defer leave()
	u := m.up
	if err := m.alone(u); err != nil || m.up != u || !m.s.Calm() {
		return err
	}
	u.Unread(m.hold)
	m.hold = m.hold[:0]
	var err error
	m.unlocked(func() {
		limited, cancel := context.WithTimeoutCause(ctx, pingPatience, errSilent)
		defer cancel()
		err = u.Ping(limited)
	})
	switch {
	case m.up != u || err == nil:
		return nil
	case errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded):
		m.lose(err)
		return os.ErrDeadlineExceeded
	}
	m.lose(lossOf(u, err))
	return nil
}

var errSilent = errors.New("the server does not answer over a connection that was silent for a while")
