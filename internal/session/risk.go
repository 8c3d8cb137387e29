package session

import (
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// Calm reports whether the server can be asked something between two messages of the client's: nothing is outstanding, and nothing
// is half sent.
func (s *Session) Calm() bool {
	return !s.Busy() && !s.open && !s.skipping && !s.copyIn && !s.local.on && !s.Waits() && !s.HasUnsent() && s.streaming == 0 && s.skipBody == 0
}

// Risky reports whether what the client is about to send may have an effect of which it could not be told whether it happened, if
// the answer were lost.
func (s *Session) Risky(p []byte) (risky bool) {
	if s.mode != Full || s.probe == commit.Marker {
		return false
	}
	if len(s.tail) > 0 {
		return true
	}
	whole := 0
	eachMessage(p, func(msg []byte) {
		whole += len(msg)
		risky = risky || s.risks(msg)
	})
	return risky || whole < len(p)
}

// risks is Risky for one message.
func (s *Session) risks(msg []byte) bool {
	switch msg[0] {
	case wire.Query:
		text, _, ok := wire.CString(wire.Body(msg))
		return !ok || s.riskyText(string(text))
	case wire.Parse:
		_, text := parseParts(msg)
		return s.riskyText(string(text))
	case wire.Bind:
		name, ok := statementOf(msg)
		if !ok || len(name) == 0 {
			return !ok // the unnamed statement comes with it, or was looked at when it came
		}
		st := s.statements.named[string(name)]
		return st != nil && s.riskyText(st.Text())
	case wire.FunctionCall:
		return s.status == wire.StatusIdle
	}
	return false
}

// riskyText is Risky for a text: outside of a transaction for what is not known to have no effect, within one for what may end it.
func (s *Session) riskyText(text string) bool {
	o := s.options()
	list, err := sqltext.Split(text, o)
	if err != nil {
		return false // the server refuses it
	}
	for _, st := range list {
		if s.status == wire.StatusIdle {
			if !harmless(st.Text, o) {
				return true
			}
			continue
		}
		switch sqltext.Classify(st.Text, o) {
		case sqltext.Commit, sqltext.CommitChain, sqltext.PrepareTransaction, sqltext.Unknown:
			return true
		}
	}
	return false
}
