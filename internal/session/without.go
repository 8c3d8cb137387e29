package session

// exempt is what the count of a unit's replays is raised by while a call is under way that wants none: far more than any
// unit is granted. It outlives the unit, for one call may take several: a driver that prepares a statement ends a unit
// before it runs it.
const exempt = 1 << 16

// BeginWithoutReplay begins a call of the client's that is not to be done twice: the unit that is open is not replayed
// any more, nor is any that begins before the call ends. Calls may be nested.
func (s *Session) BeginWithoutReplay() { s.replays += exempt }

// EndWithoutReplay ends a call. The unit that it leaves open stays as it is.
func (s *Session) EndWithoutReplay() {
	if s.replays < exempt {
		return // NoReplay has put an end to counting
	}
	s.replays -= exempt
	switch {
	case s.replays >= exempt:
	case s.unitOpen():
		s.replays = maxReplays
	default:
		s.replays = 0
	}
}

// unitOpen reports whether the client has done anything since the session was last idle.
func (s *Session) unitOpen() bool {
	return !s.Idle() || s.delivered > 0 || len(s.journal) > s.base || len(s.tail) > 0
}

// freshReplays is the count that a unit begins with.
func (s *Session) freshReplays() int { return s.replays - s.replays%exempt }
