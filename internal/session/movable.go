package session

import "github.com/fairlead-go/fairlead/internal/wire"

// Movable reports whether the session can go over to another upstream with its next statement and lose nothing.
func (s *Session) Movable() bool {
	return s.mode != Off && s.Quiet() && s.status == wire.StatusIdle && len(s.tail) == 0 && s.skipBody == 0 && !s.look && s.held() == "" && !s.Listening()
}
