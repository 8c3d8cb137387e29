package session

import "bytes"

// maxCalled bounds the names of functions that are kept to be asked about.
const maxCalled = 64

// wonder keeps the names of functions that were called and that nothing is known of yet.
func (s *Session) wonder(names []string) {
	if s.state&stateOpaque == 0 {
		s.called, s.calledOther = nil, false
	}
	if len(names) == 0 || s.Functions == nil || len(s.called)+len(names) > maxCalled {
		s.calledOther = true
		return
	}
	s.called = append(s.called, names...)
}

// Wonders reports whether it has to be asked what the functions that tie the session to its upstream can do.
func (s *Session) Wonders() bool {
	return s.state&stateOpaque != 0 && !s.calledOther && s.Functions != nil && !s.Functions.Fresh()
}

// Reconsider takes in what is known of functions by now.
func (s *Session) Reconsider() {
	if s.state&stateOpaque != 0 && !s.calledOther && s.Functions.Harmless(s.called) {
		s.state &^= stateOpaque
		s.unitState &^= stateOpaque
		s.called = nil
	}
}

// noteDefinition takes in a command that may have made or changed functions. Others see them once the unit is committed.
func (s *Session) noteDefinition(tag []byte) {
	verb, what, _ := bytes.Cut(tag, []byte{' '})
	switch string(verb) {
	case "CREATE", "ALTER", "DROP":
		switch string(what) {
		case "FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "EXTENSION", "SCHEMA":
		default:
			return
		}
	case "DO", "CALL":
	default:
		return
	}
	s.redefines = true
	s.Functions.Changed()
}
