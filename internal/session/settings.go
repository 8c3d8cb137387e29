package session

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// settings are the run-time parameters that the client has set, as the statements that set them, and the channels that it
// listens on: transactions and savepoints do the same to both.
type settings struct {
	session map[string]string // name -> SQL, what outlives the transaction
	order   []string          // names in the order in which they were last set: SET ROLE before what it allows

	channels map[string]*channel
	left     bool // one that was relayed

	// Of a session that shares its upstreams.
	shared  bool
	base    map[string]string // what its startup has set: RESET goes back to that
	unsure  bool              // the upstream is not where the session's settings are
	text    strings.Builder   // restore's, unless stale; what was written to it once stays as it is
	stale   bool
	meant   string // meaning's, of version meantAt - 1
	meantAt uint64
	version uint64 // counts changes

	kept    int      // what session, channels and pending cost
	pending []change // of the open transaction, or of the statement that is not over yet
}

// change is one SET that is not committed yet, or a savepoint between them.
type change struct {
	savepoint string // a savepoint's name, when it is one
	op        sqltext.SettingOp
	name, sql string
	local     bool
	listening listening // when it is a LISTEN or UNLISTEN; name is the channel
}

// restore is the SQL that brings a fresh upstream to the client's settings, empty when there is nothing to set.
func (t *settings) restore() string {
	n := 0
	for _, name := range t.order {
		n += len(t.session[name]) + len(";\n")
	}
	t.text.Reset() // not what it gave away
	t.text.Grow(n)
	for _, name := range t.order {
		t.text.WriteString(t.session[name])
		t.text.WriteString(";\n")
	}
	return t.text.String()
}

// commit makes what the transaction set the session's own.
func (t *settings) commit() {
	if len(t.pending) == 0 {
		return
	}
	var relayed []string
	for _, c := range t.pending {
		if c.listening > listen || c.op == sqltext.OpDiscardAll {
			relayed = t.relayedNow()
			break
		}
	}
	for _, c := range t.pending {
		if c.savepoint != "" || c.local {
			continue
		}
		if c.listening != 0 {
			t.applyChannel(c)
			continue
		}
		c.undone(t) // it stands elsewhere among the others now
		switch c.op {
		case sqltext.OpResetAll, sqltext.OpDiscardAll:
			t.stale = true
			t.version++
			// RESET ALL leaves role and session authorization alone; DISCARD ALL does not.
			maps.DeleteFunc(t.session, func(name, _ string) bool {
				return c.op == sqltext.OpDiscardAll || name != "role" && name != "session_authorization"
			})
			t.order = slices.DeleteFunc(t.order, func(name string) bool { _, ok := t.session[name]; return !ok })
			if t.shared {
				t.rebase()
			}
			if c.op == sqltext.OpDiscardAll {
				clear(t.channels)
			}
			t.recount()
		case sqltext.OpReset:
			if t.shared {
				t.reset(c.name)
				break
			}
			// A reset must be done again too: the startup packet or the role may have set another value.
			t.set(c.name, c.sql)
		default:
			t.set(c.name, c.sql)
		}
	}
	t.keepRelayed(relayed)
	t.dropPending(0)
}

// rebase goes back to what the startup has set. The server has gone back to the settings of the pool's login.
func (t *settings) rebase() {
	for _, name := range slices.Sorted(maps.Keys(t.base)) {
		t.set(name, t.base[name])
		t.unsure = true
	}
}

// reset is rebase for one setting.
func (t *settings) reset(name string) {
	if sql, ok := t.base[name]; ok {
		t.set(name, sql)
		t.unsure = true
		return
	}
	t.stale = true
	t.means(name)
	if old, ok := t.session[name]; ok {
		t.kept -= settingKept(name, old)
	}
	delete(t.session, name)
	t.order = slices.DeleteFunc(t.order, func(n string) bool { return n == name })
}

// wanted is restore, which is put together once for each change.
func (t *settings) wanted() string {
	if t.stale {
		t.restore()
		t.stale = false
	}
	return t.text.String()
}

func (t *settings) set(name, sql string) {
	t.means(name)
	if t.session == nil {
		t.session = make(map[string]string)
	}
	if old, ok := t.session[name]; ok {
		t.kept -= settingKept(name, old)
		t.stale = true
		t.order = slices.DeleteFunc(t.order, func(n string) bool { return n == name })
	}
	if !t.stale { // what was there before stays, in the texts that were given away too
		t.text.WriteString(sql)
		t.text.WriteString(";\n")
	}
	t.session[name] = sql
	t.kept += settingKept(name, sql)
	t.order = append(t.order, name)
}

// rollback forgets what the transaction set.
func (t *settings) rollback() {
	for i := range t.pending {
		t.pending[i].undone(t)
	}
	t.dropPending(0)
}

// change notes a SET that is not committed yet.
func (t *settings) change(c change) {
	c.undone(t)
	t.pending = append(t.pending, c)
	t.kept += c.cost()
}

// keepPending is how many changes an idle session has room for.
const keepPending = 64

// dropPending forgets the changes from the n-th on.
func (t *settings) dropPending(n int) {
	for i := n; i < len(t.pending); i++ {
		t.kept -= t.pending[i].cost()
		t.pending[i] = change{}
	}
	if t.pending = t.pending[:n]; n == 0 && cap(t.pending) > keepPending {
		t.pending = nil
	}
}

// recount adds up what is kept.
func (t *settings) recount() {
	t.kept = len(t.channels) * channelCost
	for name := range t.channels {
		t.kept += len(name)
	}
	for name, sql := range t.session {
		t.kept += settingKept(name, sql)
	}
	for i := range t.pending {
		t.kept += t.pending[i].cost()
	}
}

// means notes that a setting has changed: texts that depend on it mean something else.
func (t *settings) means(name string) {
	if !meaningless[name] && !strings.Contains(name, ".") {
		t.version++
	}
}

// undone is means for a change.
func (c *change) undone(t *settings) {
	if c.savepoint == "" && c.listening == 0 {
		t.means(c.name)
	}
}

// release forgets a savepoint, and those behind it: what was set since belongs to what is around them.
func (t *settings) release(name string) {
	for i := len(t.pending) - 1; i >= 0; i-- {
		if t.pending[i].savepoint != name {
			continue
		}
		kept := t.pending[:i]
		for _, c := range t.pending[i:] {
			if c.savepoint == "" {
				kept = append(kept, c)
			} else {
				t.kept -= c.cost()
			}
		}
		t.pending = kept
		return
	}
}

// rollbackTo forgets what was set after the savepoint of that name.
func (t *settings) rollbackTo(name string) {
	for i := len(t.pending) - 1; i >= 0; i-- {
		if t.pending[i].savepoint == name {
			t.dropPending(i + 1)
			return
		}
		t.pending[i].undone(t)
	}
}

// commandComplete is a CommandComplete. Nearly all of them are told apart by a letter or two.
func (s *Session) commandComplete(head byte, tag []byte) {
	if len(tag) < 4 {
		return
	}
	s.ended = false
	if tag[1] == 'R' && (tag[0] == 'C' || tag[0] == 'D') || tag[0] == 'A' && tag[1] == 'L' { // CREATE, DROP, ALTER
		s.unitDefines = true
	}
	if len(s.settings.channels) > 0 {
		s.noteNews(head, tag)
	}
	switch tag[0] {
	case 'I', 'M': // INSERT, MERGE, MOVE
		s.changed(tag)
		if s.callsSetConfig() {
			s.command(head, tag)
		}
	case 'B': // BEGIN
		s.inBlock = true
	case 'U': // UPDATE, UNLISTEN
		s.changed(tag)
		if tag[1] == 'N' || s.callsSetConfig() {
			s.command(head, tag)
		}
	case 'D': // DELETE; DISCARD, DEALLOCATE, DECLARE, DROP, DO
		if tag[2] == 'L' {
			s.changed(tag)
		}
		if tag[2] != 'L' || s.callsSetConfig() {
			s.command(head, tag)
		}
	case 'S': // SELECT, also of a table that is made of rows; SET, SAVEPOINT, SHOW
		if tag[2] != 'L' || s.callsSetConfig() || s.unitMentions&sqltext.StateTemp != 0 {
			s.command(head, tag)
		}
	case 'C': // COPY, COMMIT, CREATE, CLOSE, CALL
		if tag[1] != 'O' || tag[2] != 'P' {
			s.command(head, tag)
		}
	default: // ROLLBACK, RELEASE, RESET, LISTEN, PREPARE, FETCH, EXPLAIN, ...
		s.command(head, tag)
	}
	switch head {
	case wire.Execute:
		s.pop()
	case wire.Query:
		s.queue[s.head].commands++
	}
}

// changed notes what a tag says of changes.
func (s *Session) changed(tag []byte) {
	s.unitChanged = s.unitChanged || !bytes.HasSuffix(tag, noRows)
}

// noRows is how the tag ends of what has changed no row.
var noRows = []byte(" 0\x00")

// command takes in a command that may have changed the session's state.
func (s *Session) command(head byte, tag []byte) {
	tag = bytes.TrimSuffix(tag, []byte{0})
	if s.memory != nil {
		switch string(tag) {
		case "DISCARD ALL":
			s.memory.discard()
		case "DEALLOCATE ALL":
			s.memory.dropStatements()
		}
	}
	s.noteDefinition(tag)
	word, _, _ := bytes.Cut(tag, []byte{' '})
	switch string(word) {
	case "COMMIT":
		s.ended, s.inBlock, s.inError = head == wire.Execute, false, false
		s.commitSettings()
		if head == wire.Query && s.textLost() {
			s.unread() // what stands behind it is not the transaction's own
		}
		return
	case "START":
		s.inBlock = true
		return
	case "FETCH", "CLOSE", "EXPLAIN", "SHOW", "VACUUM", "ANALYZE", "DROP", "CALL", "DO", "TRUNCATE", "LOCK":
		if !s.callsSetConfig() {
			return
		}
	}
	sql := s.statementInHand()
	if sql == "" {
		s.unknownCommand(string(word), tag)
		return
	}
	if string(word) == "ROLLBACK" {
		s.rolledBack(sql)
		return
	}
	if string(word) != "SELECT" && !createsRoutine(tag) && s.callsSetConfig() && mentionsSetConfig(sql) ||
		string(word) != "PREPARE" && s.executesSetConfig(sql) {
		s.state |= stateSettings
	}
	switch string(word) {
	case "SET", "RESET", "DISCARD":
		s.set(sql)
	case "SELECT":
		s.makesTemp(sql)
		s.setConfig(head, sql, tag)
	case "SAVEPOINT":
		s.settings.change(change{savepoint: s.lastName(sql)})
	case "RELEASE":
		s.settings.release(s.lastName(sql))
	case "LISTEN":
		s.settings.change(change{listening: listen, name: channelName(s.lastName(sql))})
	case "UNLISTEN":
		if name, ok := sqltext.Identifier(sql, -1, s.options()); ok {
			s.settings.change(change{listening: unlisten, name: channelName(name)})
		} else {
			s.settings.change(change{listening: unlistenAll}) // UNLISTEN *
		}
	case "PREPARE":
		if sqltext.Classify(sql, s.options()) == sqltext.PrepareTransaction {
			s.inBlock = false
		} else if name, ok := sqltext.Identifier(sql, 1, s.options()); ok {
			st := &Statement{name: name, SQL: sql, mentions: sqltext.MentionsState([]byte(sql))}
			st.nature.opaque = sqltext.Opaque(sql, s.options())
			s.seenOpaque = s.seenOpaque || st.nature.opaque && !s.TrustFunctions
			s.statements.put(st)
			if s.memory != nil {
				s.memory.own[st.name] = s.id
			}
		}
	case "DEALLOCATE":
		// A statement called "all" can be dropped by its quoted name only.
		if name := s.lastName(sql); name == "all" && !strings.HasSuffix(strings.TrimRight(sql, "; \t\r\n"), `"`) {
			s.statements.dropAll()
		} else {
			s.statements.drop(name)
			if s.memory != nil {
				delete(s.memory.own, name)
			}
		}
	case "DECLARE":
		if containsFold(sql, "hold") {
			s.state |= stateHeldCursor
			s.look = s.memory != nil
		}
	case "CREATE":
		s.makesTemp(sql)
	case "LOAD":
		s.state |= stateSettings
	}
}

// makesTemp takes in a statement that may have made a temporary table.
func (s *Session) makesTemp(sql string) {
	if sqltext.MakesTemp(sql, s.options()) {
		s.state |= stateTempTable
		s.look = s.memory != nil
	}
}

// createsRoutine reports whether a command has only taken a routine's text in.
func createsRoutine(tag []byte) bool {
	return string(tag) == "CREATE FUNCTION" || string(tag) == "CREATE PROCEDURE"
}

func (s *Session) rolledBack(sql string) {
	if sql != "" && sqltext.Classify(sql, s.options()) == sqltext.RollbackTo {
		s.settings.rollbackTo(s.lastName(sql))
		s.inError = false
		return
	}
	s.ended, s.inBlock, s.inError = s.headKind() == wire.Execute, false, false
	s.settings.rollback()
}

func (s *Session) set(sql string) {
	st, ok := sqltext.ParseSetting(sql, s.options())
	if !ok {
		return // SET TRANSACTION, SET CONSTRAINTS, DISCARD PLANS: nothing outlives the transaction
	}
	s.settings.change(change{
		op: st.Op, name: st.Name, sql: st.SQL, local: st.Scope == sqltext.Local,
	})
	if st.Op == sqltext.OpDiscardAll {
		s.statements.dropAll()
		s.state, s.look = 0, false
	}
}

// lastName is the name that a statement ends with.
func (s *Session) lastName(sql string) string {
	name, _ := sqltext.Identifier(sql, -1, s.options())
	return name
}
