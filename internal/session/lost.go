package session

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// maxReplays bounds how often one unit is replayed: a statement that crashes servers must not crash all of them.
const maxReplays = 3

// Verdict is what follows from the loss of an upstream.
type Verdict uint8

const (
	// Idle: nothing was in flight. The session needs an upstream when it next has something to send.
	Idle Verdict = iota
	// Replay: what was in flight had no effect. BeginReplay gives what is to be sent to another upstream.
	Replay
	// Answered: the session has told its client what became of the work, in TakeOut.
	Answered
	// Ended: TakeOut has the last words for the client, and its connection has to be closed.
	Ended
)

// Reason is why a session took the verdict that it took, for metrics.
type Reason string

// Reasons of verdicts.
const (
	ReasonIdle        Reason = "resumed_idle"
	ReasonRead        Reason = "replayed_read"
	ReasonTransaction Reason = "transaction_lost"
	ReasonUndecided   Reason = "undecided"
	ReasonNotSent     Reason = "not_committed"
	ReasonDiverged    Reason = "diverged"
	ReasonState       Reason = "state_lost"
	ReasonNoUpstream  Reason = "no_upstream"
	ReasonEnded       Reason = "ended"
)

// saved is the session as its client knows it, while a replay is on its way there.
type saved struct {
	queue     []op
	status    byte
	delivered int64
	sum       uint64
}

// Lost says that the upstream is gone, with its own last words or the error that showed it. The session has none until
// Attached is called.
func (s *Session) Lost(cause string) (Verdict, Reason) {
	s.abandonReplay()
	s.statements.moved()
	skipping := s.skipping
	refused := s.refusedReadOnly && s.status == wire.StatusIdle && !s.truncated && !s.confused && !s.copied
	s.skipping, s.acceptReadOnly, s.refusedReadOnly = false, false, false
	defer func() { s.copyIn = false }()
	switch {
	case s.local.on:
		return Idle, ReasonIdle
	case s.streaming > 0 || s.mode == Off:
		s.out = append(s.out, s.lastWords(cause)...)
		return Ended, ReasonEnded
	case s.sentBusy():
		if s.replays < maxReplays && (refused || s.replayable()) {
			return Replay, s.replayReason()
		}
		defer s.forgetState()
		return s.fail(cause, nil)
	case s.status == wire.StatusTransaction && s.replays < maxReplays && s.replayable():
		return Replay, s.replayReason()
	case s.status != wire.StatusIdle:
		s.answerFrom(s.transactionLost(cause))
		s.forgetState()
		s.local.reported = s.status == wire.StatusFailed
		s.local.skip = skipping
		s.answerUnsent()
		return Answered, ReasonTransaction
	case skipping:
		// The segment failed and its Sync has not come: the client knows of the error already.
		s.answerFrom(nil)
		s.local.skip = true
		s.answerUnsent()
		return Answered, ReasonIdle
	}
	if held := s.held(); held != "" {
		s.forgetState()
		s.answerFrom(&Problem{
			Code:    CodeStateLost,
			Message: "fairlead: the session moved to another server and lost state that cannot be carried over: " + held,
			Detail:  cause,
			Hint:    "The session is usable; set up again what it needs, then repeat the statement, which was not run.",
		})
		s.answerUnsent()
		return Answered, ReasonState
	}
	s.base = s.sent
	return Idle, ReasonIdle
}

// sentBusy reports whether anything is outstanding that an upstream was given.
func (s *Session) sentBusy() bool {
	if !s.Busy() {
		return false
	}
	first := s.queue[s.head]
	return first.start < 0 || int(first.start) < s.sent
}

func (s *Session) replayReason() Reason {
	if !s.sentBusy() && len(s.journal) == s.base {
		return ReasonIdle
	}
	return ReasonRead
}

// lastWords are a FATAL error: no statement of the client's can be answered any more.
func (s *Session) lastWords(cause string) []byte {
	b, err := (&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: CodeStateLost,
		Message: "fairlead: the connection to the server was lost", Detail: cause,
		Hint: "The statement in flight, if any, may or may not have taken effect.",
	}).Encode(nil)
	if err != nil {
		panic("session: " + err.Error())
	}
	return b
}

// answerUnsent has the session answer what no upstream was given.
func (s *Session) answerUnsent() {
	unsent := s.journal[s.sent:]
	s.clearQueue()
	var out Out
	n := s.answerAll(unsent, &out)
	rest := append([]byte(nil), unsent[n:]...)
	s.dropJournal()
	s.requeue(rest)
}

// requeue makes messages that no upstream has had the whole content of journal and queue.
func (s *Session) requeue(rest []byte) {
	s.clearQueue()
	s.journal = append(s.journal[:0], rest...)
	s.base, s.sent = 0, 0
	var out Out
	at := 0
	eachMessage(s.journal, func(msg []byte) {
		s.request(msg, at, &out)
		at += len(msg)
	})
}

// Unsent is what an upstream still has to be given: what the client sent since its upstream was lost.
func (s *Session) Unsent() []byte { return s.journal[s.sent:] }

func (s *Session) transactionLost(cause string) *Problem {
	p := &Problem{
		Code:    CodeSerialization,
		Message: "fairlead: the transaction was lost with the connection to the server",
		Detail:  cause,
		Hint:    "Nothing of it was committed. Run the transaction again.",
	}
	if held := s.held(); held != "" {
		p.Detail += "; the session has lost as well: " + held
	}
	if s.truncated {
		p.Detail += fmt.Sprintf("; the transaction's statements exceed the journal limit of %d bytes", s.limit)
	}
	return p
}

// replayable reports whether the unit provably has no effect that outlives its connection.
func (s *Session) replayable() bool {
	if s.truncated || s.confused || s.copied || s.statements.closed || s.held() != "" {
		return false
	}
	o := s.options()
	ok := true
	s.eachStatement(s.journal[s.base:s.sent], func(sql string) {
		ok = ok && sql != unknownStatement && harmless(sql, o)
	})
	return ok
}

// unknownStatement stands for work whose text is not known, or that is no SQL.
const unknownStatement = "\x00"

// eachStatement calls f with the SQL that messages of the journal execute.
func (s *Session) eachStatement(msgs []byte, f func(sql string)) {
	s.eachRequest(msgs, s.base, func(o op) { s.statementsOf(o, f) })
}

// eachRequest calls f with each message of a part of the journal that begins at the given offset.
func (s *Session) eachRequest(msgs []byte, at int, f func(o op)) {
	eachMessage(msgs, func(msg []byte) {
		f(op{kind: msg[0], start: int32(at), end: int32(at + len(msg))})
		at += len(msg)
	})
}

// statementsOf calls f with the SQL that one request executes.
func (s *Session) statementsOf(o op, f func(sql string)) {
	switch o.kind {
	case wire.Query:
		msg := s.message(o)
		if msg == nil {
			f(unknownStatement)
			return
		}
		text, _, _ := wire.CString(wire.Body(msg))
		list, err := sqltext.Split(string(text), s.options())
		if err != nil {
			f(unknownStatement) // the server will refuse it as well, but that is for the server to say
			return
		}
		for _, st := range list {
			f(st.Text)
		}
	case wire.Execute:
		if s.bindOf(o) == nil {
			f(unknownStatement)
			return
		}
		f(s.portalStatement(o))
	case wire.FunctionCall, wire.CopyData, wire.CopyDone:
		f(unknownStatement)
	}
}

// harmless reports whether a statement can be run again: it reads, or what it changes dies with its connection.
func harmless(sql string, o sqltext.Options) bool {
	switch sqltext.Classify(sql, o) {
	case sqltext.Empty, sqltext.Begin, sqltext.Commit, sqltext.CommitChain, sqltext.Rollback, sqltext.RollbackChain,
		sqltext.RollbackTo, sqltext.Savepoint, sqltext.Release,
		sqltext.Set, sqltext.SetLocal, sqltext.SetTransaction, sqltext.SetCharacteristics, sqltext.SetConstraints,
		sqltext.Reset, sqltext.Discard, sqltext.Show,
		sqltext.Listen, sqltext.Unlisten, sqltext.Prepare, sqltext.Deallocate:
		return true
	}
	pure, _ := sqltext.Pure(sql, o)
	return pure
}

// BeginReplay returns what the new upstream is to be sent, all that the old one was and what it never got. What it
// answers is compared with what the client was given before any of it is delivered.
func (s *Session) BeginReplay() []byte {
	if s.saved == nil {
		s.saved = &saved{delivered: s.delivered, sum: s.hash.Sum64()}
	}
	s.saved.queue, s.saved.status = append([]op(nil), s.outstanding()...), s.status
	s.replays++
	s.verify, s.verifySum = s.saved.delivered, s.saved.sum
	s.hash.Reset()
	s.delivered = 0
	s.clearQueue()
	s.settings.rollback()
	var out Out
	at := s.base
	eachMessage(s.journal[s.base:], func(msg []byte) {
		s.request(msg, at, &out)
		at += len(msg)
	})
	if s.verify == 0 {
		s.saved = nil
	}
	s.sent = len(s.journal)
	return s.journal[s.base:]
}

// Resuming reports whether a replay has not caught up yet with what the client was given.
func (s *Session) Resuming() bool { return s.verify > 0 }

// abandonReplay goes back to what the client knows, when a replay has not caught up with it.
func (s *Session) abandonReplay() {
	if s.verify == 0 {
		s.saved = nil
		return
	}
	s.queue, s.head = append(s.queue[:0], s.saved.queue...), 0
	s.status = s.saved.status
	s.verify = 0
}

// Refuse says that the work in flight cannot be carried over after all: the replay diverged, no upstream was found in
// time, or it would not mean the same there. The upstream, if there is one, must not be used any further.
func (s *Session) Refuse(p Problem) (Verdict, Reason) {
	s.abandonReplay()
	s.statements.moved()
	s.skipping = false
	if s.local.on {
		return Answered, ReasonNoUpstream
	}
	return s.fail(p.Detail, &p)
}

// fail answers all that is outstanding with an error.
func (s *Session) fail(cause string, given *Problem) (Verdict, Reason) {
	if v, ok := s.finish(cause); ok {
		return v, ReasonTransaction
	}
	doubt, first := s.inDoubt()
	reason := ReasonNotSent
	lost := s.transactionLost(cause)
	if given != nil {
		lost = given
	}
	if doubt {
		reason = ReasonUndecided
	} else if s.status != wire.StatusIdle {
		// Not committed: from here on the session answers as a failed transaction does.
		reason = ReasonTransaction
		queue := append([]op(nil), s.outstanding()...)
		s.answerFrom(lost)
		s.answerQueue(queue)
		return Answered, reason
	}
	undecided := Problem{
		Code:    CodeUndecided,
		Message: "fairlead: the connection was lost while a commit was in flight; whether it took effect is not known",
		Detail:  cause,
		Hint:    "Look whether the change is there before repeating it. The session is usable.",
	}
	segment, open, answered := 0, false, false
	for _, o := range s.outstanding() {
		if !s.wasSent(o) {
			break
		}
		if !answered {
			p := *lost
			if doubt && segment >= first {
				p = undecided
			}
			s.emitProblem(p)
			answered = true
		}
		open = true
		if endsSegment(o.kind) {
			s.status = wire.StatusIdle
			s.emit(&pgproto3.ReadyForQuery{TxStatus: s.status})
			segment++
			open, answered = false, false
		}
	}
	s.status = wire.StatusIdle
	s.settings.rollback()
	s.copied = false
	if open {
		s.answerFrom(nil)
		s.local.reported, s.local.skip = true, true
		s.answerUnsent()
		return Answered, reason
	}
	rest := append([]byte(nil), s.Unsent()...)
	s.endUnitAfterFailure()
	s.requeue(rest)
	return Answered, reason
}

func (s *Session) wasSent(o op) bool { return o.start < 0 || int(o.start) < s.sent }

// answerQueue has the session answer requests that are outstanding, whether they were sent or not.
func (s *Session) answerQueue(queue []op) {
	msgs := make([][]byte, len(queue))
	for i, o := range queue {
		if m := s.message(o); m != nil {
			msgs[i] = append([]byte(nil), m...)
		} else {
			msgs[i] = []byte{o.kind, 0, 0, 0, 4}
		}
	}
	s.dropJournal()
	s.clearQueue()
	var out Out
	for i, m := range msgs {
		if !s.local.on {
			s.requeue(joined(msgs[i:]))
			return
		}
		s.answer(m, &out)
	}
}

func joined(msgs [][]byte) (all []byte) {
	for _, m := range msgs {
		all = append(all, m...)
	}
	return all
}

// endUnitAfterFailure forgets the unit, and what its replays have cost.
func (s *Session) endUnitAfterFailure() {
	s.clearQueue()
	s.confused = false
	s.endUnit()
}

// finish answers work whose end the client was already told: all that is missing is ReadyForQuery.
func (s *Session) finish(cause string) (Verdict, bool) {
	out := s.outstanding()
	if len(out) != 1 || !s.wasSent(out[0]) {
		return 0, false
	}
	last := out[0]
	switch {
	case last.kind == wire.Sync && s.ended:
	case last.kind == wire.Query && last.commands > 0 && int(last.commands) == s.statementCount(last):
	default:
		return 0, false
	}
	status := wire.StatusIdle
	if !s.truncated {
		s.eachStatement(s.journal[s.base:last.end], func(sql string) {
			switch sqltext.Classify(sql, s.options()) {
			case sqltext.Begin, sqltext.CommitChain, sqltext.RollbackChain:
				status = wire.StatusTransaction
			case sqltext.Commit, sqltext.Rollback:
				status = wire.StatusIdle
			}
		})
	} else if last.kind == wire.Query && s.status != wire.StatusIdle && !s.ended {
		status = wire.StatusTransaction
	}
	if status == wire.StatusTransaction && s.status == wire.StatusFailed {
		status = wire.StatusFailed
	}
	s.emit(&pgproto3.ReadyForQuery{TxStatus: status})
	s.status = status
	s.endUnitAfterFailure()
	if status != wire.StatusIdle {
		s.answerFrom(s.transactionLost(cause))
		s.local.reported = status == wire.StatusFailed
	}
	return Answered, true
}

func (s *Session) statementCount(o op) (n int) {
	s.statementsOf(o, func(sql string) {
		if sql != unknownStatement {
			n++
		}
	})
	return n
}

// inDoubt reports whether anything of what was sent may have been committed without the client knowing, and the first
// outstanding segment for which that is so. It follows the unit's statements from its beginning; what it cannot read
// counts as a change, and as the end of a transaction.
func (s *Session) inDoubt() (doubt bool, first int) {
	m := tracker{o: s.options()}
	from, outstanding := s.base, len(s.journal)
	if s.Busy() {
		outstanding = int(s.queue[s.head].start)
	}
	if s.truncated || outstanding < 0 {
		// The beginning is missing: an open transaction has changed something, and so may have an open segment.
		m.inBlock = s.status != wire.StatusIdle
		m.dirty = true
		from = outstanding
	}
	if from >= 0 {
		s.eachRequest(s.journal[from:s.sent], from, func(o op) {
			if int(o.start) == outstanding && s.status == wire.StatusFailed {
				m.failed = true
			}
			s.track(&m, o)
			if int(o.start) >= outstanding && endsSegment(o.kind) {
				m.segment++
			}
		})
		return m.doubt, m.first
	}
	for _, o := range s.outstanding() {
		if !s.wasSent(o) {
			break
		}
		s.track(&m, o)
		if endsSegment(o.kind) {
			m.segment++
		}
	}
	return m.doubt, m.first
}

func endsSegment(kind byte) bool {
	return kind == wire.Sync || kind == wire.Query || kind == wire.FunctionCall
}

// tracker follows a client's statements through transactions.
type tracker struct {
	o         sqltext.Options
	inBlock   bool // between BEGIN and its end
	failed    bool // in a block that can only be rolled back
	dirty     bool // something was changed since the last commit
	dirtyFrom int  // segment of the first change
	segment   int
	doubt     bool
	first     int
}

func (m *tracker) touch() {
	if !m.dirty {
		m.dirty, m.dirtyFrom = true, m.segment
	}
}

func (m *tracker) commit() {
	if m.dirty && !m.doubt {
		m.doubt, m.first = true, m.dirtyFrom
	}
	m.dirty = false
}

// track follows one request.
func (s *Session) track(m *tracker, o op) {
	s.statementsOf(o, func(sql string) {
		if sql == unknownStatement {
			m.touch()
			if m.inBlock && !m.failed && o.kind != wire.CopyData && o.kind != wire.CopyDone {
				m.commit()
			}
			return
		}
		switch sqltext.Classify(sql, m.o) {
		case sqltext.Begin:
			m.inBlock = true
		case sqltext.Commit, sqltext.CommitChain, sqltext.PrepareTransaction:
			if !m.failed {
				m.commit()
			}
			m.inBlock, m.failed, m.dirty = false, false, false
		case sqltext.Rollback, sqltext.RollbackChain:
			m.inBlock, m.failed, m.dirty = false, false, false
		case sqltext.RollbackTo:
			m.failed = false
		default:
			if !harmless(sql, m.o) {
				m.touch()
			}
		}
	})
	// Each segment outside a block ends with a commit; one that still reads COPY data cannot have come that far.
	if endsSegment(o.kind) && !m.inBlock && !s.copyIn {
		m.commit()
	}
}
