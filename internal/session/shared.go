package session

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// sharedPrefix begins the names of statements that the sessions of a pool share. The prefix alone is the name of none.
const sharedPrefix = "fairlead_"

// msgCloseNothing closes a statement that is not there, which is no error.
var msgCloseNothing = encodeFrontend(&pgproto3.Close{ObjectType: 'S', Name: sharedPrefix})

// NeedsNoServer reports whether bytes that the client wants to send are only to be taken in: they complete no message, it
// says goodbye, or they are no protocol.
func (s *Session) NeedsNoServer(p []byte) bool {
	if len(s.tail) == 0 && len(p) == wire.HeaderLen && p[0] == wire.Terminate {
		return true
	}
	return s.skipBody == 0 && s.holdsBack(p)
}

// holdsBack reports whether p completes no message, and lets none be passed on before its end has come; or it is none.
func (s *Session) holdsBack(p []byte) bool {
	var head [wire.HeaderLen]byte
	if k := copy(head[:], s.tail); k+copy(head[k:], p) < len(head) {
		return true
	}
	n, _ := wire.FrontendSize(head[:])
	have := len(s.tail) + len(p)
	return n == 0 || n > have && !s.streams(head[0], n, have) && !s.refusesSize(head[0], n)
}

// Share makes it a session that has its upstreams only for a while each. The id is no other session's. It is called before
// anything else.
func (s *Session) Share(id uint64) {
	s.id = id
	s.settings.shared = true
}

// Wanted is the SQL that brings an upstream that has just logged in to the session's settings.
func (s *Session) Wanted() string { return s.settings.wanted() }

// Borrow gives the session an upstream, of which m is what is known; p is what the client will send first. Difference and
// Same bring the upstream to the session's state, and Attached says that it is there.
func (s *Session) Borrow(m *Memory, p []byte) {
	s.memory = m
	s.begins = 0
	if mentions := s.mentionsWith(p); mentions&sqltext.StateSequence != 0 {
		s.begins = mentions
	}
	s.statements.moved()
}

// mentionsWith is what the beginning of a message that has come and p mention together.
func (s *Session) mentionsWith(p []byte) sqltext.StateMask {
	m := sqltext.MentionsState(p)
	if len(s.tail) > 0 {
		seam := append(s.tail[max(0, len(s.tail)-longestMention):], p[:min(len(p), longestMention)]...)
		m |= sqltext.MentionsState(s.tail) | sqltext.MentionsState(seam)
	}
	return m
}

// Differs reports whether Difference has anything to do.
func (s *Session) Differs() bool {
	m := s.memory
	if m.unsure || m.settings != s.Wanted() || s.Listening() || s.begins != 0 && m.sequences != s.id {
		return true
	}
	for _, owner := range m.own {
		if owner != s.id {
			return true
		}
	}
	return m.sum != s.sum()
}

// sum is that of the parameters that the client knows.
func (s *Session) sum() uint64 {
	if s.paramsStale {
		s.paramsSum, s.paramsStale = sumOf(s.params), false
	}
	return s.paramsSum
}

// Took is Attached for an upstream that does not differ.
func (s *Session) Took(pid uint32) { s.pid = pid }

// Free reports whether the session needs no upstream for now, whatever it may hold on the one that it has. The beginning of a
// message that no upstream was given needs none.
func (s *Session) Free() bool {
	return s.memory != nil && s.Quiet() && s.skipBody == 0
}

// Quiet reports whether the client is owed nothing, and has begun nothing.
func (s *Session) Quiet() bool {
	return s.Idle() && !s.open && !s.skipping && !s.Waits() && !s.HasUnsent() && s.streaming == 0
}

// Recoverable reports whether it is known what the upstream waits for, so that it can be brought back to where it is idle though the
// client is gone: it reads no COPY data, and has been sent no half of a message, and no requests whose Sync would commit them. A piece
// of a message that was not sent is forgotten.
func (s *Session) Recoverable() bool {
	if s.memory == nil || s.open && !s.skipping || s.copyIn || s.skipBody > 0 || s.dropBody || s.confused || s.streaming > 0 || s.Waits() || s.HasUnsent() || s.local.on {
		return false
	}
	s.tail = s.tail[:0]
	return true
}

// Unsynced reports whether the server passes over everything up to a Sync that the client has not sent.
func (s *Session) Unsynced() bool { return s.skipping }

// Discardable reports whether DISCARD ALL ends all that ties the session to its upstream.
func (s *Session) Discardable() bool {
	return s.state&^(inspectable|sqltext.StateSequence) == 0
}

// Return takes the upstream away from a session that is Free. What is known of it is in its Memory.
func (s *Session) Return() {
	m := s.memory
	m.settings, m.unsure = s.Wanted(), m.unsure || s.settings.unsure
	s.settings.unsure = false
	m.sequences = s.id
	m.ended = m.ended || s.confused || s.probeRan || s.dropTag
	s.clearNaming()
	s.memory, s.naming, s.onTheWay = nil, nil, parseQueue{}
}

// Forsake takes away an upstream that the session has not come to use.
func (s *Session) Forsake() { s.leave() }

// leave is the loss of the upstream.
func (s *Session) leave() {
	s.clearNaming()
	s.memory, s.naming, s.onTheWay, s.settings.unsure, s.look = nil, nil, parseQueue{}, false, false
	s.statements.moved()
	s.deaf()
}

// held state that the server can be asked for.
const inspectable = stateHeldCursor | stateTempTable | sqltext.StateAdvisoryLock

// Inspect is the query whose answer Inspected takes. It names the kinds of state that the connection holds.
const Inspect = `select pg_catalog.concat(` +
	`case when exists (select from pg_catalog.pg_class where relnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema())` +
	` or exists (select from pg_catalog.pg_proc where pronamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()) then 't' end,` +
	`case when exists (select from pg_catalog.pg_locks where locktype operator(pg_catalog.=) 'advisory'` +
	` and pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()) then 'a' end,` +
	`case when exists (select from pg_catalog.pg_cursors where is_holdable) then 'c' end)`

// Inspects reports whether the server has to be asked what the session holds there.
func (s *Session) Inspects() bool { return s.look || s.Unsettled() }

// Unsettled reports whether a session that keeps its upstream has gone back to the settings of its startup, and the upstream
// to those of its login. ResetTo the Wanted mends that, and Settled says so.
func (s *Session) Unsettled() bool { return s.settings.unsure && s.Pins() != "" }

// Settled is given the upstream's parameters as they are then. The client learns what has changed.
func (s *Session) Settled(params map[string]string) {
	s.settings.unsure = false
	s.memory.Recount()
	s.report(params)
}

// Inspected takes in the answer to Inspect.
func (s *Session) Inspected(answer string) {
	s.look = false
	s.state &^= inspectable
	for _, c := range answer {
		switch c {
		case 't':
			s.state |= stateTempTable
		case 'a':
			s.state |= sqltext.StateAdvisoryLock
		case 'c':
			s.state |= stateHeldCursor
		}
	}
	s.unitState = s.state
}

// Pins names what ties the session to the upstream that it has; empty when nothing does. It is Free.
func (s *Session) Pins() string {
	held := s.held()
	if !s.Listening() {
		return held
	}
	if held != "" {
		held += ", "
	}
	return held + "LISTEN"
}

// shareParse has a statement of the client's prepared under the name that all sessions use for it. Where the upstream has it,
// it is prepared anew: the client is to get what its text means now.
func (s *Session) shareParse(w *pass, at, start int, msg []byte) {
	name, _ := parseParts(msg)
	if len(name) == 0 {
		return
	}
	if _, known := s.resolve(name); known && !s.madeAgain(name) {
		s.collide(w, at, msg)
		s.onTheWay.push("")
		return
	}
	if s.keeps(name) {
		s.onTheWay.push("")
		return
	}
	shared := s.sharedName(msg)
	s.announce(w, at, start, shared)
	s.setNaming(string(name), shared)
	s.rename(w, at, msg, wire.HeaderLen, name, shared)
}

// announce is what goes before the Parse of a shared statement.
func (s *Session) announce(w *pass, at, start int, shared string) {
	if s.memory.has(shared) || s.onTheWay.has(shared) {
		w.insert(at, encodeFrontend(&pgproto3.Close{ObjectType: 'S', Name: shared}))
		s.push(op{kind: opClose, start: int32(start), end: int32(start)})
	}
	s.onTheWay.push(shared)
}

// keeps reports whether a statement is called on the server what the client calls it.
func (s *Session) keeps(name []byte) bool {
	return s.ownNames && !strings.HasPrefix(string(name), sharedPrefix)
}

// madeAgain reports whether a Parse in a replay makes the statement that it has made before.
func (s *Session) madeAgain(name []byte) bool {
	st := s.statements.named[string(name)]
	return s.feeding && st != nil && st.unit == s.statements.unit
}

// collide is a Parse of a name that the client has in use: the server is to have it too, so that it says so, unless it has more to say
// against the text.
func (s *Session) collide(w *pass, at int, msg []byte) {
	name, _ := parseParts(msg)
	if s.memory.own[string(name)] == s.id {
		return
	}
	s.memory.own[string(name)] = s.id
	inUse := msg
	if st := s.statements.named[string(name)]; st != nil && st.Parse != nil {
		inUse = st.Parse
	}
	w.insert(at, inUse)
	s.push(op{kind: opParse, start: -1, end: -1})
	s.onTheWay.push("")
}

// shareName puts the shared name of a statement into a message that uses it.
func (s *Session) shareName(w *pass, at, start int, msg []byte) {
	name, ok := statementOf(msg)
	if !ok || len(name) == 0 {
		return
	}
	offset := wire.HeaderLen + 1
	if msg[0] == wire.Bind {
		offset = wire.HeaderLen + len(wire.Body(msg)[:indexZero(wire.Body(msg))]) + 1
	}
	shared, known := s.resolve(name)
	if msg[0] == wire.Close {
		if _, pending := s.naming[string(name)]; pending || known {
			s.setNaming(string(name), "")
		}
	}
	switch {
	case known && shared == "", s.keeps(name) && shared == "":
		// It has the client's own name.
		if msg[0] == wire.Close {
			s.closeOwn(name)
		}
	case msg[0] == wire.Close:
		if s.memory.own[string(name)] == s.id {
			s.closeOwn(name)
			return
		}
		w.replace(at, len(msg), msgCloseNothing)
	case known:
		if _, pending := s.naming[string(name)]; !pending && !s.memory.has(shared) {
			// It could not be prepared ahead. That the client learns as it does when a plan cannot be made again.
			s.announce(w, at, start, shared)
			w.insert(at, renamed(s.statements.named[string(name)].Parse, shared))
			s.push(op{kind: opParse, start: -1, end: -1})
		}
		s.rename(w, at, msg, offset, name, shared)
	case strings.HasPrefix(string(name), sharedPrefix):
		s.rename(w, at, msg, offset, name, sharedPrefix)
	}
}

// closeOwn takes in that a statement with the client's own name is closed, unless an error comes first.
func (s *Session) closeOwn(name []byte) {
	delete(s.memory.own, string(name))
	s.closesOwn = true
}

func indexZero(b []byte) int {
	for i, c := range b {
		if c == 0 {
			return i
		}
	}
	return len(b)
}

// setNaming notes what a client's name is to mean.
func (s *Session) setNaming(name, shared string) {
	if s.naming == nil {
		s.naming = make(map[string]string)
	}
	if _, ok := s.naming[name]; !ok {
		s.namesKept += len(name) + nameCost
	}
	s.naming[name] = shared
}

// unname forgets it: the server has said so.
func (s *Session) unname(name string) {
	if _, ok := s.naming[name]; ok {
		s.namesKept -= len(name) + nameCost
		delete(s.naming, name)
	}
}

func (s *Session) clearNaming() {
	for name := range s.naming {
		s.namesKept -= len(name) + nameCost
	}
	clear(s.naming)
}

// resolve is the shared name of a statement of the client's; empty for one that SQL has made.
func (s *Session) resolve(name []byte) (shared string, known bool) {
	if on, ok := s.naming[string(name)]; ok {
		return on, on != ""
	}
	st := s.statements.named[string(name)]
	switch {
	case st == nil:
		return "", false
	case st.Parse == nil, s.keeps(name):
		return "", true
	}
	return s.sharedOf(st), true
}

// rename replaces a name in a message.
func (s *Session) rename(w *pass, at int, msg []byte, offset int, name []byte, with string) {
	var head [wire.HeaderLen]byte
	head[0] = msg[0]
	binary.BigEndian.PutUint32(head[1:], binary.BigEndian.Uint32(msg[1:])+uint32(len(with))-uint32(len(name)))
	w.replace(at, offset+len(name), head[:], msg[wire.HeaderLen:offset], []byte(with))
}

// sharedOf is sharedName for a statement that the client has. What a text means can depend on settings, and these on when
// it is used.
func (s *Session) sharedOf(st *Statement) string {
	if v := s.settings.version; st.shared == "" || st.sharedAt != v {
		st.shared, st.sharedAt = s.sharedName(st.Parse), v
	}
	return st.shared
}

// sharedName is the name that every session with the same settings uses for the same text with the same parameter types.
func (s *Session) sharedName(parse []byte) string {
	_, rest, _ := wire.CString(wire.Body(parse))
	h := sha256.New()
	meaning := s.settings.meaning()
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(meaning)))
	_, _ = h.Write(n[:])
	_, _ = h.Write([]byte(meaning))
	_, _ = h.Write(rest)
	var sum [sha256.Size]byte
	var name [len(sharedPrefix) + 22]byte
	copy(name[:], sharedPrefix)
	base64.RawURLEncoding.Encode(name[len(sharedPrefix):], h.Sum(sum[:0])[:16])
	return string(name[:])
}

// meaningless are settings that have no part in what a text means; nor have those with a dot in their names.
var meaningless = map[string]bool{
	"application_name": true, "client_min_messages": true, "statement_timeout": true, "lock_timeout": true,
	"idle_in_transaction_session_timeout": true, "idle_session_timeout": true, "synchronous_commit": true,
	"work_mem": true, "maintenance_work_mem": true,
}

// meaning is the settings in force that can have a part in what a text means.
func (t *settings) meaning() string {
	if t.meantAt == t.version+1 {
		return t.meant
	}
	var b strings.Builder
	add := func(name, sql string) {
		if !meaningless[name] && !strings.Contains(name, ".") {
			b.WriteString(sql + ";\n")
		}
	}
	for _, name := range t.order {
		add(name, t.session[name])
	}
	for _, c := range t.pending {
		if c.savepoint == "" && c.listening == 0 {
			add(c.name, c.sql)
		}
	}
	t.meant, t.meantAt = b.String(), t.version+1
	return t.meant
}

// lacks lists what the upstream has not of that which messages of the client's refer to, those left out that the messages
// make themselves. Statements that the session made in the unit of that number are there, or on their way.
func (s *Session) lacks(p []byte, unit uint64) (list []*Statement) {
	t := &s.statements
	lists := s.listsStatements(p)
	if lists {
		s.ownNames = true
		list = s.toHide()
	}
	if len(t.named) == 0 && len(t.unnamed) == 0 {
		return list
	}
	var made map[string]bool
	need := func(name []byte) {
		if made[string(name)] {
			return
		}
		if _, pending := s.naming[string(name)]; pending {
			return
		}
		st := s.lacking(name, unit)
		if st == nil {
			return
		}
		if made == nil {
			made = make(map[string]bool)
		}
		made[string(name)] = true
		list = append(list, st)
	}
	own := func(text []byte) {
		for _, st := range s.ownLacking(text, unit) {
			if !slices.ContainsFunc(list, func(other *Statement) bool { return !other.common && other.name == st.name }) {
				list = append(list, st)
			}
		}
	}
	look := func(msg []byte) {
		if msg[0] == wire.Parse || msg[0] == wire.Query {
			own(wire.Body(msg))
		}
		if name, ok := statementOf(msg); ok && msg[0] != wire.Close {
			if st := t.named[string(name)]; st != nil && st.mentions&ownMentions != 0 {
				own([]byte(st.Text()))
			}
			need(name)
		} else if msg[0] == wire.Parse {
			if made == nil {
				made = make(map[string]bool)
			}
			name, _ := parseParts(msg)
			made[string(name)] = true
		}
	}
	whole := 0
	eachMessage(p, func(msg []byte) {
		look(msg)
		whole += len(msg)
	})
	if rest := p[whole:]; len(rest) > wire.HeaderLen {
		look(rest)
	}
	if lists || endsOpen(p) {
		for _, name := range slices.Sorted(maps.Keys(t.named)) {
			need([]byte(name))
		}
	}
	return list
}

// listsStatements reports whether messages of the client's ask which prepared statements it has.
func (s *Session) listsStatements(p []byte) (lists bool) {
	if m := sqltext.MentionsState(p); m&sqltext.StateExecute != 0 && containsFold(p, preparedView) {
		return true
	}
	if s.statements.mentioning == 0 && s.unnamedMentions&sqltext.StateExecute == 0 {
		return false
	}
	eachMessage(p, func(msg []byte) {
		name, ok := statementOf(msg)
		switch st := s.statements.named[string(name)]; {
		case !ok || msg[0] != wire.Bind:
		case len(name) == 0:
			lists = lists || s.unnamedMentions&sqltext.StateExecute != 0 && containsFold(s.statements.unnamed, preparedView)
		case st != nil:
			lists = lists || st.mentions&sqltext.StateExecute != 0 && containsFold(st.Text(), preparedView)
		}
	})
	return lists
}

// preparedView is a part of the name of pg_prepared_statements.
const preparedView = "prepared_statement"

// toHide lists what the upstream has that is not the client's own, and is to be closed before the client looks.
func (s *Session) toHide() (list []*Statement) {
	for _, name := range slices.Sorted(maps.Keys(s.memory.statements)) {
		if !s.onTheWay.has(name) {
			list = append(list, &Statement{Gone: true, name: name})
		}
	}
	return append(list, &Statement{Gone: true, name: reserved}) // it may be there though nobody counts on it any more
}

// lacking is what is to be prepared for a statement of the client's to be used, nil for nothing.
func (s *Session) lacking(name []byte, unit uint64) *Statement {
	t, m := &s.statements, s.memory
	if len(name) == 0 {
		if len(t.unnamed) == 0 || m.unnamed == s.id && m.unnamedSeq == t.unnamedSeq {
			return nil
		}
		return &Statement{Parse: t.unnamed, description: t.unnamedD}
	}
	st := t.named[string(name)]
	switch {
	case st == nil || st.unit == unit:
		return nil
	case st.Parse != nil && s.keeps(name):
		if m.own[st.name] == s.id {
			return nil
		}
		return &Statement{Parse: st.Parse, name: st.name, description: st.description, rows: st.rows}
	case st.Parse == nil:
		if m.own[st.name] == s.id {
			return nil
		}
		return st
	}
	shared := s.sharedOf(st)
	there := m.has(shared)
	if there && m.statements[shared].serves(st) {
		return nil
	}
	return &Statement{Parse: renamed(st.Parse, shared), name: shared, description: st.description, rows: st.rows, common: true, Replace: there}
}

// ownMentions are words of what names prepared statements in SQL.
const ownMentions = sqltext.StateExecute | sqltext.StateDeallocate

// ownLacking lists the statements that SQL's EXECUTE, DEALLOCATE or PREPARE may name and that are not on the upstream under the
// client's own name.
func (s *Session) ownLacking(text []byte, unit uint64) (list []*Statement) {
	if len(s.statements.named) == 0 {
		return nil
	}
	mentions := sqltext.MentionsState(text)
	if mentions&ownMentions == 0 {
		return nil
	}
	// What an escaped identifier stands for is not read.
	named := func(name string) bool {
		return mentions&sqltext.StateEscaped != 0 || containsFold(text, strings.ToLower(strings.ReplaceAll(name, `"`, `""`)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.statements.named)) {
		if st := s.statements.named[name]; s.memory.own[name] != s.id && st.unit != unit && named(name) {
			list = append(list, &Statement{Parse: st.Parse, SQL: st.SQL, name: name, description: st.description})
		}
	}
	return list
}

// renamed is a Parse under another name.
func renamed(parse []byte, name string) []byte {
	_, rest, _ := wire.CString(wire.Body(parse))
	b := make([]byte, wire.HeaderLen, wire.HeaderLen+len(name)+1+len(rest))
	b[0] = wire.Parse
	binary.BigEndian.PutUint32(b[1:], uint32(4+len(name)+1+len(rest)))
	return append(append(append(b, name...), 0), rest...)
}

// remember is restored for a session that shares its upstreams.
func (s *Session) remember(st *Statement) {
	m := s.memory
	switch {
	case st.name == "":
		m.unnamed, m.unnamedSeq = s.id, s.statements.unnamedSeq
		s.statements.unnamedChanged = st.changed()
		m.ended = m.ended || st.changed()
	case st.common:
		m.put(st.name, st.kept())
	default:
		m.own[st.name] = s.id
		if cur := s.statements.named[st.name]; cur != nil && st.changed() {
			cur.changedAt, s.statements.changed = s.statements.upstream, true
			m.ended = true
		}
	}
}

// prepared takes in that the server has completed a Parse of the client's.
func (s *Session) prepared(name []byte) {
	if s.memory == nil {
		return
	}
	if len(name) == 0 {
		s.memory.unnamed, s.memory.unnamedSeq = s.id, s.statements.unnamedSeq
		return
	}
	shared := s.parsedShared()
	if shared == "" {
		s.memory.own[string(name)] = s.id
	}
	if s.naming[string(name)] == shared {
		s.unname(string(name))
	}
}

// parsedShared takes in that the server has completed the first Parse on its way, and returns its shared name.
func (s *Session) parsedShared() string {
	shared := s.arrived()
	if shared != "" {
		s.memory.put(shared, kept{})
	}
	return shared
}

// sharesNext reports whether the first Parse on its way is one of a shared statement.
func (s *Session) sharesNext() bool { return s.onTheWay.first() != "" }

// arrived takes out the shared name of the first Parse on its way, which is done or not to be done.
func (s *Session) arrived() (shared string) { return s.onTheWay.pop() }

// outdated takes in that a statement cannot be run any more as it was described.
func (s *Session) outdated(msg []byte) {
	if msg == nil {
		return
	}
	if name, ok := statementOf(msg); ok {
		if shared, known := s.resolve(name); known && s.memory.statements[shared] != nil {
			s.memory.statements[shared].outdated = true
		}
	}
}

// describedShared notes what the server says of a statement, for all sessions.
func (s *Session) describedShared(st *Statement, sum uint64, rows []byte) {
	if s.memory == nil || st.Parse == nil {
		return
	}
	if k := s.memory.statements[s.sharedOf(st)]; k != nil {
		k.rows = RowsSum(rows)
		if sum != 0 {
			k.description = sum
		}
	}
}

// renameAgain finds out what names mean after an error: messages up to the next Sync were not looked at.
func (s *Session) renameAgain() {
	s.clearNaming()
	for _, o := range s.outstanding() {
		msg := s.message(o)
		if msg == nil {
			continue
		}
		switch o.kind {
		case wire.Parse:
			if name, _ := parseParts(msg); len(name) > 0 && !s.keeps(name) {
				s.setNaming(string(name), s.sharedName(msg))
			}
		case wire.Close:
			if name, ok := statementOf(msg); ok && len(name) > 0 {
				s.setNaming(string(name), "")
			}
		}
	}
}
