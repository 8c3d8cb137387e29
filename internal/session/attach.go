package session

import (
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// Adopt takes over the parameters of the upstream that a client is given with its startup.
func (s *Session) Adopt(params map[string]string) {
	s.params, s.paramsStale = maps.Clone(params), true
}

// Restore is the SQL that brings a fresh upstream to the session's settings and channels, empty when there is nothing
// to do. A resumed listener may have missed notifications; it is told so.
func (s *Session) Restore() string {
	return s.settings.restore() + s.listenAgain()
}

// Attached says that an upstream serves the session now, with its parameters as they are after Restore. The client
// learns those that differ from what it knows.
func (s *Session) Attached(params map[string]string, pid uint32) {
	s.pid = pid
	s.report(params)
	if s.listens() {
		s.emit(missedNotice("the connection moved to another server"))
	}
}

// report tells the client of parameters that differ from what it knows.
func (s *Session) report(params map[string]string) {
	if maps.Equal(params, s.params) { // as it mostly is where upstreams are shared
		return
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if s.params[name] != params[name] {
			s.params[name], s.paramsStale = params[name], true
			s.emit(&pgproto3.ParameterStatus{Name: name, Value: params[name]})
		}
	}
}

// Tell gives the client a notice.
func (s *Session) Tell(message string) {
	s.emit(&pgproto3.NoticeResponse{Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Message: message})
}

// ShowPID sets the process ID that the client was given, which its own notifications must carry on whatever upstream.
func (s *Session) ShowPID(pid uint32) { s.shownPID, s.pid = pid, pid }

// Set notes a setting that the session was started with and that the pool's own login does not make.
func (s *Session) Set(name, sql string) { s.settings.set(name, sql) }

// Needs reports whether some prepared statement of the session is not on the current upstream.
func (s *Session) Needs() bool {
	t := &s.statements
	return t.missing > 0 || t.unnamedAt != t.upstream && len(t.unnamed) > 0
}

// Truncated reports whether the journal does not have the whole unit.
func (s *Session) Truncated() bool { return s.truncated }

// Mark is a moment that Undo goes back to: just before a call of Client.
type Mark struct {
	sent, journal, base int
	pushed, seq         uint64
	evidence            int
	plain               bool // no piece of a message was left over
	skipping, copyIn    bool
	copyEnded           bool
	open                bool
}

// Mark notes the moment.
func (s *Session) Mark() Mark {
	return Mark{
		sent: s.sent, journal: len(s.journal), base: s.base, pushed: s.pushed, seq: s.seq, evidence: len(s.evidence),
		plain: len(s.tail) == 0 && s.skipBody == 0, skipping: s.skipping,
		copyIn: s.copyIn, copyEnded: s.copyEnded, open: s.open,
	}
}

// Undo takes back what Client made of bytes of which not one left the process, so that they can be given to it again.
// It reports whether that could be done; otherwise they count as sent.
func (s *Session) Undo(m Mark) bool {
	n := int(s.pushed - m.pushed)
	if !m.plain || len(s.tail) > 0 || s.skipBody > 0 || s.base != m.base || len(s.journal) < m.journal || n > len(s.outstanding()) {
		return false
	}
	for _, o := range s.queue[len(s.queue)-n:] {
		if o.keepsAside() {
			last := len(s.asides) - 1
			s.asidesKept -= s.asides[last].cost()
			s.asides = s.asides[:last]
		}
	}
	s.queue = s.queue[:len(s.queue)-n]
	s.journalVersion++
	s.journal, s.sent = s.journal[:m.journal], m.sent
	s.evidence = s.evidence[:min(m.evidence, len(s.evidence))]
	s.skipping, s.copyIn, s.copyEnded, s.open = m.skipping, m.copyIn, m.copyEnded, m.open
	s.segment, s.block = segment{}, blockUnknown
	if !s.Busy() {
		s.clearQueue()
		s.block = blockOf(s.status)
		if s.status == wire.StatusIdle && s.delivered == 0 {
			s.endUnit()
		}
	}
	return true
}

// NoReplay ends continuity for the unit in flight: its client has asked to cancel it.
func (s *Session) NoReplay() {
	if s.Busy() {
		s.replays, s.canceled = maxReplays, true
	}
}

// Journal is what the client has sent in this unit.
func (s *Session) Journal() []byte { return s.journal[s.base:] }

// Unsent is what the client sent since the last upstream was lost, and no other has had yet.
func (s *Session) Unsent() []byte { return s.journal[s.sent:] }

// Replays is how often the unit was replayed.
func (s *Session) Replays() int { return s.replays }

// FailNext answers the client's next statement with the problem. The session has no upstream any more.
func (s *Session) FailNext(p Problem) {
	s.leave()
	s.answerFrom(&p)
}

// Refused says that the server has refused the statement in hand as read-only, so that what is in flight has had no
// effect; Lost is called next.
func (s *Session) Refused() { s.refusedReadOnly = true }
