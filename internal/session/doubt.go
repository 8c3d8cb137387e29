package session

import (
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// point is a commit that was sent and that the client does not know the outcome of.
type point struct {
	segment int // outstanding segment that commits
	from    int // outstanding segment of the first change that it commits; -1: the changes were answered before
}

// commitPoints lists what of that which was sent may have been committed without the client knowing, in order. It
// follows the unit's statements from its beginning; what it cannot read counts as a change, and as the end of a
// transaction. sound reports whether the unit's account is complete: nothing may be concluded for a replay or a decision
// otherwise.
func (s *Session) commitPoints() (points []point, sound bool) {
	m := tracker{o: s.options(), segment: -1, dirtyFrom: -1}
	ops := s.clientOps()
	from, outstanding := s.base, len(s.journal)
	if len(ops) > 0 {
		outstanding = int(ops[0].start)
	}
	sound = true
	if s.truncated || s.confused || outstanding < 0 {
		// The beginning is missing: an open transaction has changed something, and so may have an open segment.
		sound = false
		m.inBlock, m.failed = s.inBlock, s.inError
		m.dirty = true
		from = outstanding
	}
	if from < 0 {
		m.segment = 0
		for _, o := range ops {
			if !s.wasSent(o) {
				break
			}
			s.track(&m, o)
			if endsSegment(o.kind) {
				m.end()
			}
		}
		return m.points, false
	}
	s.eachRequest(s.journal[from:max(from, s.sent)], from, func(o op) {
		if int(o.start) >= outstanding && m.segment < 0 {
			// From here on it is not known what was done; up to here it is.
			m.segment, m.n, m.prepared, m.others = 0, 0, 0, false
			m.inBlock, m.failed = s.inBlock, s.inError
		}
		if failed := s.Busy() && s.queue[s.head].flags&flagFailed != 0; failed && int(o.start) == outstanding {
			// Its error was given to the client: it has committed nothing that the client does not know of.
			m.dirty = m.dirty && m.failed
		} else {
			s.track(&m, o)
		}
		if endsSegment(o.kind) {
			m.end()
		}
	})
	// Something before what is outstanding was committed already, or it is not known what is one transaction.
	return m.points, sound && !m.answered && !m.guessed
}

func endsSegment(kind byte) bool {
	return kind == wire.Sync || kind == wire.Query || kind == wire.FunctionCall
}

// tracker follows a client's statements through transactions. Of those that were not answered any may have failed: what
// stands behind one in the same segment was then not run.
type tracker struct {
	o         sqltext.Options
	inBlock   bool // between BEGIN and its end
	failed    bool // in a block that can only be rolled back
	soon      bool // in this segment a block was begun or ended, if that was reached
	maybe     bool // inBlock is a guess: every end of a segment may be a commit
	guessed   bool // something was concluded from a guess
	n         int  // statements of this segment, or of this Query
	prepared  byte // kinds of messages before an Execute that this segment has had
	others    bool // one of them may be another statement's
	dirty     bool // something was changed since the last commit
	dirtyFrom int  // segment of the first change
	segment   int  // -1: in what was answered
	answered  bool // a commit of changes was answered
	points    []point
}

func (m *tracker) touch() {
	if !m.dirty {
		m.dirty, m.dirtyFrom = true, m.segment
	}
}

func (m *tracker) commit() {
	switch {
	case !m.dirty:
		return
	case m.segment < 0:
		m.answered = true
	default:
		m.points = append(m.points, point{segment: m.segment, from: m.dirtyFrom})
	}
	if !m.maybe && !m.soon {
		m.dirty, m.dirtyFrom = false, -1
	}
}

// turn is a statement that begins or ends a block. Behind another one that was not answered it may not be reached.
func (m *tracker) turn(inBlock bool) {
	m.reach()
	m.inBlock, m.failed = inBlock, false
	if !m.maybe && !m.soon && !inBlock {
		m.dirty, m.dirtyFrom = false, -1
	}
}

// reach notes that what comes now may not be reached.
func (m *tracker) reach() {
	m.soon = m.soon || m.segment >= 0 && (m.n > 0 || m.others)
}

// prepare follows what comes before an Execute. More of it than one statement needs may be another one's, and fail.
func (m *tracker) prepare(msg []byte) {
	if m.segment < 0 || msg == nil {
		return
	}
	bit := byte(0)
	switch msg[0] {
	case wire.Parse:
		bit = 1
	case wire.Bind:
		bit = 2
	case wire.Describe:
		m.others = m.others || len(msg) > wire.HeaderLen && msg[wire.HeaderLen] == 'S'
		bit = 4
	}
	m.others = m.others || m.prepared&bit != 0
	m.prepared |= bit
}

// end is the end of a segment.
func (m *tracker) end() {
	if m.maybe {
		m.guessed = true
	}
	m.maybe, m.soon, m.n = m.maybe || m.soon, false, 0
	m.prepared, m.others = 0, false
	if m.segment >= 0 {
		m.segment++
	}
}

// track follows one request.
func (s *Session) track(m *tracker, o op) {
	known := 0
	if s.Busy() && o.kind == wire.Query && o.start == s.queue[s.head].start {
		known = int(s.queue[s.head].commands)
	}
	m.prepare(s.message(o))
	i, several := 0, o.kind == wire.Query && s.statementCount(o) > 1
	s.statementsOf(o, func(sql string) {
		if i++; i <= known && sql != unknownStatement {
			// Its tag was given to the client; what it has made of the block is known already.
			if k := sqltext.Classify(sql, m.o); k == sqltext.Commit || k == sqltext.CommitChain {
				m.answered = m.answered || m.dirty
				m.dirty = false
			} else if k == sqltext.Rollback {
				m.dirty = false
			} else if !harmless(sql, m.o) {
				m.touch()
			}
			return
		}
		defer func() { m.n++ }()
		if sql == unknownStatement {
			m.touch()
			if o.kind != wire.CopyData && o.kind != wire.CopyDone && o.kind != wire.FunctionCall {
				m.maybe = m.maybe || m.segment >= 0 // it may have been BEGIN or COMMIT
				m.commit()
				m.touch() // or neither, and what it did is not committed yet
			}
			return
		}
		switch kind := sqltext.Classify(sql, m.o); kind {
		case sqltext.Begin:
			// If the server's parser refuses one statement of a string, not one of them is run.
			m.soon = m.soon || several && m.segment >= 0
			m.turn(true)
		case sqltext.Commit, sqltext.CommitChain, sqltext.PrepareTransaction:
			m.reach()
			if !m.failed || m.maybe {
				m.commit()
			}
			// AND CHAIN is an error outside of a block.
			m.turn(kind == sqltext.CommitChain && m.inBlock)
		case sqltext.Rollback:
			m.turn(false)
		case sqltext.RollbackChain:
			m.turn(m.inBlock)
		case sqltext.RollbackTo:
			m.failed = false
		default:
			if !harmless(sql, m.o) {
				m.touch()
			}
		}
	})
	switch {
	case !endsSegment(o.kind):
	case m.segment < 0:
		// A ReadyForQuery followed that was not that of an idle session: the unit would have been over.
		m.inBlock = true
	case (!m.inBlock || m.maybe) && !s.copyIn && !(s.copyFailed && m.segment == 0):
		// Each segment outside a block ends with a commit; one that still reads COPY data cannot have come that far, and one
		// whose COPY the client gave up never does.
		m.commit()
	}
}
