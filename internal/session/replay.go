package session

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// saved is the session as its client knows it, while a replay is on its way there.
type saved struct {
	queue     []op
	status    byte
	delivered int64
	sum       uint64
	pending   []change
	inBlock   bool
	inError   bool
	ended     bool
	skipping  bool
}

// replayable reports whether the unit provably has no effect that outlives its connection.
func (s *Session) replayable() bool {
	if s.truncated || s.confused || s.copied || s.statements.closed || s.held() != "" || s.replacesUnnamed() {
		return false
	}
	o := s.options()
	ok := true
	s.eachStatement(s.journal[s.base:s.sent], func(sql string) {
		ok = ok && sql != unknownStatement && harmless(sql, o)
	})
	return ok
}

// refusedMentions are words of what may reach beyond the transaction: work that mentions them is never replayed.
const refusedMentions = sqltext.StateAdvisoryLock | sqltext.StateOutside | sqltext.StateReplication | sqltext.StateEscaped

// repeatable reports whether the unit, of which nothing was committed, can be run again: what it has done went with its
// transaction, and nothing of it reaches further.
func (s *Session) repeatable() bool {
	if s.mode != Full || s.truncated || s.confused || s.copied || s.statements.closed {
		return false
	}
	if heldIn(s.unitState) != "" || s.unitMentions&refusedMentions != 0 || s.replacesUnnamed() {
		return false
	}
	o := s.options()
	ok := true
	s.eachStatement(s.journal[s.base:s.sent], func(sql string) {
		ok = ok && sql != unknownStatement && !unrepeatable(sqltext.Classify(sql, o)) && !(s.RefuseLocks && locks.MatchString(sql))
	})
	return ok
}

// replacesUnnamed reports whether the unit begins with an unnamed statement of an earlier one and then makes another: the
// earlier one is gone.
func (s *Session) replacesUnnamed() bool {
	used, made, replaced := false, false, false
	eachMessage(s.journal[s.base:], func(msg []byte) {
		switch msg[0] {
		case wire.Parse:
			if name, _ := parseParts(msg); len(name) == 0 {
				made, replaced = true, replaced || used
			}
		case wire.Bind, wire.Describe:
			if name, ok := statementOf(msg); ok && len(name) == 0 && !made {
				used = true
			}
		}
	})
	return replaced
}

// locks finds what takes an explicit lock; a word in a string or a comment counts too.
var locks = regexp.MustCompile(`(?i)\bfor\s+(no\s+key\s+)?(update|share|key)\b|^\s*lock\b|advisory`)

// unrepeatable are the statements that may do what no rollback undoes, or of which it is not known what they are.
func unrepeatable(k sqltext.Kind) bool {
	switch k {
	case sqltext.Unknown, sqltext.Copy, sqltext.Load, sqltext.CommitChain, sqltext.PrepareTransaction, sqltext.CommitPrepared,
		sqltext.RollbackPrepared, sqltext.DDLNoBlock, sqltext.Vacuum, sqltext.Cluster, sqltext.Checkpoint, sqltext.Replication:
		return true
	}
	return false
}

// hasSavepoint reports whether a failed transaction can still be gone on with.
func (s *Session) hasSavepoint() (found bool) {
	s.eachStatement(s.journal[s.base:], func(sql string) {
		found = found || sqltext.Classify(sql, s.options()) == sqltext.Savepoint
	})
	return found
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
		text := s.portalStatement(o)
		if text == "" && !s.emptyPortal(o) {
			text = unknownStatement
		}
		f(text)
	case wire.FunctionCall, wire.CopyData, wire.CopyDone:
		f(unknownStatement)
	}
}

// BeginReplay returns what the new upstream is to be sent first, of all that the old one was and what it never got. What
// it answers is compared with what the client was given before any of it is delivered, and what could commit is not sent
// before that has ended well: Proceed gives it then. It is not ok when what the client was given was the answer to
// something that commits.
func (s *Session) BeginReplay() (b []byte, ok bool) {
	if s.saved == nil {
		s.saved = &saved{delivered: s.delivered, sum: s.hash.value()}
	}
	s.saved.queue, s.saved.status = append([]op(nil), s.outstanding()...), s.status
	s.saved.pending, s.saved.ended, s.saved.skipping = slices.Clone(s.settings.pending), s.ended, s.wasSkipping
	s.saved.inBlock, s.saved.inError = s.inBlock, s.inError
	s.replays++
	s.verify, s.verifySum = s.saved.delivered, s.saved.sum
	s.hash.reset()
	s.delivered = 0
	s.clearQueue()
	s.settings.rollback()
	s.status, s.block, s.unitDirty, s.segment = wire.StatusIdle, blockNone, false, segment{}
	s.skipping, s.ended, s.inBlock, s.inError = false, false, false, false
	if s.verify == 0 {
		s.saved = nil
	}
	b = s.feed(s.base, s.verify > 0)
	return b, s.verify == 0 || s.Busy()
}

// Resend returns what an upstream still has to be given: what the client sent since the last one was lost.
func (s *Session) Resend() []byte {
	s.block = blockOf(s.status)
	return s.feed(s.sent, false)
}

// HasUnsent reports whether there is any such thing.
func (s *Session) HasUnsent() bool { return len(s.journal) > s.sent && !s.Waits() }

// Waits reports whether a replay is not done yet: it has not caught up with what the client was given, or what it still
// has to send is to be fetched with Proceed.
func (s *Session) Waits() bool { return s.verify > 0 || s.parked >= 0 }

// Proceed returns what a replay that has caught up still has to send.
func (s *Session) Proceed() []byte {
	from := s.parked
	s.parked = -1
	var tail []byte
	if s.parkedTail {
		s.parkedTail = false
		o := &s.queue[len(s.queue)-1]
		if s.probing() {
			msgs, f := s.gather()
			o.flags |= flagProbed | f
			tail = append(append(tail, msgs...), msgFlush...)
		}
		tail = append(tail, msgSync...)
	}
	return append(tail, s.feed(from, false)...)
}

// feed queues the journal's messages from an offset on, and returns what an upstream is to be sent for them. With hold
// it stops where a commit could happen.
func (s *Session) feed(from int, hold bool) []byte {
	s.feeding = true
	defer func() { s.feeding = false }()
	src := s.journal[from:]
	w := pass{src: src}
	var out Out
	at, stop, open := 0, -1, false
	eachMessage(src, func(msg []byte) {
		if stop >= 0 {
			return
		}
		if hold && s.mayCommit(msg) {
			stop = at
			if msg[0] == wire.Query && s.wrapHalf(&w, at, msg, from+at) {
				stop = at + len(msg)
				s.parkedTail = true
			}
			return
		}
		s.request(&w, at, msg, from+at, &out)
		open = !endsSegment(msg[0])
		at += len(msg)
	})
	if stop < 0 {
		stop = len(src)
		s.sent = len(s.journal)
	} else {
		s.parked = from + stop
		s.sent = from + at
	}
	b := append([]byte(nil), w.finish(stop)...)
	if hold && (open || s.parkedTail) {
		b = append(b, msgFlush...) // or the server keeps its answers until a Sync that is not sent yet
		s.due = s.pushed
	}
	return b
}

// mayCommit reports whether a message may make something permanent.
func (s *Session) mayCommit(msg []byte) bool {
	switch msg[0] {
	case wire.Query:
		text, _, ok := wire.CString(wire.Body(msg))
		if !ok {
			return true
		}
		n := s.judge(text)
		if s.block == blockOpen && (n.single || hasParameter(string(text))) {
			return n.endsBlock() && s.unitDirty
		}
		if s.block == blockOpen {
			return s.endsBlockSomewhere(string(text))
		}
		return n.dirty || s.unitDirty
	case wire.FunctionCall:
		return s.block != blockOpen
	case wire.Execute:
		n := s.portalNature(msg)
		return !n.known || n.endsBlock() && s.unitDirty
	case wire.Sync:
		return s.block != blockOpen && s.unitDirty
	}
	return false
}

func (s *Session) endsBlockSomewhere(text string) bool {
	o := s.options()
	list, err := sqltext.Split(text, o)
	if err != nil {
		return false // the server does not run it either
	}
	for _, st := range list {
		if (nature{kind: sqltext.Classify(st.Text, o)}).endsBlock() {
			return true
		}
	}
	return false
}

// wrapHalf sends a Query that commits by itself up to where it does, if that can be.
func (s *Session) wrapHalf(w *pass, at int, msg []byte, start int) bool {
	text, _, ok := wire.CString(wire.Body(msg))
	n := s.judge(text)
	if !ok || s.block != blockNone || !n.decidable() || s.ruled(n, msg) {
		return false
	}
	s.mention(wire.Body(msg))
	s.wrap(w, at, msg)
	s.push(op{kind: wire.Query, flags: flagWrapped, start: int32(start), end: int32(start + len(msg))})
	s.noteEffect(n)
	s.segment = segment{}
	return true
}

// abandonReplay goes back to what the client knows, when a replay has not caught up with it.
func (s *Session) abandonReplay() {
	s.parked, s.parkedTail = -1, false
	if s.verify == 0 {
		s.saved = nil
		return
	}
	s.clearQueue()
	s.queue = append(s.queue, s.saved.queue...)
	s.status, s.ended, s.skipping = s.saved.status, s.saved.ended, s.saved.skipping
	s.inBlock, s.inError = s.saved.inBlock, s.saved.inError
	s.settings.pending = slices.Clone(s.saved.pending)
	s.settings.recount()
	s.settings.version++
	s.delivered = s.saved.delivered
	s.verify = 0
	// What was answered is not to be answered again, whether this upstream was given it or not.
	answered := len(s.journal)
	if s.Busy() {
		o := s.queue[s.head]
		if answered = int(o.start); o.commands > 0 && o.flags&flagWrapped == 0 {
			answered = int(o.end)
		}
	}
	s.sent = max(s.sent, answered)
}

// Divergence names the statement at which a replay turned out not to be what the client has seen.
func (s *Session) Divergence() string {
	n, kind := 0, ""
	end := len(s.journal)
	if s.Busy() && s.queue[s.head].end > 0 {
		end = int(s.queue[s.head].end)
	}
	s.eachStatement(s.journal[s.base:max(s.base, min(end, s.sent))], func(sql string) {
		n++
		if kind = sqltext.Classify(sql, s.options()).String(); sql == unknownStatement {
			kind = "unknown"
		}
	})
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("It is statement %d of the unit (%s) whose answer differs, or one before it.", n, kind)
}
