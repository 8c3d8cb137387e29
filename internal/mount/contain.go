package mount

import (
	"errors"
	"io"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// errCrashed is what is said of a session that has ended in a panic.
var errCrashed = errors.New("the session was ended, and its server connection closed; the log has the place")

// done lets go of mu. It is deferred by what takes it: a panic in between is the end of the session, and of nothing else.
func (m *Conn) done() {
	if r := recover(); r != nil {
		m.crashed(contain.Of(r))
	}
	m.mu.Unlock()
}

// unlocked calls f without mu, which is held, and is held again afterwards, whatever becomes of f.
func (m *Conn) unlocked(f func()) {
	m.mu.Unlock()
	defer m.mu.Lock()
	f()
}

// crashed ends the session after a panic. What its state is, is not known: its upstream is closed and not given to anybody, and its client
// is told so. mu is held.
func (m *Conn) crashed(p *contain.Panic) {
	p.Log(m.pool.cfg.Logger, "session", "cluster", m.pool.cfg.Name, "session", m.id)
	m.pool.panicked()
	m.given, m.broken = true, true
	if m.section != nil {
		m.section.cancel(errCrashed)
	}
	m.first, m.hold, m.doubt, m.confirm, m.reshow, m.more = nil, nil, false, false, false, false
	up, x, h := m.up, m.lent, m.hub
	m.up, m.lent, m.hub = nil, nil, nil
	// Each on its own: one that fails leaves the others.
	for _, end := range []func(){
		func() {
			if h != nil {
				h.keep(m, nil)
			}
		},
		func() {
			switch {
			case x != nil:
				m.pool.lender.discard(x)
			case up != nil:
				up.Close(true)
			}
		},
	} {
		if p := contain.Run(end); p != nil {
			p.Log(m.pool.cfg.Logger, "end of a session", "cluster", m.pool.cfg.Name)
		}
	}
	if !m.s.Streaming() {
		m.pend = append(m.pend, fatal("XX000", "fairlead: "+p.Error(), errCrashed)...)
	}
	m.end = io.EOF
	m.tell()
}

// panicked counts a panic that was contained.
func (p *Pool) panicked() {
	p.metrics.panicked()
	if p.cfg.OnPanic != nil {
		p.cfg.OnPanic()
	}
}

// guard calls f, which is about the pool and not about a session, and contains its panic.
func (p *Pool) guard(where string, f func()) *contain.Panic {
	failed := contain.Run(f)
	if failed != nil {
		failed.Log(p.cfg.Logger, where, "cluster", p.cfg.Name)
		p.panicked()
	}
	return failed
}

// discard ends a lent upstream of which nothing is known any more.
func (l *lender) discard(x *lent) {
	l.unpin(x)
	x.memory.End()
	l.drop(x, true)
}
