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
		m.inBlock = s.status != wire.StatusIdle
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
				m.segment++
			}
		}
		return m.points, false
	}
	s.eachRequest(s.journal[from:max(from, s.sent)], from, func(o op) {
		if int(o.start) >= outstanding && m.segment < 0 {
			m.segment = 0
			m.failed = m.failed || s.status == wire.StatusFailed
		}
		if failed := s.Busy() && s.queue[s.head].flags&flagFailed != 0; failed && int(o.start) == outstanding {
			// Its error was given to the client: it has committed nothing that the client does not know of.
			m.failed = s.begunBlock()
			m.inBlock, m.dirty = m.failed, m.dirty && m.failed
		} else {
			s.track(&m, o)
		}
		if m.segment >= 0 && endsSegment(o.kind) {
			m.segment++
		}
	})
	if m.answered {
		// Something before what is outstanding was committed already: this is not one transaction.
		sound = false
	}
	return m.points, sound
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
	case m.segment < 0:
		m.answered = true
	default:
		m.points = append(m.points, point{segment: m.segment, from: m.dirtyFrom})
	}
	m.dirty, m.dirtyFrom = false, -1
}

// track follows one request.
func (s *Session) track(m *tracker, o op) {
	s.statementsOf(o, func(sql string) {
		if sql == unknownStatement {
			m.touch()
			if !m.failed && o.kind != wire.CopyData && o.kind != wire.CopyDone && o.kind != wire.FunctionCall {
				m.commit() // it may have been COMMIT
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
			m.inBlock = sqltext.Classify(sql, m.o) == sqltext.CommitChain
			m.failed, m.dirty = false, false
		case sqltext.Rollback:
			m.inBlock, m.failed, m.dirty = false, false, false
		case sqltext.RollbackChain:
			m.failed, m.dirty = false, false
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
