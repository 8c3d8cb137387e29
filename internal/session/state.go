package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// Bits of the state mask that are this package's own.
const (
	stateHeldCursor sqltext.StateMask = 1 << (24 + iota)
	stateTempTable
	stateSettings // settings made in a way that cannot be done again
	stateOpaque   // what functions of the user's own may have set
	stateUnread   // what a text that was not read may have left
)

// heldStates are the kinds of state that a session keeps on its server between transactions and that nothing can carry
// over, in the words of an error. currval and lastval count only where upstreams are shared: otherwise a server that has
// not seen nextval in this session says so itself.
var heldStates = []struct {
	mask sqltext.StateMask
	key  string // for metrics
	name string
}{
	{stateTempTable, "temporary_table", "temporary tables"},
	{stateHeldCursor, "held_cursor", "cursors WITH HOLD"},
	{stateSettings, "settings", "settings made by set_config in a statement that does more"},
	{stateOpaque, "functions", "what functions called outside a transaction may have set (session_state=strict)"},
	{stateUnread, "unread", "what a statement whose text was too long to be read may have left"},
	{sqltext.StateSequence, "sequence", "currval and lastval"},
	{sqltext.StateAdvisoryLock, "advisory_lock", "session-level advisory locks"},
	{sqltext.StateSeed, "seed", "the seed of random()"},
	{sqltext.StateOutside, "outside", "connections that the server holds to elsewhere"},
	{sqltext.StateReplication, "replication", "replication slots or origins"},
	{sqltext.StateEscaped, "escaped_identifier", "what identifiers written as U&\"...\" may stand for"},
}

// heldMask are the mentions that count at once; the others are looked at when their statement has succeeded.
const heldMask = sqltext.StateAdvisoryLock | sqltext.StateSeed | sqltext.StateOutside | sqltext.StateReplication |
	sqltext.StateEscaped

// mention notes state that the SQL text may leave on the server where no later message shows it.
func (s *Session) mention(body []byte) sqltext.StateMask {
	m := sqltext.MentionsState(body)
	s.note(m)
	return m
}

// note takes in what a text that is about to run mentions.
func (s *Session) note(m sqltext.StateMask) {
	if m == 0 {
		return
	}
	s.state |= m & heldMask
	s.unitMentions |= m
	if m&sqltext.StateExecute != 0 && s.statements.mentioning > 0 {
		for _, st := range s.statements.named {
			s.note(st.mentions &^ sqltext.StateExecute)
		}
	}
	if s.memory == nil {
		return
	}
	s.state |= m & sqltext.StateSequence
	if m&(sqltext.StateTemp|sqltext.StateAdvisoryLock) != 0 || m&sqltext.StateUndo != 0 && s.state&inspectable != 0 {
		s.look = true
	}
}

// noteBound takes in what the statement of a Bind mentions: it may have been prepared in another unit, or on another server.
func (s *Session) noteBound(msg []byte, start int) {
	name, ok := statementOf(msg)
	switch {
	case !ok:
	case len(name) == 0:
		s.note(s.unnamedMentions)
	case s.statements.mentioning > 0:
		if st := s.statements.named[string(name)]; st != nil {
			s.note(st.mentions)
			if start < 0 {
				s.noteTemp(st.mentions, []byte(st.Text()))
			}
		}
	}
}

// noteTemp takes in a text that will not be there any more when its answer comes: the journal does not have it.
func (s *Session) noteTemp(m sqltext.StateMask, text []byte) {
	if m&sqltext.StateTemp == 0 {
		return
	}
	list, err := sqltext.Split(string(bytes.TrimSuffix(text, []byte{0})), s.options())
	if err != nil {
		return // the server refuses it
	}
	for _, st := range list {
		s.makesTemp(st.Text)
	}
}

// held names the state that the session may hold on its server and that nothing can carry over; empty when there is
// none.
func (s *Session) held() string { return heldIn(s.state) }

func heldIn(state sqltext.StateMask) string {
	if state == 0 {
		return ""
	}
	var names []string
	for _, h := range heldStates {
		if state&h.mask != 0 {
			names = append(names, h.name)
		}
	}
	return strings.Join(names, ", ")
}

// told notes that a problem that the client gets names the state that was lost.
func (s *Session) told(p *Problem) {
	if held := s.held(); held != "" && strings.Contains(p.Message+p.Detail, held) {
		s.forgetState()
	}
	if s.owed != nil && strings.Contains(p.Message+p.Detail, s.owedState) {
		s.owed = nil
	}
}

// Obstacle is what kept the session from carrying its work over the last loss, in a word for metrics; "" when nothing did.
func (s *Session) Obstacle() string { return s.obstacle }

// findObstacle looks for what stands in the way of a replay.
func (s *Session) findObstacle() string {
	state := s.unitState
	if s.Idle() {
		state = s.state
	}
	for _, h := range heldStates {
		if state&h.mask != 0 {
			return h.key
		}
	}
	switch {
	case s.Idle():
		return ""
	case s.mode != Full:
		return "mode"
	case s.replays >= exempt:
		return "without_replay"
	case s.copied:
		return "copy"
	case s.truncated:
		return "journal_limit"
	case s.replays >= maxReplays:
		return "replays"
	case s.unitMentions&refusedMentions != 0:
		return "outside"
	case !s.repeatable():
		return "statement"
	}
	if points, _ := s.commitPoints(); len(points) > 0 {
		return "no_evidence"
	}
	return ""
}

func (s *Session) forgetState() { s.state, s.unitState, s.look = 0, 0, false }

// callsSetConfig reports whether a statement that completes now may call set_config.
func (s *Session) callsSetConfig() bool { return s.unitMentions&sqltext.StateSetConfig != 0 }

// mentionsSetConfig reports whether a statement's text does.
func mentionsSetConfig(sql string) bool {
	return sqltext.MentionsState([]byte(sql))&sqltext.StateSetConfig != 0
}

// executesSetConfig reports whether a statement that was run may be one that SQL has prepared, which calls set_config.
func (s *Session) executesSetConfig(sql string) bool {
	if !s.callsSetConfig() {
		return false
	}
	switch sqltext.Classify(sql, s.options()) {
	case sqltext.Execute, sqltext.Prepare:
		return s.anyMadeBySQL(func(st *Statement) bool { return st.mentions&sqltext.StateSetConfig != 0 })
	}
	return false
}

// anyMadeBySQL reports whether there is such a statement among those that SQL's PREPARE has made.
func (s *Session) anyMadeBySQL(is func(*Statement) bool) bool {
	for _, st := range s.statements.named {
		if st.Parse == nil && is(st) {
			return true
		}
	}
	return false
}

// unread notes that a statement was run whose text is not known, and which may have left anything in the session.
func (s *Session) unread() {
	s.state |= stateUnread
	if s.memory != nil {
		s.memory.unsure, s.look = true, true
	}
}

// textLost reports whether some of the string that the first outstanding request is was not read.
func (s *Session) textLost() bool {
	o := s.queue[s.head]
	return o.keepsAside() && !s.asides[0].known
}

// unknownCommand takes in a command of which there is only the tag.
func (s *Session) unknownCommand(word string, tag []byte) {
	switch {
	case string(tag) == "DISCARD ALL":
		s.set(string(tag))
	case string(tag) == "DEALLOCATE ALL":
		s.statements.dropAll()
	case word == "ROLLBACK":
		s.rolledBack("")
		s.unread() // it may have been one to a savepoint
	case word == "SELECT", word == "CREATE", word == "INSERT", word == "UPDATE", word == "DELETE", word == "MERGE":
		if s.callsSetConfig() {
			s.state |= stateSettings
		}
		if s.unitMentions&sqltext.StateTemp != 0 {
			s.state |= stateTempTable
			s.look = s.memory != nil
		}
	default:
		s.unread()
	}
}

// setConfig takes in a SELECT that may have called set_config, and has not if it has returned no row.
func (s *Session) setConfig(head byte, sql string, tag []byte) {
	calls, ok := sqltext.SetConfigCalls(sql, s.options())
	if !ok {
		s.state |= stateSettings
		return
	}
	if len(calls) == 0 || string(tag) == "SELECT 0" {
		return
	}
	var params bindParams
	if head == wire.Execute {
		if o := s.queue[s.head]; o.keepsAside() {
			params = s.asides[0].params
		} else {
			params = readBind(s.bindOf(o))
		}
	}
	for _, call := range calls {
		name, nameOK := params.value(call.Name)
		value, valueOK := params.value(call.Value)
		local, localOK := params.value(call.Local)
		if !nameOK || name == nil || !valueOK || !localOK || local == nil {
			s.state |= stateSettings
			return
		}
		literal := "NULL"
		if value != nil {
			literal = Quote(*value)
		}
		s.settings.change(change{
			name: strings.ToLower(*name), local: isTrue(*local),
			sql: fmt.Sprintf("SELECT pg_catalog.set_config(%s, %s, false)", Quote(*name), literal),
		})
	}
}

// bindParams are the parameters of a Bind: nil for NULL.
type bindParams struct {
	values  [][]byte
	formats []uint16
}

func readBind(msg []byte) (p bindParams) {
	if msg == nil {
		return p
	}
	_, rest, ok := wire.CString(wire.Body(msg))
	if ok {
		_, rest, ok = wire.CString(rest)
	}
	if !ok || len(rest) < 2 {
		return bindParams{}
	}
	take := func(n int) []byte {
		if n < 0 || len(rest) < n {
			rest = nil
			return nil
		}
		b := rest[:n]
		rest = rest[n:]
		return b
	}
	number := func() int {
		if b := take(2); b != nil {
			return int(binary.BigEndian.Uint16(b))
		}
		return 0
	}
	for range number() {
		p.formats = append(p.formats, uint16(number()))
	}
	for range number() {
		b := take(4)
		if b == nil {
			return bindParams{}
		}
		if n := int32(binary.BigEndian.Uint32(b)); n < 0 {
			p.values = append(p.values, nil)
		} else {
			v := take(int(n))
			if v == nil {
				return bindParams{}
			}
			p.values = append(p.values, v)
		}
	}
	return p
}

// clone returns a copy that shares no memory with the message.
func (p bindParams) clone() bindParams {
	values := make([][]byte, len(p.values))
	for i, v := range p.values {
		values[i] = bytes.Clone(v)
	}
	p.values = values
	return p
}

// value is an argument as text; a nil string is NULL. Text is the same in both formats, a boolean is not.
func (p bindParams) value(a sqltext.Arg) (v *string, ok bool) {
	switch a.Kind {
	case sqltext.ArgNull:
		return nil, true
	case sqltext.ArgLiteral:
		return &a.Text, true
	}
	if a.Param < 1 || a.Param > len(p.values) {
		return nil, false
	}
	b := p.values[a.Param-1]
	if b == nil {
		return nil, true
	}
	text := string(b)
	return &text, true
}

// isTrue reads a boolean in either format.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "t", "tr", "tru", "true", "y", "ye", "yes", "on", "1", "\x01":
		return true
	}
	return false
}

// QuoteIdentifier is a name as SQL has it in quotes.
func QuoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Quote makes a literal that means the same whatever standard_conforming_strings is.
func Quote(s string) string {
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''") + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// Opaque reports whether functions of the user's own may have made settings that have not been read back since.
func (s *Session) Opaque() bool { return s.state&stateOpaque != 0 }

// ReadBack takes the values that settings have on the upstream, now that the session is idle: they are all that functions
// of the user's own leave behind.
func (s *Session) ReadBack(values map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		s.settings.set(strings.ToLower(name), fmt.Sprintf("SELECT pg_catalog.set_config(%s, %s, false)", Quote(name), Quote(values[name])))
	}
	s.state &^= stateOpaque
	s.unitState &^= stateOpaque
}
