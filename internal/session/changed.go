package session

import (
	"bytes"
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// A statement that is prepared again, on another upstream or after it was closed there, may have another result than its client was
// given a description of: its table was changed meanwhile. A server refuses to run such a statement, and so does the session: in the
// place of the message that uses it the server is asked for a statement that is not there, so that the transaction fails as it should.

// errChanged is a server's own error for that. Routine and file are how asyncpg, JDBC, r2dbc and ActiveRecord know it, and prepare the
// statement again.
func errChanged(use []byte) Problem {
	name, _ := statementOf(use)
	which := "the unnamed statement"
	if len(name) > 0 {
		which = "the statement " + QuoteIdentifier(string(name))
	}
	return Problem{
		Code: codeChanged, Message: "cached plan must not change result type",
		Detail: "fairlead: prepared again on the server connection that the session has now, " + which + " has another result than the client was given a description of",
		Hint:   "Prepare the statement again.",
		File:   "plancache.c", Routine: "RevalidateCachedQuery",
	}
}

// msgUseNothing are uses of a statement that is not there.
var msgUseNothing = map[byte][]byte{
	wire.Bind:     encodeFrontend(&pgproto3.Bind{PreparedStatement: "fairlead_changed"}),
	wire.Describe: encodeFrontend(&pgproto3.Describe{ObjectType: 'S', Name: "fairlead_changed"}),
}

// Found takes what a server says of a statement that it was asked to prepare: its description as DescriptionSum has it, and its result
// as RowsSum has it.
func (st *Statement) Found(description, rows uint64) { st.found, st.foundRows = description, rows }

// changed reports whether that is not what the client knows.
func (st *Statement) changed() bool {
	return differs(st.description, st.found) || differs(st.rows, st.foundRows)
}

// differs compares two digests, if both are known.
func differs(a, b uint64) bool { return a != 0 && b != 0 && a != b }

func (st *Statement) undescribed() bool {
	return st.Parse != nil && st.description == 0 && st.rows == 0
}

// known stands for what the client knows of the statement, 0 for nothing.
func (st *Statement) known() uint64 { return st.description*31 + st.rows }

// kept is what is known of the statement on the upstream on which it was prepared.
func (st *Statement) kept() kept {
	k := kept{description: st.found, rows: st.foundRows}
	if k.description == 0 {
		k.description, k.rows = st.description, st.rows
	}
	if st.changed() {
		k.refused = st.known()
	}
	return k
}

// serves reports whether a statement need not be prepared again for a session to use it, or would be in vain.
func (k *kept) serves(st *Statement) bool {
	same := (st.description == 0 || st.description == k.description) && (st.rows == 0 || st.rows == k.rows)
	return !k.outdated && (same || k.refused != 0 && k.refused == st.known())
}

// RowsSum digests a RowDescription or NoData without the formats, which a portal has and a statement has not.
func RowsSum(msg []byte) uint64 {
	if len(msg) < wire.HeaderLen+2 || msg[0] != wire.RowDescription {
		return DescriptionSum(0, msg)
	}
	b := bytes.Clone(msg)
	rest := b[wire.HeaderLen+2:]
	for range binary.BigEndian.Uint16(b[wire.HeaderLen:]) {
		end := bytes.IndexByte(rest, 0)
		if end < 0 || len(rest) < end+19 {
			break
		}
		rest[end+17], rest[end+18] = 0, 0
		rest = rest[end+19:]
	}
	return DescriptionSum(0, b)
}

// describedPortal takes a description of a portal for one of its statement, if the client was given none: some ask for no other.
func (s *Session) describedPortal(msg []byte) {
	describe := s.message(s.queue[s.head])
	if s.head == 0 || s.queue[s.head-1].kind != wire.Bind || len(describe) <= wire.HeaderLen || describe[wire.HeaderLen] != 'P' {
		return
	}
	bind := s.message(s.queue[s.head-1])
	if bind == nil {
		return
	}
	portal, _, _ := wire.CString(describe[wire.HeaderLen+1:])
	bound, _, _ := wire.CString(wire.Body(bind))
	name, ok := statementOf(bind)
	if !ok || !bytes.Equal(portal, bound) {
		return
	}
	if st := s.statements.named[string(name)]; st != nil && st.undescribed() {
		s.statements.undescribed--
		st.rows = RowsSum(msg)
		s.describedShared(st, 0, msg)
	}
}

// barChanged has the server refuse a Bind or Describe of a statement whose result is not what the client knows, and reports whether it is
// one.
func (s *Session) barChanged(w *pass, at int, msg []byte, o *op) bool {
	if s.skipping || s.memory == nil && !s.statements.changed && !s.statements.unnamedChanged || !s.usesChanged(msg) {
		return false
	}
	o.flags |= flagChanged
	w.replace(at, len(msg), msgUseNothing[msg[0]])
	return true
}

func (s *Session) usesChanged(msg []byte) bool {
	name, ok := statementOf(msg)
	if !ok || msg[0] == wire.Close {
		return false
	}
	t := &s.statements
	if len(name) == 0 {
		return t.unnamedChanged && !s.remakes(name)
	}
	st := t.named[string(name)]
	if st == nil || st.undescribed() {
		return false
	}
	if st.changedAt == t.upstream && t.changed {
		return !s.remakes(name)
	}
	if s.memory == nil || st.Parse == nil || s.keeps(name) {
		return false
	}
	if _, pending := s.naming[string(name)]; pending {
		return false
	}
	k := s.memory.statements[s.sharedOf(st)]
	return k != nil && (differs(st.description, k.description) || differs(st.rows, k.rows))
}

// remakes reports whether a Parse or Close of a statement is outstanding.
func (s *Session) remakes(name []byte) bool {
	for _, o := range s.outstanding() {
		msg := s.message(o)
		if msg == nil {
			continue
		}
		switch o.kind {
		case wire.Parse:
			if made, _ := parseParts(msg); bytes.Equal(made, name) {
				return true
			}
		case wire.Close:
			if closed, ok := statementOf(msg); ok && bytes.Equal(closed, name) {
				return true
			}
		}
	}
	return false
}
