package session

import (
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// aside is what a session keeps of an outstanding request whose message the journal does not have.
type aside struct {
	statement *Statement // that a Parse makes; nil: it is not known
	closes    string     // the statement of a Close
	texts     []numbered // of a Query or an Execute: statements that may leave something in the session
	next      int        // of them: those before it are done
	known     bool       // the others leave nothing
	params    bindParams // of an Execute
}

// numbered is the statement of a string behind so many others.
type numbered struct {
	number uint16
	text   string
}

// otherStatement stands for a statement that leaves nothing in the session.
const otherStatement = "SELECT"

// keepsAside reports whether there is an aside for a request: the journal does not have its message, and it may be asked for.
func (o op) keepsAside() bool {
	if o.start >= 0 {
		return false
	}
	switch o.kind {
	case wire.Query, wire.Parse, wire.Execute, wire.Close:
		return true
	}
	return false
}

// boundBeside is what a portal stands for that is made by messages which the journal does not have.
type boundBeside struct{ text, bind []byte }

// beside notes what messages stand for that the journal does not have, for those behind them.
func (s *Session) beside(w *pass, msg []byte) {
	switch msg[0] {
	case wire.Parse:
		if w.parses == nil {
			w.parses = make(map[string][]byte)
		}
		name, text := parseParts(msg)
		w.parses[string(name)] = text
	case wire.Bind:
		if w.binds == nil {
			w.binds = make(map[string]boundBeside)
		}
		portal, _, _ := wire.CString(wire.Body(msg))
		if name, ok := statementOf(msg); ok {
			text, here := w.parses[string(name)]
			if st := s.statements.named[string(name)]; !here && st != nil && s.noneParsing(w) {
				text = []byte(st.Text())
			}
			w.binds[string(portal)] = boundBeside{text, msg}
		}
	}
}

// noneParsing reports whether no Parse was outstanding when w began.
func (s *Session) noneParsing(w *pass) bool {
	if !w.looked {
		w.looked, w.parsed = true, !slices.ContainsFunc(s.outstanding(), func(o op) bool { return o.kind == wire.Parse })
	}
	return w.parsed
}

// asideOf makes the aside of a message, of which only a part may be there. w has what stands before it.
func (s *Session) asideOf(w *pass, msg []byte) (a aside) {
	switch msg[0] {
	case wire.Execute:
		portal, _, _ := wire.CString(wire.Body(msg))
		if b := w.binds[string(portal)]; b.text != nil {
			a.texts, a.known = s.lasting(string(b.text)), true
			if len(a.texts) > 0 {
				a.params = readBind(b.bind).clone()
			}
		}
	case wire.Parse:
		a.statement = newStatement(msg)
	case wire.Close:
		if name, ok := statementOf(msg); ok {
			a.closes = string(name)
		}
	case wire.Query:
		if text, _, ok := wire.CString(wire.Body(msg)); ok {
			a.texts, a.known = s.lasting(string(text)), true
		}
	}
	return a
}

// lasting returns the statements of a string that may leave something in the session. There are none in one that the server
// refuses.
func (s *Session) lasting(text string) (list []numbered) {
	statements, err := sqltext.Split(text, s.options())
	if err != nil {
		return nil
	}
	for i, st := range statements {
		if mayLast(st) {
			list = append(list, numbered{uint16(i), strings.Clone(st.Text)})
		}
	}
	return list
}

func mayLast(st sqltext.Statement) bool {
	switch st.Kind {
	case sqltext.Select, sqltext.Values, sqltext.Table, sqltext.With, sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge:
		return sqltext.MentionsState([]byte(st.Text))&(sqltext.StateSetConfig|sqltext.StateTemp) != 0
	}
	return true
}

// setAside keeps what is asked for later of the requests whose messages the journal is about to lose, beside that which is kept
// already.
func (s *Session) setAside() {
	var list []aside
	kept := s.asides
	for _, o := range s.outstanding() {
		if o.keepsAside() {
			list, kept = append(list, kept[0]), kept[1:]
			continue
		}
		lost := o
		if lost.start = -1; !lost.keepsAside() {
			continue
		}
		a := s.asideOf(&pass{}, s.message(o))
		if o.kind == wire.Execute {
			if text := s.portalStatement(o); text != "" {
				a.texts, a.known = s.lasting(text), true
				if len(a.texts) > 0 {
					a.params = readBind(s.bindOf(o)).clone()
				}
			}
		}
		list = append(list, a)
	}
	s.asides, s.asidesKept = list, 0
	for i := range list {
		s.asidesKept += list[i].cost()
	}
}

// dropAside forgets the aside of a request that is answered: the first.
func (s *Session) dropAside() {
	s.asidesKept -= s.asides[0].cost()
	if s.asides = s.asides[1:]; len(s.asides) == 0 {
		s.asides = nil
	}
}

// text returns the statement of that number; empty: it is not known.
func (a *aside) text(number uint16) string {
	for a.next < len(a.texts) && a.texts[a.next].number < number {
		a.next++
	}
	switch {
	case a.next < len(a.texts) && a.texts[a.next].number == number:
		return a.texts[a.next].text
	case a.known:
		return otherStatement
	}
	return ""
}

// statementInHand is the SQL that the server's answer in hand belongs to; empty: it is not known.
func (s *Session) statementInHand() string {
	if !s.Busy() {
		return ""
	}
	switch o := s.queue[s.head]; {
	case o.kind != wire.Query && o.kind != wire.Execute:
		return ""
	case o.keepsAside():
		return s.asides[0].text(o.commands)
	case o.kind == wire.Query:
		return s.queryStatement(o)
	default:
		return s.portalStatement(o)
	}
}

// queryStatement is the statement of a simple Query, the first outstanding request, that the CommandComplete in hand belongs to.
func (s *Session) queryStatement(o op) string {
	if s.inHand == nil {
		msg := s.message(o)
		if msg == nil {
			return ""
		}
		text, _, _ := wire.CString(wire.Body(msg))
		s.inHand, _ = sqltext.Split(string(text), s.options())
	}
	if int(o.commands) >= len(s.inHand) {
		return ""
	}
	return s.inHand[o.commands].Text
}

// meanings says what portals and statements stand for at an offset of the journal. It is brought forward as requests are answered,
// which they are in their order.
type meanings struct {
	version int // of the journal that the offsets are of
	to      int
	parses  map[string]int // statement -> offset of its Parse
	binds   map[string]bound
}

// bound is what a portal stands for.
type bound struct {
	bind  int // offset of the Bind
	parse int // offset of the Parse of its statement; -1: that was there when the unit began
}

// meaningsAt are those at an offset.
func (s *Session) meaningsAt(offset int) *meanings {
	m := &s.meanings
	if m.parses == nil || m.version != s.journalVersion || m.to > offset || m.to < s.base {
		*m = meanings{version: s.journalVersion, to: s.base, parses: make(map[string]int), binds: make(map[string]bound)}
	}
	eachMessage(s.journal[m.to:offset], func(msg []byte) {
		switch msg[0] {
		case wire.Parse:
			name, _ := parseParts(msg)
			m.parses[string(name)] = m.to
		case wire.Bind:
			if portal, _, ok := wire.CString(wire.Body(msg)); ok {
				at := bound{m.to, -1}
				if name, ok := statementOf(msg); ok {
					if parse, ok := m.parses[string(name)]; ok {
						at.parse = parse
					}
				}
				m.binds[string(portal)] = at
			}
		}
		m.to += len(msg)
	})
	return m
}

// boundTo is what the portal of an Execute stands for.
func (s *Session) boundTo(o op) (b bound, ok bool) {
	msg := s.message(o)
	if msg == nil {
		return bound{}, false
	}
	portal, _, _ := wire.CString(wire.Body(msg))
	b, ok = s.meaningsAt(int(o.start)).binds[string(portal)]
	return b, ok
}

// bindOf is the Bind of the portal that an Execute runs, nil if the journal does not have it.
func (s *Session) bindOf(o op) []byte {
	b, ok := s.boundTo(o)
	if !ok {
		return nil
	}
	n, _ := wire.Size(s.journal[b.bind:])
	return s.journal[b.bind : b.bind+n]
}

// portalStatement is the SQL of the portal that an Execute runs: the one that it was bound with.
func (s *Session) portalStatement(o op) string {
	b, ok := s.boundTo(o)
	if !ok {
		return ""
	}
	if b.parse >= 0 {
		return s.parseAt(b.parse)
	}
	name, _ := statementOf(s.bindOf(o))
	return s.statements.textBefore(string(name))
}

// parseAt is the SQL of the Parse at an offset of the journal.
func (s *Session) parseAt(offset int) string {
	n, _ := wire.Size(s.journal[offset:])
	_, text := parseParts(s.journal[offset : offset+n])
	return string(text)
}

// emptyPortal reports whether a portal runs a statement that is known, and empty.
func (s *Session) emptyPortal(o op) bool {
	b, ok := s.boundTo(o)
	if !ok {
		return false
	}
	name, _ := statementOf(s.bindOf(o))
	return b.parse >= 0 || len(name) == 0 && len(s.statements.unnamed) > 0 || s.statements.named[string(name)] != nil
}

// statementText is the SQL that a prepared statement of that name had at an offset of the journal.
func (s *Session) statementText(name []byte, before int) string {
	if parse, ok := s.meaningsAt(before).parses[string(name)]; ok {
		return s.parseAt(parse)
	}
	return s.statements.textBefore(string(name))
}

// textBefore is the SQL that a prepared statement of that name had when the unit began; empty if there was none.
func (t *statements) textBefore(name string) string {
	if st := t.gone[name]; st != nil {
		return st.Text()
	}
	if name != "" {
		if st := t.named[name]; st != nil {
			return st.Text()
		}
		return ""
	}
	if len(t.unnamed) == 0 {
		return ""
	}
	_, text := parseParts(t.unnamed)
	return string(text)
}
