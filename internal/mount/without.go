package mount

// BeginWithoutReplay begins a call of the client's that is not to be done twice; EndWithoutReplay ends it. Calls may be
// nested.
func (m *Conn) BeginWithoutReplay() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.BeginWithoutReplay()
}

// EndWithoutReplay ends what BeginWithoutReplay has begun.
func (m *Conn) EndWithoutReplay() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s.EndWithoutReplay()
}

// Replays is how often the unit that is open was replayed.
func (m *Conn) Replays() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s.Replays()
}
