package session

import (
	"fmt"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// CodeLimit is the SQLSTATE of what would have a session keep more than its limit.
const CodeLimit = "54000"

// overLimit is the fault of a message that would have the session keep more than its limit. It is answered as a malformed one is.
const overLimit wire.Fault = 1 << 15

// What each thing that is kept costs beyond its text, in bytes. A setting counts several times: each hand-over may send it.
const (
	statementCost = 256
	settingCost   = 256
	settingTimes  = 4
	changeCost    = 128
	channelCost   = 256
	nameCost      = 64
	opCost        = 12
)

// slack is by how much the unnamed statement may pass the limit, in bytes, so that a client at its limit can go on.
const slack = 64 << 10

// What is outstanding at most before answers are waited for.
const (
	maxOutstanding = 16 << 10
	maxAside       = 1 << 20 // bytes
)

// Kept is how many bytes the session keeps for its client.
func (s *Session) Kept() int {
	t, st := &s.settings, &s.statements
	return st.kept + len(st.unnamed) + t.kept + s.namesKept + s.asidesKept +
		len(s.journal) + len(s.tail) + len(s.out) + len(s.inbox) + len(s.outstanding())*opCost + len(s.onTheWay.names)*nameCost
}

// Excess reports whether the session keeps so much that its client cannot go on: what was refused in time has not helped.
func (s *Session) Excess() bool { return s.MemoryLimit > 0 && s.Kept() > 2*s.MemoryLimit }

// Crowded reports whether so much is outstanding that answers have to be waited for.
func (s *Session) Crowded() bool {
	return len(s.outstanding()) > maxOutstanding || s.asidesKept > maxAside
}

// Flushed says that the upstream was asked for the answers to all that is outstanding.
func (s *Session) Flushed() { s.due = s.pushed }

// LimitProblem is what a client is told that passes its limit.
func LimitProblem(limit int) Problem {
	return Problem{
		Code:    CodeLimit,
		Message: fmt.Sprintf("fairlead: the session would keep more than %d bytes (client_memory_limit)", limit),
		Detail:  "It was not run. Prepared statements, settings, channels and open savepoints count, and what is not answered yet.",
		Hint:    "DEALLOCATE, RESET, UNLISTEN or end the transaction, or let clients have more.",
	}
}

func (st *Statement) cost() int { return len(st.Parse) + len(st.SQL) + len(st.name) + statementCost }

func settingKept(name, sql string) int { return settingTimes*(len(name)+len(sql)) + settingCost }

func (c *change) cost() int { return len(c.savepoint) + len(c.name) + len(c.sql) + changeCost }

func (a *aside) cost() (n int) {
	if a.statement != nil {
		n += a.statement.cost()
	}
	for _, t := range a.texts {
		n += len(t.text) + nameCost
	}
	for _, v := range a.params.values {
		n += len(v)
	}
	return n + len(a.closes) + nameCost
}

// tooMuch reports whether so many bytes more would pass the limit.
func (s *Session) tooMuch(n int) bool { return s.MemoryLimit > 0 && s.Kept()+n > s.MemoryLimit }

// refusesSize reports whether a message of that size is refused before it has come: it would have to be read whole.
func (s *Session) refusesSize(kind byte, n int) bool {
	if s.MemoryLimit == 0 || n <= streamFrom {
		return false
	}
	switch {
	case s.local.on, kind == wire.Query && s.NoBlocks:
		return n > s.MemoryLimit
	case kind == wire.Parse:
		return s.id != 0 && s.tooMuch(n-len(s.tail))
	}
	return false
}

// affordable returns whole messages with what stands for those that the session cannot afford.
func (s *Session) affordable(whole []byte) []byte {
	if !s.tooMuch(settingTimes*len(whole) + len(whole)/wire.HeaderLen*statementCost) {
		return whole
	}
	var b []byte
	refused, more := false, 0
	eachMessage(whole, func(msg []byte) {
		n := s.costOf(msg)
		if n > 0 && s.tooMuch(more+n) {
			b, refused = appendViolation(b, msg[0], overLimit), true
			return
		}
		more += n
		b = append(b, msg...)
	})
	if !refused {
		return whole
	}
	return b
}

// costOf is what a message may have the session keep, beyond its answer.
func (s *Session) costOf(msg []byte) int {
	switch msg[0] {
	case wire.Parse:
		if name, _ := parseParts(msg); len(name) == 0 {
			return max(0, len(msg)-len(s.statements.unnamed)-slack)
		}
		return len(msg) + statementCost
	case wire.Query:
		text, _, _ := wire.CString(wire.Body(msg))
		return s.lastingCost(string(text))
	case wire.Bind:
		portal, _, _ := wire.CString(wire.Body(msg))
		n := 0
		if len(portal) > 0 {
			n = len(portal) + nameCost
		}
		name, _ := statementOf(msg)
		if text := s.statements.textBefore(string(name)); text != "" && s.lastingCost(text) > 0 {
			n += settingTimes*len(msg) + settingCost
		}
		return n
	}
	return 0
}

// lastingCost is what the statements of a text may have the session keep.
func (s *Session) lastingCost(text string) (n int) {
	list, err := sqltext.Split(text, s.options())
	if err != nil {
		return 0
	}
	for _, st := range list {
		switch st.Kind {
		case sqltext.Set, sqltext.SetLocal:
			n += settingTimes*len(st.Text) + settingCost
		case sqltext.Savepoint, sqltext.Listen, sqltext.Prepare:
			n += len(st.Text) + settingCost
		case sqltext.Reset, sqltext.Discard, sqltext.Deallocate, sqltext.Unlisten:
		default:
			if mentionsSetConfig(st.Text) {
				n += settingTimes*len(st.Text) + settingCost
			}
		}
	}
	return n
}
