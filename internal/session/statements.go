package session

import (
	"bytes"
	"hash/maphash"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// Statement is a prepared statement of the client's.
type Statement struct {
	// Parse is the client's Parse message, whole. Nil for a statement that SQL's PREPARE made.
	Parse []byte
	// Replace says that the upstream has another one of that name, which is to be closed.
	Replace bool
	// Gone says that the upstream is to have it no more.
	Gone bool
	// SQL is the PREPARE statement of a statement that was made by SQL.
	SQL string

	name        string
	description uint64 // of the ParameterDescription and RowDescription that the client was given; 0: none
	rows        uint64 // of the RowDescription that it was given of a portal, as RowsSum has it; 0: none
	found       uint64 // description and rows as the upstream has them on which it was prepared again; 0: not known
	foundRows   uint64
	changedAt   uint64 // generation of the upstream on which these are others than the client's; 0: none
	upstream    uint64 // generation of the upstream that has it
	unit        uint64 // unit in which it was made
	mentions    sqltext.StateMask
	shared      string // its name on an upstream that sessions share, for the settings of sharedAt
	sharedAt    uint64
	common      bool // it is one of all sessions
	nature      nature
}

// Name is the name that the client gave it; empty for the unnamed statement.
func (st *Statement) Name() string { return st.name }

// Description is the digest of the description that the client was given, 0 when it never asked for one.
func (st *Statement) Description() uint64 { return st.description }

func newStatement(parse []byte) *Statement {
	name, _, _ := wire.CString(wire.Body(parse))
	mentions := sqltext.MentionsState(parse)
	return &Statement{
		Parse: bytes.Clone(parse), name: string(name), mentions: mentions,
	}
}

// Text is the SQL that the statement runs.
func (st *Statement) Text() string {
	if st.Parse == nil {
		return st.SQL
	}
	_, sql := parseParts(st.Parse)
	return string(sql)
}

// parseParts reads the name and the SQL of a Parse message.
func parseParts(msg []byte) (name, sql []byte) {
	name, rest, ok := wire.CString(wire.Body(msg))
	if !ok {
		return nil, nil
	}
	sql, _, ok = wire.CString(rest)
	if !ok {
		return name, nil
	}
	return name, sql
}

// statements are the session's prepared statements.
type statements struct {
	named       map[string]*Statement
	unnamed     []byte // the last Parse of the unnamed statement
	unnamedD    uint64 // its description
	unnamedSeq  uint64 // counts the unnamed statements
	unnamedUnit uint64 // unit in which it was made

	upstream   uint64 // generation of the current upstream
	unnamedAt  uint64 // generation that has the unnamed statement
	missing    int    // named ones that the current upstream does not have
	unit       uint64
	kept       int // what named and gone cost
	mentioning int // named ones whose text mentions any state

	undescribed    int  // named ones of whose result the client was not given a description
	changed        bool // some may have another result on the current upstream
	unnamedChanged bool // the unnamed one has

	closed   bool                  // one that stood before this unit is gone: the unit's beginning cannot be restored
	gone     map[string]*Statement // those that were there when the unit began, and are not what their names stand for any more
	describe uint64
}

func (t *statements) endUnit() {
	t.unit++
	t.closed = false
	if len(t.gone) > 0 {
		for _, st := range t.gone {
			t.kept -= st.cost()
		}
		t.gone = nil
	}
}

// moved says that another upstream serves the session now; it has none of the statements.
func (t *statements) moved() {
	t.upstream++
	t.missing = len(t.named)
	t.changed, t.unnamedChanged = false, false
}

func (t *statements) put(st *Statement) {
	if t.named == nil {
		t.named = make(map[string]*Statement)
	}
	if old, ok := t.named[st.name]; ok {
		t.forget(old)
		t.replaced(old.name, old)
	}
	if st.mentions != 0 {
		t.mentioning++
	}
	if st.undescribed() {
		t.undescribed++
	}
	st.upstream, st.unit = t.upstream, t.unit
	t.named[st.name] = st
	t.kept += st.cost()
}

// lose says that the current upstream does not have the statement.
func (t *statements) lose(st *Statement) {
	if st.upstream == t.upstream {
		st.upstream = t.upstream - 1
		t.missing++
	}
}

func (t *statements) drop(name string) {
	st, ok := t.named[name]
	if !ok {
		return
	}
	t.forget(st)
	if st.unit != t.unit {
		t.closed = true
		t.replaced(name, st)
	}
	delete(t.named, name)
}

// replaced keeps a statement that was there when the unit began: portals may stand for it.
func (t *statements) replaced(name string, st *Statement) {
	if _, ok := t.gone[name]; ok || st.unit == t.unit {
		return
	}
	if t.gone == nil {
		t.gone = make(map[string]*Statement)
	}
	t.gone[name] = st
	t.kept += st.cost()
}

// forget takes a statement out of the counts.
func (t *statements) forget(st *Statement) {
	t.kept -= st.cost()
	if st.upstream != t.upstream {
		t.missing--
	}
	if st.mentions != 0 {
		t.mentioning--
	}
	if st.undescribed() {
		t.undescribed--
	}
}

func (t *statements) dropAll() {
	for name := range t.named {
		t.drop(name)
	}
}

// parsed is a Parse that the server has completed.
func (s *Session) parsed(o op) {
	t := &s.statements
	if o.start < 0 {
		st := s.asides[0].statement
		switch {
		case st == nil:
			s.confused = true
		case st.name != "":
			s.forgetNature(st.name)
			t.put(st)
			s.prepared([]byte(st.name))
		default:
			t.unnamed, t.unnamedD, t.unnamedAt, t.unnamedUnit = st.Parse, 0, t.upstream, t.unit
			t.unnamedChanged = false
			t.unnamedSeq++
			s.prepared(nil)
		}
		return
	}
	msg := s.message(o)
	if len(s.parses) > 0 {
		name, _ := parseParts(msg)
		s.forgetNature(string(name))
	}
	if msg[wire.HeaderLen] == 0 {
		if int(o.start) > s.base && len(t.unnamed) > 0 && t.unnamedUnit != t.unit {
			t.replaced("", &Statement{Parse: t.unnamed, unit: t.unit - 1})
			t.unnamed = nil
		}
		t.unnamedUnit = t.unit
		t.unnamed = append(t.unnamed[:0], msg...)
		t.unnamedD, t.unnamedAt, t.unnamedChanged = 0, t.upstream, false
		t.unnamedSeq++
		s.prepared(nil)
		return
	}
	st := newStatement(msg)
	t.put(st)
	s.prepared([]byte(st.name))
}

// closed is a Close that the server has completed.
func (s *Session) closed(o op) {
	name := ""
	switch msg := s.message(o); {
	case msg != nil:
		if n, ok := statementOf(msg); ok {
			name = string(n)
		}
	case o.keepsAside() && len(s.asides) > 0:
		name = s.asides[0].closes
	}
	if name == "" {
		return
	}
	s.statements.drop(name)
	if on, ok := s.naming[name]; ok && on == "" {
		s.unname(name)
	}
}

// described is a Describe of a statement of which the server's whole answer is known.
func (s *Session) described(o op, sum uint64, rows []byte) {
	msg := s.message(o)
	if msg == nil || msg[wire.HeaderLen] != 'S' {
		return
	}
	name, _, ok := wire.CString(msg[wire.HeaderLen+1:])
	switch {
	case !ok:
	case len(name) == 0:
		s.statements.unnamedD = sum
	default:
		if st := s.statements.named[string(name)]; st != nil {
			if st.undescribed() {
				s.statements.undescribed--
			}
			st.description = sum
			s.describedShared(st, sum, rows)
		}
	}
}

// DescriptionSum digests one message of a description: ParameterDescription with sum 0, then RowDescription or NoData
// with the sum of that.
func DescriptionSum(sum uint64, msg []byte) uint64 {
	return sum*0x9E3779B97F4A7C15 ^ maphash.Bytes(seed, msg) | 1
}

// Missing lists the statements that the bytes which Client is given next refer to and the current upstream does not
// have, those that they make themselves left out. It is nil at once for a session that has never moved.
func (s *Session) Missing(p []byte) []*Statement {
	if s.copyIn || s.open || s.memory == nil && !s.Needs() {
		return nil // in an open segment everything is there: it was prepared ahead
	}
	return s.missingFor(s.ahead(p))
}

// MissingUnsent is Missing for what no upstream was given yet.
func (s *Session) MissingUnsent() []*Statement {
	if s.copyIn || s.open || s.memory == nil && !s.Needs() {
		return nil
	}
	return s.missingFor(s.Unsent())
}

func (s *Session) missingFor(p []byte) []*Statement {
	switch {
	case len(p) == 0:
		return nil
	case s.memory != nil:
		return s.lacks(p, s.statements.unit+1)
	}
	return s.missing(p, s.statements.unit+1)
}

// ahead is what an upstream is to be given when the client writes p: whole messages, and the beginning of one that is passed on
// as it comes.
func (s *Session) ahead(p []byte) []byte {
	switch {
	case s.skipBody > 0:
		p = p[min(s.skipBody, len(p)):]
	case s.holdsBack(p):
		return nil
	case len(s.tail) > 0:
		p = slices.Concat(s.tail, p)
	}
	whole := 0
	eachMessage(p, func(msg []byte) { whole += len(msg) })
	rest := p[whole:]
	if n, ok := wire.Size(rest); !ok || !s.streams(rest[0], n, len(rest)) {
		return p[:whole]
	}
	return p
}

// deallocatesAll finds a Query that is nothing but DEALLOCATE ALL. As with Close, nothing has to be there for it.
var deallocatesAll = regexp.MustCompile(`(?i)^\s*deallocate\s+(prepare\s+)?all\s*;?\s*\x00?$`)

// endsOpen reports whether bytes of the client's leave a segment without its end. What it will need later cannot be prepared
// then: that takes a Sync.
func endsOpen(p []byte) bool {
	open, whole := false, 0
	eachMessage(p, func(msg []byte) {
		switch msg[0] {
		case wire.Query, wire.Sync, wire.FunctionCall:
			open = false
		case wire.Parse, wire.Bind, wire.Describe, wire.Execute, wire.Close:
			open = true
		}
		whole += len(msg)
	})
	return open || whole < len(p)
}

// MissingForReplay is Missing for a replay: statements that the unit itself has made are left out.
func (s *Session) MissingForReplay() []*Statement {
	if s.memory != nil {
		return s.lacks(s.journal[s.base:], s.statements.unit)
	}
	if !s.Needs() {
		return nil
	}
	return s.missing(s.journal[s.base:], s.statements.unit)
}

// missing leaves out what was made in the unit of that number.
func (s *Session) missing(p []byte, unit uint64) []*Statement {
	t := &s.statements
	var list []*Statement
	made := map[string]bool{}
	var need func(name []byte)
	// SQL's EXECUTE names a statement that SQL has made, PREPARE and DEALLOCATE any, and pg_prepared_statements is about all. What a
	// text may mean is restored rather than the text read.
	named := func(text []byte) {
		if t.missing == 0 || deallocatesAll.Match(text) {
			return
		}
		executes, all := containsFold(text, "execute"), containsFold(text, "prepared_statement")
		names := containsFold(text, "prepare") || containsFold(text, "deallocate")
		if !executes && !names {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(t.named)) {
			if st := t.named[name]; st.unit != unit && (all || executes && st.Parse == nil || names && containsFold(text, strings.ToLower(name))) {
				need([]byte(name))
			}
		}
	}
	need = func(name []byte) {
		if made[string(name)] {
			return
		}
		made[string(name)] = true
		if len(name) == 0 {
			if t.unnamedAt != t.upstream && len(t.unnamed) > 0 {
				named(t.unnamed)
				list = append(list, &Statement{Parse: bytes.Clone(t.unnamed), description: t.unnamedD})
			}
			return
		}
		if st := t.named[string(name)]; st != nil && st.unit != unit {
			named(st.Parse)
			if st.upstream != t.upstream {
				list = append(list, st)
			}
		}
	}
	look := func(msg []byte) {
		name, ok := statementOf(msg)
		switch {
		case msg[0] == wire.Close:
			// To close what is not there is no error. To restore it first may be one, if its result has changed: the very thing
			// for which clients close a statement.
		case ok:
			need(name)
		case msg[0] == wire.Parse:
			name, text := parseParts(msg)
			named(text)
			made[string(name)] = true
		case msg[0] == wire.Query:
			named(wire.Body(msg))
		}
	}
	for _, o := range s.outstanding() {
		if msg := s.message(o); o.kind == wire.Parse && msg != nil {
			name, _ := parseParts(msg)
			made[string(name)] = true // it is on its way
		}
	}
	if endsOpen(p) {
		for _, name := range slices.Sorted(maps.Keys(t.named)) {
			if t.named[name].Parse == nil {
				need([]byte(name))
			}
		}
	}
	whole := 0
	eachMessage(p, func(msg []byte) {
		look(msg)
		whole += len(msg)
	})
	if rest := p[whole:]; len(rest) > wire.HeaderLen {
		look(rest) // it may be passed on as it comes; the names stand at its beginning
	}
	if endsOpen(p) {
		for _, name := range slices.Sorted(maps.Keys(t.named)) {
			need([]byte(name))
		}
	}
	return list
}

// statementOf is the prepared statement that a message uses.
func statementOf(msg []byte) (name []byte, ok bool) {
	body := wire.Body(msg)
	switch msg[0] {
	case wire.Bind:
		_, rest, ok := wire.CString(body)
		if !ok {
			return nil, false
		}
		name, _, ok = wire.CString(rest)
		return name, ok
	case wire.Describe, wire.Close:
		if len(body) == 0 || body[0] != 'S' {
			return nil, false
		}
		name, _, ok = wire.CString(body[1:])
		return name, ok
	}
	return nil, false
}

// ForgetUnnamed says that the upstream has the unnamed statement no more.
func (s *Session) ForgetUnnamed() {
	if s.memory != nil {
		s.memory.ForgetUnnamed()
		return
	}
	s.statements.unnamedAt = s.statements.upstream - 1
}

// Restored says which of the Missing statements the upstream has again. The server has refused the others.
func (s *Session) Restored(missing, made []*Statement) {
	for _, st := range missing {
		if st.Gone {
			s.hidden(st.name)
		} else if slices.Contains(made, st) {
			s.restored(st)
		} else if s.memory != nil && st.Replace {
			s.memory.forget(st.name)
		}
	}
}

// hidden takes in that a statement which is not the client's was closed.
func (s *Session) hidden(name string) {
	if name == reserved {
		s.memory.injected.mode = commit.Off
		return
	}
	s.memory.forget(name)
}

func (s *Session) restored(st *Statement) {
	t := &s.statements
	if s.memory != nil {
		s.remember(st)
		return
	}
	if st.name == "" {
		t.unnamedAt, t.unnamedChanged = t.upstream, st.changed()
		return
	}
	if cur := t.named[st.name]; cur == st && st.upstream != t.upstream {
		st.upstream = t.upstream
		t.missing--
		if st.changed() {
			st.changedAt, t.changed = t.upstream, true
		}
	}
}

// eachMessage calls f with each whole message in p.
func eachMessage(p []byte, f func(msg []byte)) {
	for {
		n, ok := wire.Size(p)
		if !ok || n == 0 || n > len(p) {
			return
		}
		f(p[:n])
		p = p[n:]
	}
}

func containsFold[T string | []byte](text T, word string) bool {
	return bytes.Contains(bytes.ToLower([]byte(text)), []byte(word))
}
