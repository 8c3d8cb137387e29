package session

import (
	"hash/maphash"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// nature is what a text says of the statement that is about to be sent.
type nature struct {
	kind   sqltext.Kind
	dirty  bool     // it may have an effect
	opaque bool     // it may call a function of the user's own
	calls  []string // the names of those; nil: not known
	single bool     // one statement, which a Parse takes as a Query does
	begins bool     // it begins a transaction block
	known  bool
}

// decidable reports whether the commit of an implicit transaction can be decided: the tag and the rows of these come
// before the commit, and an assigned transaction ID tells whether there was something to commit.
func (n nature) decidable() bool {
	switch n.kind {
	case sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge, sqltext.Select, sqltext.With:
		return n.single
	}
	return false
}

// endsBlock reports whether it ends the transaction that it stands in.
func (n nature) endsBlock() bool {
	switch n.kind {
	case sqltext.Commit, sqltext.CommitChain, sqltext.PrepareTransaction, sqltext.Rollback, sqltext.RollbackChain:
		return true
	}
	return false
}

// block is what the client's messages make of the transaction status, before the server has said so.
type block uint8

const (
	blockUnknown block = iota
	blockNone          // between transactions
	blockOpen          // in one
)

func blockOf(status byte) block {
	if status == wire.StatusIdle {
		return blockNone
	}
	return blockOpen
}

// after is the block behind a statement.
func (b block) after(n nature) block {
	switch {
	case !n.known || n.kind == sqltext.Unknown || !n.single:
		return blockUnknown
	case n.kind == sqltext.Begin:
		return blockOpen
	case n.kind == sqltext.CommitChain, n.kind == sqltext.RollbackChain:
		if b != blockOpen {
			return blockUnknown
		}
	case n.endsBlock():
		return blockNone
	}
	return b
}

// segment is what the client has sent since its last Sync or Query.
type segment struct {
	executes int
	dirty    bool // something in it may have an effect
	odd      bool // something in it makes its commit undecidable
	probed   bool // evidence is on its way
}

// memoSize is how many texts a session remembers the nature of.
const memoSize = 32

type memo [memoSize]remembered

type remembered struct {
	sum    uint64
	nature nature
}

// judge tells the nature of a text; the latest ones are remembered, since texts come again and again, with other numbers.
func (s *Session) judge(text []byte) nature {
	o := s.options()
	if s.memo == nil {
		s.memo = new(memo)
	}
	if m, sum := s.memo.place(text, o); m.sum == sum && m.nature.known {
		return m.nature
	}
	var room [maxShape]byte
	m, sum := s.memo.place(shape(room[:0], text), o)
	if m.sum != sum || !m.nature.known {
		m.sum, m.nature = sum, natureOf(string(text), o)
		s.seenOpaque = s.seenOpaque || m.nature.opaque && !s.TrustFunctions
	}
	return m.nature
}

// place is where a text is remembered, if it is, and its sum there.
func (m *memo) place(text []byte, o sqltext.Options) (r *remembered, sum uint64) {
	sum = maphash.Bytes(seed, text)
	if o.NonStandardStrings {
		sum++
	}
	return &m[sum%memoSize], sum
}

// maxShape bounds, in bytes, the texts whose numbers are left out of account.
const maxShape = 1 << 10

// shape is the text with a 0 for each whole number that stands by itself. Whichever number that is, the text has the same nature:
// it is not a part of a word, nor of a name of the catalog's.
func shape(room, text []byte) []byte {
	if len(text) > cap(room) {
		return text
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c < '0' || c > '9' || i == 0 || !aroundNumbers[text[i-1]] {
			room = append(room, c)
			i++
			continue
		}
		end := i + 1
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		if end == len(text) || aroundNumbers[text[end]] {
			room = append(room, '0')
		} else {
			room = append(room, text[i:end]...)
		}
		i = end
	}
	return room
}

// aroundNumbers are the bytes next to which a number is one by itself.
var aroundNumbers = func() (is [256]bool) {
	for _, c := range []byte(" \t\r\n=<>+-*/(),;") {
		is[c] = true
	}
	return is
}()

func natureOf(text string, o sqltext.Options) nature {
	n := nature{known: true, dirty: true}
	list, err := sqltext.Split(text, o)
	switch {
	case err != nil:
	case len(list) == 0:
		n.kind, n.dirty, n.single = sqltext.Empty, false, true
	case len(list) == 1:
		n.kind, n.single = sqltext.Classify(text, o), !hasParameter(text)
		n.begins = n.kind == sqltext.Begin
		n.dirty = !harmless(text, o)
	default:
		n.dirty = false
		for _, st := range list {
			n.dirty = n.dirty || !harmless(st.Text, o)
			n.begins = n.begins || sqltext.Classify(st.Text, o) == sqltext.Begin
		}
	}
	if n.dirty {
		calls, known := sqltext.UnknownCalls(text, o)
		if n.opaque = !known || len(calls) > 0; known && len(list) == 1 {
			n.calls = calls
		}
	}
	return n
}

// hasParameter reports whether the text may have a $1 in it, which only a Parse understands.
func hasParameter(text string) bool {
	for i := 1; i < len(text); i++ {
		if text[i-1] == '$' && text[i] >= '0' && text[i] <= '9' {
			return true
		}
	}
	return false
}

// parsing notes the nature of a statement that is being prepared.
func (s *Session) parsing(msg []byte) {
	name, text := parseParts(msg)
	n := nature{opaque: true} // of one that has not come to its end
	if text != nil {
		n = s.judge(text)
	}
	n.single = true // a Parse takes one statement only
	s.seenOpaque = s.seenOpaque || n.opaque && !s.TrustFunctions
	if len(name) == 0 {
		s.unnamedNature = n
		return
	}
	if s.parses == nil {
		s.parses = make(map[string]nature)
	}
	if _, ok := s.parses[string(name)]; !ok {
		s.namesKept += len(name) + nameCost
	}
	s.parses[string(name)] = n
}

// binding notes what a portal runs.
func (s *Session) binding(msg []byte) {
	portal, rest, ok := wire.CString(wire.Body(msg))
	if !ok {
		return
	}
	name, _, _ := wire.CString(rest)
	n := s.statementNature(name)
	if len(portal) == 0 {
		s.portal = n
		return
	}
	if s.portals == nil {
		s.portals = make(map[string]nature)
	}
	if _, ok := s.portals[string(portal)]; !ok {
		s.namesKept += len(portal) + nameCost
	}
	s.portals[string(portal)] = n
}

func (s *Session) statementNature(name []byte) nature {
	if len(name) == 0 {
		if !s.unnamedNature.known && len(s.statements.unnamed) > 0 {
			_, text := parseParts(s.statements.unnamed)
			s.unnamedNature = s.judge(text)
			s.unnamedNature.single = true
		}
		return s.unnamedNature
	}
	if n, ok := s.parses[string(name)]; ok {
		return n
	}
	st := s.statements.named[string(name)]
	if st == nil {
		return nature{}
	}
	if st.Parse == nil {
		return st.nature
	}
	if !st.nature.known {
		_, text := parseParts(st.Parse)
		st.nature = s.judge(text)
		st.nature.single = true
	}
	return st.nature
}

func (s *Session) portalNature(msg []byte) nature {
	portal, _, _ := wire.CString(wire.Body(msg))
	if len(portal) == 0 {
		return s.portal
	}
	return s.portals[string(portal)]
}

// forgetNature forgets a statement that is not on its way any more.
func (s *Session) forgetNature(name string) {
	if _, ok := s.parses[name]; ok {
		s.namesKept -= len(name) + nameCost
		delete(s.parses, name)
	}
}

// clearPortals forgets all portals: their transaction is over.
func (s *Session) clearPortals() {
	for name := range s.portals {
		s.namesKept -= len(name) + nameCost
	}
	s.portals = nil
}
