package mount

import (
	"fmt"
	"time"
)

// leaves is called when the upstream begins to be one that is to be left.
func (m *Conn) leaves() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.reading {
		m.moveOn()
	}
}

// moveOn lets go of an upstream that is to be left, if the session is between two units and holds nothing there; its next
// statement gets another. mu is held. It reports whether it did.
func (m *Conn) moveOn() bool {
	u := m.up
	if u == nil || !u.Leaves() || m.reading || m.gate || m.writing || !m.ready || m.given || m.closed || m.end != nil ||
		m.doubt || m.confirm || m.more || m.replay || m.decide || m.cancels > 0 || len(m.hold) > 0 || !m.s.Movable() {
		return false
	}
	m.detach(false)
	m.ticket = 0
	verdict, reason := m.s.Lost(fmt.Sprintf("%s is not of the wanted kind any more, or another instance is wanted more", u.Instance.ID))
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
