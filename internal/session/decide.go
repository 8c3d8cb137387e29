package session

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// doubt is a segment whose commit was in flight.
type doubt struct {
	segment  int
	evidence commit.Evidence
	outcome  commit.Outcome
	decided  bool
}

// takeDoubts collects the evidence for what is in doubt. It reports whether there is any for the first of it; without,
// nothing can be decided.
func (s *Session) takeDoubts(points []point) bool {
	gathered := make(map[int]commit.Evidence)
	segment, n := 0, 0
	for _, o := range s.clientOps() {
		if !s.wasSent(o) {
			break
		}
		if o.flags&flagProbed != 0 && n < len(s.evidence) {
			gathered[segment] = s.evidence[n]
			n++
		}
		if endsSegment(o.kind) {
			segment++
		}
	}
	s.doubts = nil
	for i, p := range points {
		e, ok := gathered[p.segment]
		// One piece of evidence speaks for one commit, of changes whose answers were given or stand in the same segment.
		ok = ok && (p.from < 0 || p.from == p.segment) &&
			(i == 0 || points[i-1].segment != p.segment) && (i+1 == len(points) || points[i+1].segment != p.segment)
		if !ok {
			break
		}
		e.NotReadOnly = s.notReadOnly()
		d := doubt{segment: p.segment, evidence: e}
		d.outcome, d.decided = s.decideAlone(e)
		s.doubts = append(s.doubts, d)
	}
	s.undecidedFrom = -1
	if len(s.doubts) < len(points) {
		s.undecidedFrom = max(points[len(s.doubts)].from, 0)
	}
	return len(s.doubts) > 0
}

// notReadOnly reports whether the transaction that was committed can certainly write.
func (s *Session) notReadOnly() bool {
	if s.params["default_transaction_read_only"] != "off" {
		return false
	}
	certain := true
	s.eachRequest(s.journal[s.base:s.sent], s.base, func(o op) {
		if o.kind != wire.Query && o.kind != wire.Execute {
			return
		}
		s.statementsOf(o, func(sql string) {
			certain = certain && sql != unknownStatement && !(containsFold(sql, "read") && containsFold(sql, "only"))
		})
	})
	return certain
}

// decideAlone decides what needs no server: a transaction that was given no ID has written nothing.
func (s *Session) decideAlone(e commit.Evidence) (commit.Outcome, bool) {
	switch {
	case e.Mode != commit.LSN || !e.Answered || e.XID != 0:
		return commit.Unknown, false
	case s.status == wire.StatusIdle:
		// An autocommit statement that is not pure may have had an effect that needs no ID, such as a notification.
		return commit.Unknown, true
	case !s.effectless(e.LSN == 0):
		return commit.Unknown, true
	case e.Serializable:
		// A server that never got the COMMIT has let others commit what contradicts what was read.
		return commit.Aborted, true
	}
	return commit.Committed, true
}

// effectless reports whether a transaction that was given no ID has left nothing to its commit. There is such a thing: a
// notification, a change of a foreign table, whatever a function of the user's own does. On a replica only what is foreign
// can be changed.
func (s *Session) effectless(replica bool) bool {
	if s.unitChanged && !replica {
		return false
	}
	o := s.options()
	none := true
	s.eachStatement(s.journal[s.base:s.sent], func(sql string) {
		for _, word := range []string{"notify", "hold", "dblink", "foreign"} {
			none = none && !containsFold(sql, word)
		}
		none = none && sql != unknownStatement && (replica || harmless(sql, o) || changesRowsOnly(sql, o))
	})
	return none
}

// changesRowsOnly reports whether a statement does nothing that its commit makes last, if it changes no row: which the
// transaction has no ID for, or its tag counts. A row of a foreign table that WITH has changed is not counted.
func changesRowsOnly(sql string, o sqltext.Options) bool {
	switch sqltext.Classify(sql, o) {
	case sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge, sqltext.Select, sqltext.Values, sqltext.Table, sqltext.Lock,
		sqltext.Declare, sqltext.Fetch, sqltext.Move, sqltext.CloseCursor:
		return !sqltext.Opaque(sql, o) && !containsFold(sql, "with")
	}
	return false
}

// Doubt is the next commit that is to be decided.
func (s *Session) Doubt() (commit.Evidence, bool) {
	for _, d := range s.doubts {
		if !d.decided {
			return d.evidence, true
		}
	}
	return commit.Evidence{}, false
}

// Decided is the answer to Doubt.
func (s *Session) Decided(o commit.Outcome) {
	for i := range s.doubts {
		if d := &s.doubts[i]; !d.decided {
			d.outcome, d.decided = o, true
			return
		}
	}
}

// Settle draws the conclusion when Doubt has no more to ask: it answers what was committed and what stays unknown, and
// has replayed what was aborted, if nothing behind that was committed or may have been.
func (s *Session) Settle() (Verdict, Reason) { return s.reportHeld(s.settle()) }

func (s *Session) settle() (Verdict, Reason) {
	doubts, undecidedFrom := s.doubts, s.undecidedFrom
	s.doubts, s.undecidedFrom = nil, -1
	committed := -1
	for _, d := range doubts {
		if d.outcome == commit.Unknown {
			undecidedFrom = d.segment
			break
		}
		if d.outcome == commit.Committed {
			committed = d.segment
		}
	}
	if committed < 0 && undecidedFrom < 0 {
		if s.replays < maxReplays && s.repeatable() {
			return Replay, ReasonAborted
		}
		s.answerSegments(func(int) *Problem { return s.transactionLost(s.cause) })
		return Answered, ReasonNotSent
	}
	reason := ReasonUndecided
	if undecidedFrom < 0 {
		reason = ReasonCommitted
	}
	outcome := func(i int) commit.Outcome {
		for _, d := range doubts {
			if d.segment == i {
				return d.outcome
			}
		}
		return commit.Aborted
	}
	s.answerDecided(outcome, undecidedFrom)
	return Answered, reason
}

// answerDecided answers all outstanding segments: those that were committed as the server would have.
func (s *Session) answerDecided(outcome func(i int) commit.Outcome, undecidedFrom int) {
	lost := s.transactionLost(s.cause)
	segment := 0
	var ops []op
	open := false
	status := wire.StatusIdle
	for _, o := range s.clientOps() {
		if !s.wasSent(o) {
			break
		}
		ops = append(ops, o)
		open = !endsSegment(o.kind)
		if open {
			continue
		}
		status = wire.StatusIdle
		switch {
		case s.allAnswered(o):
		case undecidedFrom >= 0 && segment >= undecidedFrom:
			s.emitProblem(*s.undecided(s.cause))
		case outcome(segment) == commit.Committed:
			status = s.answerCommitted(ops)
		default:
			s.emitProblem(*lost)
		}
		s.emit(&pgproto3.ReadyForQuery{TxStatus: status})
		ops, segment = ops[:0], segment+1
	}
	if open {
		// The rest of a segment without its Sync has done nothing, unless a COMMIT stands in its midst.
		p := lost
		if undecidedFrom >= 0 && segment >= undecidedFrom {
			p = s.undecided(s.cause)
		}
		s.setStatus(wire.StatusIdle)
		s.emitProblem(*p)
		s.answerFrom(nil)
		s.local.reported, s.local.skip = true, true
		s.answerUnsent()
		return
	}
	s.finished(status, s.cause)
}

// answerCommitted gives the answers that are missing of a segment that was committed, up to its ReadyForQuery, and
// returns the status that this has.
func (s *Session) answerCommitted(ops []op) (status byte) {
	status = wire.StatusIdle
	for _, o := range ops {
		if (o.kind == wire.Query && o.commands == 0 || o.kind == wire.Execute) && s.commitKind(o) == 0 {
			s.emitProblem(*s.resultLost(s.cause))
			return status
		}
	}
	for _, o := range ops {
		switch o.kind {
		case wire.Query, wire.Execute:
			if o.commands > 0 {
				continue
			}
			s.emit(&pgproto3.CommandComplete{CommandTag: []byte("COMMIT")})
			if s.commitKind(o) == sqltext.CommitChain {
				status = wire.StatusTransaction
			}
		case wire.Parse:
			if msg := s.message(o); msg != nil {
				s.parsedElsewhere(msg)
			}
			s.emit(&pgproto3.ParseComplete{})
		case wire.Bind:
			s.emit(&pgproto3.BindComplete{})
		case wire.Describe:
			if msg := s.message(o); msg != nil && len(msg) > wire.HeaderLen && msg[wire.HeaderLen] == 'S' {
				s.emit(&pgproto3.ParameterDescription{})
			}
			s.emit(&pgproto3.NoData{})
		case wire.Close:
			s.closed(o)
			s.emit(&pgproto3.CloseComplete{})
		}
	}
	return status
}

// commitKind is the kind of a request that commits a transaction, 0 for others.
func (s *Session) commitKind(o op) (kind sqltext.Kind) {
	s.statementsOf(o, func(sql string) {
		if k := sqltext.Classify(sql, s.options()); k == sqltext.Commit || k == sqltext.CommitChain {
			kind = k
		}
	})
	return kind
}

// resultLost is for work that was committed and whose rows or tag went down with the connection.
func (s *Session) resultLost(cause string) *Problem {
	return &Problem{
		Code:    CodeUndecided,
		Message: "fairlead: the statement was committed, and its result was lost with the connection to the server",
		Detail:  cause + s.alsoLost(),
		Hint:    "Do not repeat it. The session is usable.",
	}
}

// parsedElsewhere takes in a statement that no upstream has.
func (s *Session) parsedElsewhere(parse []byte) {
	st := newStatement(parse)
	if st.name == "" {
		s.statements.unnamed, s.statements.unnamedD = st.Parse, 0
		s.statements.unnamedAt = s.statements.upstream - 1
		return
	}
	s.statements.put(st)
	s.statements.lose(st)
}

// chained reports whether the end of a transaction that was answered last has begun another one. A server's tag does not say so.
func (s *Session) chained() (yes bool) {
	head, end := op{start: -1}, len(s.journal)
	if s.Busy() {
		if head = s.queue[s.head]; head.start < 0 || head.flags&flagFailed != 0 {
			return false
		}
		end = int(head.start)
		if head.kind == wire.Query {
			end = int(head.end)
		}
	}
	s.eachRequest(s.journal[s.base:max(s.base, end)], s.base, func(o op) {
		n := 0
		s.statementsOf(o, func(sql string) {
			if n++; o.start == head.start && n > int(head.commands) {
				return
			}
			switch sqltext.Classify(sql, s.options()) {
			case sqltext.CommitChain, sqltext.RollbackChain:
				yes = true
			case sqltext.Commit, sqltext.Rollback, sqltext.PrepareTransaction:
				yes = false
			}
		})
	})
	return yes
}
