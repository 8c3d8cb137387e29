package session

import "github.com/fairlead-go/fairlead/internal/sqltext"

const (
	stateTempTable  sqltext.StateMask = 1 << 30
	stateHeldCursor sqltext.StateMask = 1 << 31
)

// heldStates are the kinds of state that nothing can carry over, in the words of an error.
var heldStates = []struct {
	mask sqltext.StateMask
	name string
}{
	{stateTempTable, "temporary tables"},
	{stateHeldCursor, "WITH HOLD cursors"},
}

func (s *Session) callsSetConfig() bool            { return false }
func (s *Session) setConfig(head byte, sql string) {}
