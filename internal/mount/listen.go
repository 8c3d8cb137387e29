package mount

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// OnNews has f called when Read has something to return though nothing was written. It is called before anything is read, and f
// must not use the Conn in its own goroutine.
func (m *Conn) OnNews(f func()) { m.onNews = f }

// handsOver reports whether the channels that the session's upstream listens on are to be given to the hub, now that the session
// is idle. mu is held.
func (m *Conn) handsOver() bool {
	return m.lent != nil && m.s.Listening() && m.s.Free() && !m.pool.lender.cfg().Whole && !m.given && !m.closed &&
		m.cancels == 0 && !m.reading && len(m.hold) == 0 && !m.s.Inspects() && !time.Now().Before(m.unheard)
}

// handOver gives the channels to the hub. Until the hub listens, notifications come from the upstream; from a mark on, that both are
// told of, from the hub. When the hub cannot listen, the session keeps its upstream. mu is held, and let go of meanwhile.
func (m *Conn) handOver() {
	u, x, l := m.up, m.lent, m.pool.lender
	ctx, leave := m.enter(reads)
	defer leave()
	h, channels := l.hub(m.s.Param("client_encoding")), m.s.Unrelayed()
	m.renewHub()
	var err error
	m.unlocked(func() { err = h.listen(ctx, m, channels, u.Instance.ID) })
	switch {
	case m.closed || m.broken:
		h.keep(m, nil)
		return
	case m.up != u:
		h.keep(m, m.s.Relayed())
		return
	case err != nil:
		m.unheard = time.Now().Add(janitorial)
		if log := m.pool.cfg.Logger; log != nil {
			log.Warn("notifications cannot be received for all sessions over one connection; a session keeps its own for them",
				"cluster", m.pool.cfg.Name, "session", m.id, "error", err)
		}
		m.release()
		return
	}
	m.hub = h
	m.s.Relay()
	k := h.mark(m, channels)
	answers := 0
	var said []byte
	m.unlocked(func() {
		err = u.Exchange(ctx, session.HandOver(h.own, k.text), func(kind byte, msg []byte) bool {
			if kind == wire.ReadyForQuery {
				answers++
			}
			return answers == 2
		})
		said = u.Asides()
	})
	if m.closed || m.broken {
		return
	}
	marked := m.up == u && m.s.HandedOver(said, channels, h.own, k.text)
	m.flush()
	h.handed(k, marked)
	if m.up != u {
		return
	}
	if err == nil && !marked {
		err = fmt.Errorf("the server has not notified on its channel %s", h.own)
	}
	if err != nil {
		m.lose(lossOf(u, err))
		return
	}
	x.memory.ForgetUnnamed()
	m.speaks(x)
	m.release()
}

// renewHub tells the hub of channels that the session has left, and goes over to another hub when its encoding has changed.
// mu is held.
func (m *Conn) renewHub() {
	if m.hub == nil {
		return
	}
	if encoding := m.s.Param("client_encoding"); encoding != m.hub.encoding {
		m.hub.keep(m, nil)
		m.hub = m.pool.lender.hub(encoding)
		m.hub.move(m, m.s.Relayed())
	}
	if m.s.Left() {
		relayed := m.s.Relayed()
		m.hub.keep(m, relayed)
		if len(relayed) == 0 {
			m.hub = nil
		}
	}
}

// heardSoFar waits until the hub has received what others have notified over an upstream that the session is about to use. mu is
// held, and let go of meanwhile.
func (m *Conn) heardSoFar(ctx context.Context, x *lent) {
	h := m.hub
	if h == nil || x.heardBy == h {
		return
	}
	m.unlocked(func() { h.catchUp(ctx) })
}

// hearOwn waits until the hub has received what the session's unit has notified. mu is held, and let go of meanwhile.
func (m *Conn) hearOwn() {
	if h := m.hub; h != nil {
		ctx, leave := m.enter(reads)
		defer leave()
		m.unlocked(func() { h.catchUp(ctx) })
	}
	m.s.AcceptNotified()
}

// speaks tells the hub that notifications of an upstream are the session's own from now on. mu is held.
func (m *Conn) speaks(x *lent) {
	x.heardBy = nil
	if m.hub != nil {
		m.hub.speaks(m, x.up.PID)
	}
}

// hear is given a notification by the hub, and whether it is the session's own.
func (m *Conn) hear(msg []byte, own bool) {
	m.stir(func() {
		full := m.s.InboxFull()
		m.s.Heard(msg, own)
		if m.s.InboxFull() && !full {
			m.countMissed()
		}
	})
}

// missed is told by the hub that it may not have received everything.
func (m *Conn) missed() {
	m.stir(func() {
		m.s.Missed("the connection that receives notifications moved to another one")
		m.countMissed()
	})
}

// deafen is told by the hub that nothing is received any more.
func (m *Conn) deafen(err error) {
	m.stir(func() {
		if len(m.s.Relayed()) > 0 {
			m.deaf = err
		}
	})
}

func (m *Conn) countMissed() {
	m.pool.lender.count(func(s *LendingStats) { s.Missed++ })
	m.pool.metrics.missed()
}

// stir does something with what the client is to be told, and has somebody read, if it may be told now.
func (m *Conn) stir(change func()) {
	if hears, f := m.stirred(change); hears && f != nil {
		f()
	}
}

func (m *Conn) stirred(change func()) (hears bool, f func()) {
	m.mu.Lock()
	defer m.done()
	if m.broken {
		return false, nil
	}
	hears, f = true, m.onNews // should it crash: it has something to say then
	change()
	if hears = m.hears(); hears {
		m.tell()
		if m.reading && m.up != nil {
			m.kicked = true
			_ = m.up.SetReadDeadline(time.Unix(1, 0))
		}
	}
	return hears, f
}

// hears reports whether the client may have something of the hub's. mu is held.
func (m *Conn) hears() bool {
	return m.ready && !m.gate && !m.given && !m.closed && m.end == nil && len(m.pend) == 0 &&
		(m.s.HasHeard() || m.deaf != nil && m.s.Quiet())
}

// say puts on its way to the client what it hears. mu is held.
func (m *Conn) say() {
	m.pend = m.s.TakeHeard()
	if m.deaf == nil {
		return
	}
	if m.up != nil {
		m.detach(false)
	}
	m.pend = append(m.pend, fatal("57P01", "fairlead: no server could be reached to go on listening on", m.deaf)...)
	m.end = io.EOF
	m.tell()
}

// hub is the one for sessions of that encoding.
func (l *lender) hub(encoding string) *hub {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hubs[encoding]
	if h == nil {
		h = newHub(l, encoding)
		l.hubs[encoding] = h
	}
	return h
}

func (l *lender) allHubs() []*hub {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.hubs))
}

// listening is how many hubs have an upstream.
func (l *lender) listening() (n int) {
	for _, h := range l.allHubs() {
		if h.connected() {
			n++
		}
	}
	return n
}
