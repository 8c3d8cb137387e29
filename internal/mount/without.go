package mount

import "sync/atomic"

// BeginWithoutReplay begins a call of the client's that is not to be done twice; EndWithoutReplay ends it. Calls may be
// nested.
func (m *Conn) BeginWithoutReplay() {
	m.mu.Lock()
	defer m.done()
	m.s.BeginWithoutReplay()
}

// EndWithoutReplay ends what BeginWithoutReplay has begun.
func (m *Conn) EndWithoutReplay() {
	m.mu.Lock()
	defer m.done()
	m.s.EndWithoutReplay()
}

// Replays is how often the unit that is open was replayed.
func (m *Conn) Replays() int {
	m.mu.Lock()
	defer m.done()
	return m.s.Replays()
}

// Undiscerned says that nothing calls BeginWithoutReplay for this session. Once used is set, nothing of it is replayed: any call may be one that is not
// to be done twice. It is called before the session begins.
func (m *Conn) Undiscerned(used *atomic.Bool) { m.undiscerned = used }

// whyNotReplayed ends all replays of a session that is Undiscerned, and returns why, for the detail of an error; "" where that is not the reason. mu is
// held.
func (m *Conn) whyNotReplayed() string {
	if m.undiscerned == nil || !m.undiscerned.Load() {
		return ""
	}
	if !m.exempted {
		m.exempted = true
		m.s.BeginWithoutReplay()
	}
	return "; nothing is replayed, since driver.WithoutReplay is in use and the connection's Tracer is not the one that Fairlead has set (join the two with multitracer.New)"
}
