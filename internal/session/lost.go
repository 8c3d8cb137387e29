package session

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// maxReplays bounds how often one unit is replayed: a statement that crashes servers must not crash all of them.
const maxReplays = 5

// maxRestarts bounds how often replays of one unit are begun again over a deadlock, a lock timeout and the like.
const maxRestarts = 20

// Verdict is what follows from the loss of an upstream.
type Verdict uint8

const (
	// Idle: nothing was in flight. The session needs an upstream when it next has something to send.
	Idle Verdict = iota
	// Replay: what was in flight had no effect. BeginReplay gives what is to be sent to another upstream.
	Replay
	// Resolve: whether a commit in flight took effect is to be asked of the writer. Doubt says what to ask, Decided takes
	// the answer, and Settle gives the verdict that follows.
	Resolve
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
	ReasonReplayed    Reason = "replayed_transaction"
	ReasonCommitted   Reason = "decided_committed"
	ReasonAborted     Reason = "decided_aborted" // and replayed
	ReasonTransaction Reason = "transaction_lost"
	ReasonUndecided   Reason = "undecided"
	ReasonNotSent     Reason = "not_committed"
	ReasonDiverged    Reason = "diverged"
	ReasonState       Reason = "state_lost"
	ReasonNoUpstream  Reason = "no_upstream"
	ReasonEnded       Reason = "ended"
)

// Lost says that the upstream is gone, with its own last words or the error that showed it. The session has none until
// Attached is called.
func (s *Session) Lost(cause string) (Verdict, Reason) {
	s.obstacle = s.findObstacle()
	return s.reportHeld(s.lost(cause))
}

// reportHeld has the client's next statement learn what went down with the upstream, if nothing has told him yet.
func (s *Session) reportHeld(v Verdict, r Reason) (Verdict, Reason) {
	held := s.held()
	if v != Idle && v != Answered || held == "" {
		return v, r
	}
	p := stateLost(held, s.cause)
	s.forgetState()
	if s.local.on {
		s.owed, s.owedState = p, held
		return v, r
	}
	s.answerFrom(p)
	s.answerUnsent()
	return Answered, ReasonState
}

func (s *Session) lost(cause string) (Verdict, Reason) {
	begun := s.saved != nil || (s.delivered > 0 || s.truncated) && s.status == wire.StatusIdle // a unit is not over
	s.abandonReplay()
	s.leave()
	skipping := s.skipping
	refused := s.refusedReadOnly && s.status == wire.StatusIdle && !s.truncated && !s.confused && !s.copied
	s.skipping, s.acceptReadOnly, s.acceptAck, s.refusedReadOnly = false, false, false, false
	s.doubts, s.cause = nil, cause
	s.wasSkipping, s.dropBody = skipping, s.skipBody > 0
	s.probe = 0
	if skipping && !s.inBlock {
		s.setStatus(wire.StatusIdle) // the client knows of the error that ended its transaction, and not yet of its ReadyForQuery
	}
	if !skipping && !s.inBlock && !s.Idle() && s.chained() {
		s.inBlock, s.ended = true, false
	}
	defer func() { s.copyIn, s.copyEnded, s.copyFailed = false, false, false }()
	switch {
	case s.local.on:
		return Idle, ReasonIdle
	case s.streaming > 0 || s.mode == Off:
		s.out = append(s.out, s.lastWords(cause)...)
		return Ended, ReasonEnded
	case s.ended && !s.Busy():
		// A COMMIT or ROLLBACK was answered; nothing but the Sync behind it has still to come.
		s.finished(wire.StatusIdle, cause)
		return Idle, ReasonIdle
	case s.sentBusy() || begun && s.status == wire.StatusIdle:
		if refused && s.replays%exempt < maxReplays || s.replays < maxReplays && s.replayable() {
			return Replay, s.replayReason()
		}
		if v, ok := s.finish(cause, s.sound()); ok {
			return v, ReasonTransaction
		}
		return s.inFlight(cause)
	case s.openTransaction() && s.replays < maxReplays && (s.replayable() || s.untouched()):
		return Replay, s.replayReason()
	case s.status != wire.StatusIdle:
		if skipping {
			s.setStatus(wire.StatusFailed)
		}
		s.answerFrom(s.transactionLost(cause))
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
	if s.held() != "" {
		return Idle, ReasonState
	}
	s.dropUnsent()
	s.base = s.sent
	return Idle, ReasonIdle
}

// openTransaction reports whether the client is in a transaction that it can go on with.
func (s *Session) openTransaction() bool {
	return s.status == wire.StatusTransaction || s.status == wire.StatusFailed && s.hasSavepoint()
}

// untouched reports whether nothing of the unit can have been committed, and it can be run again.
func (s *Session) untouched() bool {
	points, sound := s.commitPoints()
	return sound && len(points) == 0 && s.repeatable()
}

func stateLost(held, cause string) *Problem {
	return &Problem{
		Code:    CodeStateLost,
		Message: "fairlead: the session moved to another server and lost state that cannot be carried over: " + held,
		Detail:  cause,
		Hint:    "The session is usable; set up again what it needs, then repeat the statement, which has had no effect.",
	}
}

// inFlight is the verdict on work in flight that may have had an effect.
func (s *Session) inFlight(cause string) (Verdict, Reason) {
	points, sound := s.commitPoints()
	switch {
	case sound && len(points) == 0 && s.replays < maxReplays && !s.rollsBack() && s.repeatable():
		return Replay, ReasonReplayed
	case sound && len(points) > 0 && s.mode == Full && s.takeDoubts(points):
		return Resolve, ReasonUndecided
	}
	return s.fail(cause, nil)
}

// rollsBack reports whether the first thing in flight ends the transaction without committing it. It needs no server.
func (s *Session) rollsBack() bool {
	for _, o := range s.clientOps() {
		first, found, answered := sqltext.Unknown, false, int(o.commands)
		s.statementsOf(o, func(sql string) {
			if answered--; answered < 0 && !found {
				first, found = sqltext.Classify(sql, s.options()), true
			}
		})
		if found {
			return first == sqltext.Rollback || s.status == wire.StatusFailed && first == sqltext.Commit
		}
	}
	return false
}

// sentBusy reports whether anything is outstanding that an upstream was given.
func (s *Session) sentBusy() bool { return s.Busy() && s.wasSent(s.queue[s.head]) }

func (s *Session) wasSent(o op) bool { return o.start < 0 || int(o.start) < s.sent }

func (s *Session) replayReason() Reason {
	switch {
	case !s.sentBusy() && len(s.journal) == s.base:
		return ReasonIdle
	case s.replayable():
		return ReasonRead
	}
	return ReasonReplayed
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

func (s *Session) transactionLost(cause string) *Problem {
	p := &Problem{
		Code:    CodeSerialization,
		Message: "fairlead: the transaction was lost with the connection to the server",
		Detail:  cause,
		Hint:    "Nothing of it was committed. Run the transaction again.",
	}
	p.Detail += s.alsoLost()
	if s.truncated {
		p.Detail += fmt.Sprintf("; the transaction's statements exceed the journal limit of %d bytes", s.limit)
	}
	return p
}

// alsoLost names the state that went down with the connection, for a detail.
func (s *Session) alsoLost() string {
	if held := s.held(); held != "" {
		return "; the session has lost as well: " + held
	}
	return ""
}

// Refuse says that the work in flight cannot be carried over after all: the replay diverged, no upstream was found in
// time, or it would not mean the same there. The upstream, if there is one, must not be used any further.
func (s *Session) Refuse(p Problem) (Verdict, Reason) { return s.reportHeld(s.refuseAll(p)) }

func (s *Session) refuseAll(p Problem) (Verdict, Reason) {
	s.abandonReplay()
	s.leave()
	s.skipping = false
	s.doubts = nil
	if s.local.on {
		return Answered, ReasonNoUpstream
	}
	if v, ok := s.finish(p.Detail, false); ok {
		return v, ReasonTransaction
	}
	return s.fail(p.Detail, &p)
}

// fail answers all that is outstanding with an error.
func (s *Session) fail(cause string, given *Problem) (Verdict, Reason) {
	points, _ := s.commitPoints()
	if s.inBlock && (s.inError || s.wasSkipping && !s.sentBusy()) {
		s.setStatus(wire.StatusFailed) // the client knows of the error, and not yet of its ReadyForQuery
	}
	if s.Busy() && s.queue[s.head].flags&flagFailed != 0 && !s.inBlock {
		s.setStatus(wire.StatusIdle) // the same of one that ended its transaction
	}
	lost := s.transactionLost(cause)
	if held := s.held(); held != "" && len(points) == 0 && s.status == wire.StatusIdle {
		lost = stateLost(held, cause)
	}
	if given != nil {
		lost = given
	}
	if len(points) == 0 && s.status != wire.StatusIdle {
		// Not committed: from here on the session answers as a failed transaction does.
		queue := append([]op(nil), s.clientOps()...)
		if len(queue) > 0 && queue[0].kind == wire.Query && queue[0].commands > 0 {
			return s.failRest(lost, queue[1:])
		}
		s.answerFrom(lost)
		s.local.reported = s.status == wire.StatusFailed
		s.answerQueue(queue)
		return Answered, ReasonTransaction
	}
	if !s.sentBusy() {
		if unsent := s.Unsent(); (s.delivered > 0 || s.truncated) && (len(unsent) == 0 || unsent[0] != wire.Query) {
			// Everything of the segment but its Sync was answered, or a replay of it held the Sync back.
			s.emitProblem(*lost)
			s.answerFrom(nil)
			s.local.reported, s.local.skip = true, true
		} else {
			s.answerFrom(lost)
		}
		s.answerUnsent()
		return Answered, ReasonNotSent
	}
	reason := ReasonNotSent
	undecidedFrom := -1
	if len(points) > 0 {
		reason, undecidedFrom = ReasonUndecided, max(points[0].from, 0)
	}
	s.answerSegments(func(i int) *Problem {
		if undecidedFrom >= 0 && i >= undecidedFrom {
			return s.undecided(cause)
		}
		return lost
	})
	return Answered, reason
}

// failRest answers a string of statements of which the first were answered, and what is outstanding behind it.
func (s *Session) failRest(lost *Problem, rest []op) (Verdict, Reason) {
	status := s.statusAfter()
	if status == wire.StatusTransaction {
		status = wire.StatusFailed
	}
	s.emitProblem(*lost)
	s.emit(&pgproto3.ReadyForQuery{TxStatus: status})
	if status == wire.StatusIdle {
		s.pop()
		s.answerSegments(func(int) *Problem { return lost })
		return Answered, ReasonTransaction
	}
	s.setStatus(status)
	s.answerFrom(lost)
	s.local.reported, s.local.lost = true, tellsLoss(lost.Code)
	s.answerQueue(rest)
	return Answered, ReasonTransaction
}

func (s *Session) undecided(cause string) *Problem {
	return &Problem{
		Code:    CodeUndecided,
		Message: "fairlead: the connection was lost while a commit was in flight; whether it took effect is not known",
		Detail:  cause + s.alsoLost(),
		Hint:    "Look whether the change is there before repeating it. The session is usable.",
	}
}

// answerSegments answers all outstanding segments that were sent with an error each, and ReadyForQuery for those whose
// end was sent.
func (s *Session) answerSegments(problem func(i int) *Problem) {
	segment, open, answered := 0, false, false
	for _, o := range s.clientOps() {
		if !s.wasSent(o) {
			break
		}
		answered = answered || o.flags&flagFailed != 0 || s.allAnswered(o)
		if !answered {
			s.emitProblem(*problem(segment))
			answered = true
		}
		open = true
		if endsSegment(o.kind) {
			s.emit(&pgproto3.ReadyForQuery{TxStatus: wire.StatusIdle})
			segment++
			open, answered = false, false
		}
	}
	s.setStatus(wire.StatusIdle)
	s.settings.rollback()
	s.copied = false
	if open {
		s.answerFrom(nil)
		s.local.reported, s.local.skip = true, true
		s.answerUnsent()
		return
	}
	s.startOver()
}

// clientOps are the outstanding requests of the client's own.
func (s *Session) clientOps() []op {
	var list []op
	for _, o := range s.outstanding() {
		if o.kind > opParse {
			list = append(list, o)
		}
	}
	return list
}

// startOver ends the unit; what no upstream was given of it becomes the next one.
func (s *Session) startOver() {
	rest := append([]byte(nil), s.journal[s.sent:]...)
	s.clearQueue()
	s.confused = false
	s.endUnit()
	s.requeue(rest)
}

// requeue makes messages that no upstream has had the whole content of the journal.
func (s *Session) requeue(rest []byte) {
	s.clearQueue()
	s.journal = append(s.journal[:0], rest...)
	s.journalVersion++
	s.base, s.sent = 0, 0
}

// dropUnsent takes what no upstream was given out of the queue; Resend puts it there again.
func (s *Session) dropUnsent() {
	for i, o := range s.outstanding() {
		if !s.wasSent(o) {
			s.queue = s.queue[:s.head+i]
			break
		}
	}
	if !s.Busy() {
		s.clearQueue()
	}
}

// answerUnsent has the session answer what no upstream was given.
func (s *Session) answerUnsent() {
	unsent := append([]byte(nil), s.journal[s.sent:]...)
	s.clearQueue()
	var out Out
	n := s.answerAll(unsent, &out)
	s.dropJournal()
	s.requeue(unsent[n:])
}

// answerQueue has the session answer requests that are outstanding, whether they were sent or not.
func (s *Session) answerQueue(queue []op) {
	msgs := make([][]byte, len(queue))
	for i, o := range queue {
		if m := s.message(o); m != nil {
			msgs[i] = append([]byte(nil), m...)
		} else {
			msgs[i] = []byte{o.kind, 0, 0, 0, 4} // the journal has lost it
		}
	}
	s.recall(queue)
	s.dropJournal()
	s.clearQueue()
	var out Out
	for i, m := range msgs {
		if !s.local.on {
			s.requeue(joined(msgs[i:]))
			return
		}
		if len(m) == wire.HeaderLen && m[0] != wire.Sync && !s.local.skip {
			s.refuse()
			if endsSegment(m[0]) {
				s.local.skip = false
				s.answerReady()
			}
			continue
		}
		s.answer(m, &out)
	}
}

// recall finds in the journal what a queue goes on with though a server has answered it: the unnamed statement, and a portal. A
// COMMIT of which the client has the first answers is still one.
func (s *Session) recall(queue []op) {
	if len(queue) == 0 || queue[0].start < 0 {
		return
	}
	s.local.unnamed = s.statementText(nil, int(queue[0].start))
	for _, o := range queue {
		if o.kind == wire.Bind || endsSegment(o.kind) {
			return
		}
		if o.kind != wire.Execute {
			continue
		}
		if text := s.portalStatement(o); endsTransaction(sqltext.Classify(text, s.options())) {
			portal, _, _ := wire.CString(wire.Body(s.message(o)))
			s.local.portals = map[string]string{string(portal): text}
		}
		return
	}
}

func joined(msgs [][]byte) (all []byte) {
	for _, m := range msgs {
		all = append(all, m...)
	}
	return all
}

// finish answers work whose end the client was already told: all that is missing is ReadyForQuery. In a transaction that
// can go on it leaves that to a replay.
func (s *Session) finish(cause string, replay bool) (Verdict, bool) {
	out := s.clientOps()
	if s.closing(out) {
		for _, o := range out[:len(out)-1] {
			s.closed(o)
			s.emit(&pgproto3.CloseComplete{})
		}
		s.emit(&pgproto3.ReadyForQuery{TxStatus: wire.StatusIdle})
		s.finished(wire.StatusIdle, cause)
		return Answered, true
	}
	if len(out) != 1 || !s.wasSent(out[0]) {
		return 0, false
	}
	last := out[0]
	switch {
	case last.flags&flagFailed != 0:
	case last.kind == wire.Sync && s.ended:
	case s.allAnswered(last):
	default:
		return 0, false
	}
	status := s.statusAfter()
	if replay && (status == wire.StatusTransaction || status == wire.StatusFailed && s.hasSavepoint()) {
		return 0, false
	}
	s.emit(&pgproto3.ReadyForQuery{TxStatus: status})
	s.finished(status, cause)
	return Answered, true
}

// closing reports whether a segment has closed a statement, so that it cannot be replayed, and nothing is missing but answers
// to Close and its end. They need no server; and clients do not expect that Close fails: pgx leaves the ReadyForQuery behind
// such an error to its next statement, and lib/pq gives the connection up.
func (s *Session) closing(out []op) bool {
	if len(out) == 0 || s.inBlock || !s.statements.closed || out[len(out)-1].kind != wire.Sync {
		return false
	}
	for i, o := range out {
		if !s.wasSent(o) || i < len(out)-1 && o.kind != wire.Close {
			return false
		}
	}
	points, _ := s.commitPoints()
	return len(points) == 0
}

// statusAfter is the transaction status behind what was answered.
func (s *Session) statusAfter() byte {
	switch {
	case !s.inBlock:
		return wire.StatusIdle
	case s.inError:
		return wire.StatusFailed
	}
	return wire.StatusTransaction
}

// finished ends the unit of which the client was told everything; in a transaction that goes on, what it does next is
// answered as in a failed one.
func (s *Session) finished(status byte, cause string) {
	s.setStatus(status)
	if status == wire.StatusIdle {
		s.commitSettings()
	}
	s.startOver()
	if status != wire.StatusIdle {
		s.answerFrom(s.transactionLost(cause))
		s.local.reported = status == wire.StatusFailed
		s.answerUnsent()
	}
}

// sound reports whether the unit could be replayed if it must.
func (s *Session) sound() bool { return s.mode == Full && s.replays < maxReplays && s.repeatable() }

// allAnswered reports whether all statements of a Query have completed and only its ReadyForQuery is missing. An empty string has one
// answer, too.
func (s *Session) allAnswered(o op) bool {
	if o.kind != wire.Query || o.flags&flagWrapped != 0 || o.commands == 0 {
		return false
	}
	n, known := 0, true
	s.statementsOf(o, func(sql string) {
		n++
		known = known && sql != unknownStatement
	})
	return known && int(o.commands) == max(1, n)
}

func (s *Session) statementCount(o op) (n int) {
	s.statementsOf(o, func(sql string) {
		if sql != unknownStatement {
			n++
		}
	})
	return n
}
