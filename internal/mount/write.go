package mount

import (
	"errors"
	"io"
	"net"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// Write implements net.Conn. It returns 0 with an error only when not one byte of p was sent or noted: pgx takes that
// as leave to do the work again.
func (m *Conn) Write(p []byte) (int, error) {
	n, u, body, mark, err := m.write(p)
	if u == nil {
		if n == 0 && err == nil {
			n = len(p) // it has crashed, and the client reads of it
		}
		return n, err
	}
	none, err := u.Write(body)
	if err == nil {
		return len(p), nil
	}
	return m.notWritten(p, u, mark, none, err)
}

// write is Write up to where nothing but body is to be written to u, if that is not nil.
func (m *Conn) write(p []byte) (n int, u *backend.Upstream, body []byte, mark session.Mark, err error) {
	m.mu.Lock()
	defer m.done()
	if m.s.Excess() && m.end == nil {
		m.excess()
	}
	if m.up == nil && m.pool.lender != nil {
		m.borrowNow(p)
	}
	u = m.up
	if u == nil || !m.ready || m.gate || m.writing || m.given || m.closed || m.s.Waits() || m.lacks(p) || m.tracks && m.s.Opaque() || m.pool.catalog.Wanted() && m.s.Decides() && m.s.Idle() || u.Killed() != nil || u.Stale() || u.Leaves() {
		n, err = m.slowWrite(p)
		return n, nil, nil, mark, err
	}
	mark = m.s.Mark()
	out := m.s.Client(p)
	if out.Special() || m.lent != nil && !m.s.Busy() {
		n, err = m.pass(p, out, mark)
		n, err = m.goOn(p, n, err)
		return n, nil, nil, mark, err
	}
	m.s.Sent()
	u.Begin()
	u.Expect(m.s.Due())
	return 0, u, out.Body, mark, nil
}

// notWritten is the end of a write that has failed.
func (m *Conn) notWritten(p []byte, u *backend.Upstream, mark session.Mark, none bool, failed error) (n int, err error) {
	m.mu.Lock()
	defer m.done()
	n = len(p) // should it crash
	done, err := m.writeFailed(p, u, mark, none, failed)
	return m.goOn(p, done, err)
}

// goOn writes what the first part of a write has left. mu is held.
func (m *Conn) goOn(p []byte, done int, err error) (int, error) {
	if err != nil || done == len(p) {
		return done, err
	}
	n, err := m.slowWrite(p[done:])
	return done + n, err
}

// slowWrite is Write when something stands in the way of the fast path. mu is held.
func (m *Conn) slowWrite(p []byte) (int, error) {
	for done := 0; ; {
		for m.gate || m.writing {
			if err := m.wait(writes); err != nil {
				return done, err
			}
		}
		switch {
		case m.closed:
			return done, net.ErrClosed
		case !m.ready:
			return m.startup(p)
		case m.given:
			m.sayGoodbye(p[done:])
			return len(p), nil
		}
		if m.pool.lender != nil && m.up == nil && m.s.NeedsNoServer(p[done:]) {
			switch out := m.s.Client(p[done:]); {
			case out.End:
				m.terminate()
			case out.Lost:
				m.unframed(out.Why)
			}
			return len(p), nil
		}
		m.first = p[done:]
		err := m.prepareToWrite(p[done:])
		m.first = nil
		if err != nil {
			return done, err
		}
		switch {
		case m.end != nil:
			return done, m.end
		case m.gate || m.writing || m.closed || m.given:
			continue
		case m.doubt:
			m.stillWriter()
			continue
		case m.confirm:
			m.confirmAck()
			continue
		case !m.s.Answering() && (m.up == nil || m.s.Waits()):
			continue
		}
		n, err := m.dispatch(p[done:])
		if done += n; err != nil || done == len(p) {
			return done, err
		}
	}
}

// prepareToWrite sees to it that there is an upstream, and that it has the statements that p uses.
func (m *Conn) prepareToWrite(p []byte) error {
	if m.up != nil {
		if cause := m.up.Killed(); cause != nil {
			m.lose(cause)
		} else if m.up.Stale() {
			m.peek()
		}
	}
	if m.up != nil && (m.up.Leaves() || m.up.Doubtful()) {
		if err := m.moveToWrite(); err != nil {
			return err
		}
	}
	if m.up != nil && m.up.Silence() >= pingAfter && m.s.Calm() && m.s.Risky(p) {
		if err := m.ping(); err != nil {
			return err
		}
	}
	if m.up == nil && m.end == nil && !m.given && !m.s.Answering() {
		if err := m.resume(writes); err != nil {
			return err
		}
	}
	if m.up != nil && m.s.Waits() && !m.doubt && !m.confirm {
		if err := m.catchUp(); err != nil {
			return err
		}
	}
	if m.pool.catalog.Wanted() && m.up != nil && m.s.Decides() && m.s.Idle() {
		if err := m.readCatalog(); err != nil || m.up == nil {
			return err
		}
	}
	if m.tracks && m.up != nil && m.s.Opaque() && m.s.Idle() {
		return m.readBack()
	}
	if m.up != nil && !m.s.Answering() && !m.s.Waits() && !m.doubt && !m.confirm {
		if missing := m.s.Missing(p); missing != nil {
			return m.prepare(missing)
		}
	}
	return nil
}

// sayGoodbye passes on the Terminate of a client that has given up, so that what it canceled ends and its reads do.
func (m *Conn) sayGoodbye(p []byte) {
	u := m.up
	if u == nil || m.lent != nil || !m.s.Busy() {
		m.terminate()
		return
	}
	_, err := m.writeTo(u, p)
	if err != nil && m.up == u {
		m.lose(lossOf(u, err))
	}
}

// writeTo writes to an upstream. mu is held, and let go of meanwhile.
func (m *Conn) writeTo(u *backend.Upstream, b []byte) (none bool, err error) {
	m.unlocked(func() { none, err = u.Write(b) })
	return none, err
}

// dispatch gives what the client wrote to the session, and to the upstream what comes out. It returns how much of p that
// was. mu is held.
func (m *Conn) dispatch(p []byte) (int, error) {
	mark := m.s.Mark()
	return m.pass(p, m.s.Client(p), mark)
}

// pass does with what the client wrote what its out says. mu is held.
func (m *Conn) pass(p []byte, out session.Out, mark session.Mark) (int, error) {
	m.flush()
	n := len(p) - len(out.Rest)
	switch {
	case out.Lost:
		m.unframed(out.Why)
		return n, nil
	case out.Empty() && out.End:
		m.s.Sent() // no server is to have it
		m.terminate()
		return n, nil
	case out.Empty():
		return n, nil
	}
	u := m.up
	m.s.Sent()
	u.Begin()
	u.Expect(m.s.Due())
	var none bool
	var err error
	m.unlocked(func() { none, err = writeOut(u, out) })
	if err != nil {
		return m.writeFailed(p[:n], u, mark, none, err)
	}
	if out.End {
		m.terminate()
	}
	if m.lent != nil && m.up == u && m.s.Free() && !m.gate {
		m.release() // what was sent has no answer
	}
	return n, nil
}

// writeOut sends both parts at once.
func writeOut(u *backend.Upstream, out session.Out) (none bool, err error) {
	n := len(out.Head) + len(out.Body)
	if len(out.Head) == 0 || n > bulkBuffer {
		return u.Write(out.Bytes())
	}
	buf := bulkBuffers.Get().(*[bulkBuffer]byte)
	defer bulkBuffers.Put(buf)
	copy(buf[copy(buf[:], out.Head):], out.Body)
	return u.Write(buf[:n])
}

// writeFailed is a write that the upstream did not take, or not all of it. mu is held. It returns how much of p is
// disposed of: the rest is to be written again.
func (m *Conn) writeFailed(p []byte, u *backend.Upstream, mark session.Mark, none bool, err error) (int, error) {
	if isTimeout(err) && u.Killed() == nil {
		// The caller's deadline. What was written is a fragment, and under TLS the stream is broken: no more of it.
		m.giveUp()
		if m.up == u {
			m.part(u, true)
		}
		if none {
			return 0, err
		}
		return 1, err
	}
	if m.up != u {
		return len(p), nil // a reader has found out, and the session has been answered
	}
	undone := none && m.s.Undo(mark)
	m.lose(lossOf(u, err))
	if undone {
		return 0, nil
	}
	return len(p), nil
}

// unframed ends the session of a client that has sent what is not PostgreSQL's protocol: where its next message begins is not known. The
// server has no part in it, and an upstream that is of use to others stays.
func (m *Conn) unframed(why string) {
	m.given = true
	if m.up != nil {
		switch {
		case m.departing():
		case !m.s.Busy():
			m.partIdle()
		case !m.depart():
			m.part(m.up, true)
		}
	}
	m.pend = append(m.pend, fatal("08P01", why, errors.New("fairlead: the client sent what is not PostgreSQL's protocol"))...)
	m.end = io.ErrUnexpectedEOF
	m.tell()
}

// excess ends a session that keeps more than it may.
func (m *Conn) excess() {
	if m.up != nil {
		m.detach(true)
	}
	p := session.LimitProblem(m.s.MemoryLimit)
	m.pend = append(m.pend, fatal(p.Code, p.Message, errors.New("what the client has sent, or not taken yet, passes twice the limit"))...)
	m.end = io.ErrUnexpectedEOF
	m.tell()
}

// Settle waits until no more is outstanding than a session may have. Another goroutine has to read.
func (m *Conn) Settle() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.s.Crowded() && m.up != nil && !m.closed && !m.given && m.end == nil {
		if u := m.up; !m.gate && !m.writing && !m.s.Due() && !m.s.CopyingIn() {
			m.s.Flushed() // a server may keep its answers until it is asked for them
			m.mu.Unlock()
			_, err := u.Write([]byte{wire.Flush, 0, 0, 0, 4})
			m.mu.Lock()
			if err != nil && m.up == u {
				m.lose(lossOf(u, err))
			}
			continue
		}
		m.crowded = true
		if err := m.wait(writes); err != nil {
			return err
		}
	}
	return nil
}

// terminate is the client's Terminate.
func (m *Conn) terminate() {
	m.given = true
	if m.up != nil && !m.s.Busy() && !m.departing() {
		m.partIdle()
	}
	if m.up == nil || m.departing() {
		m.end = io.EOF
	}
	m.tell()
}

// partIdle is the end of a session that is idle. A lent upstream goes back if nothing of the session is left on it.
func (m *Conn) partIdle() {
	if m.lent != nil && m.s.Free() && m.cancels == 0 && len(m.hold) == 0 && !m.s.Inspects() && m.s.Pins() == "" && !m.gate && !m.reading {
		m.giveBack()
		return
	}
	if !m.depart() {
		m.part(m.up, false)
	}
}

// giveUp ends continuity: the client has stopped waiting, and what it waited for must not happen behind its back.
func (m *Conn) giveUp() {
	m.given = true
	m.tell()
}
