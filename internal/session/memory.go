package session

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/sqltext"
)

// Memory is what is known of the state of an upstream that many sessions use in turn: the settings in force, the prepared
// statements, the values of its parameters. It belongs to whoever has the upstream, and goes with it from session to
// session; nothing of it is ever a session's own.
type Memory struct {
	// Params are the values of the upstream's reported parameters.
	Params map[string]string

	sum        uint64           // of Params
	settings   string           // SQL that a fresh login needs to come to the settings in force
	unsure     bool             // they are other ones than settings says
	statements map[string]*kept // prepared, by the names that the sessions share
	clock      uint64
	own        map[string]uint64 // statements under a client's own name: the sessions whose they are
	unnamed    uint64            // the session whose the unnamed statement is
	unnamedSeq uint64            // which of that session's it is
	injected   injected
	sequences  uint64 // the session whose sequence values currval and lastval would tell
	ended      bool   // a description has changed under a statement: it is of no use any more
}

// kept is a prepared statement of an upstream's.
type kept struct {
	description uint64 // 0: not known
	rows        uint64 // of its RowDescription alone; 0: not known
	refused     uint64 // what a session knows of it that has had it prepared again in vain; see Statement.known
	outdated    bool   // it does not mean any more what it meant
	used        uint64 // by the memory's clock
}

// NewMemory is that of an upstream that has just logged in, and was given settings by SQL.
func NewMemory(params map[string]string, settings string) *Memory {
	m := &Memory{
		Params: params, settings: settings, statements: make(map[string]*kept), own: make(map[string]uint64),
	}
	m.Recount()
	return m
}

// Recount takes in that Params were changed.
func (m *Memory) Recount() { m.sum = sumOf(m.Params) }

// Settings is SQL that brings a fresh login to the settings that are in force. It is for comparison.
func (m *Memory) Settings() string { return m.settings }

// Unsure reports whether the settings in force may be others than Settings says.
func (m *Memory) Unsure() bool { return m.unsure }

// End says that the upstream is not to be given to another session.
func (m *Memory) End() { m.ended = true }

// Usable reports whether the upstream may be given to another session.
func (m *Memory) Usable() bool { return !m.ended }

// Statements is how many prepared statements the upstream has for all sessions together.
func (m *Memory) Statements() int { return len(m.statements) }

// Knows reports whether a prepared statement of the upstream's is accounted for.
func (m *Memory) Knows(name string) bool {
	_, shared := m.statements[name]
	_, own := m.own[name]
	return shared || own || name == reserved
}

// Oldest lists the statements that were not used for longest, so many that no more than keep are left. They are forgotten,
// and are to be closed.
func (m *Memory) Oldest(keep int) []string {
	if len(m.statements) <= keep {
		return nil
	}
	names := slices.SortedFunc(maps.Keys(m.statements), func(a, b string) int {
		return int(int64(m.statements[a].used - m.statements[b].used))
	})
	names = names[:len(names)-keep]
	for _, name := range names {
		delete(m.statements, name)
	}
	return names
}

// ForgetUnnamed says that the unnamed statement is gone.
func (m *Memory) ForgetUnnamed() { m.unnamed = 0 }

func (m *Memory) has(name string) bool {
	k := m.statements[name]
	if k == nil {
		return false
	}
	m.clock++
	k.used = m.clock
	return true
}

// forget says that a statement was closed.
func (m *Memory) forget(name string) { delete(m.statements, name) }

func (m *Memory) put(name string, k kept) {
	m.clock++
	k.used = m.clock
	m.statements[name] = &k
}

// dropStatements is DEALLOCATE ALL.
func (m *Memory) dropStatements() {
	clear(m.statements)
	clear(m.own)
	m.injected.mode = commit.Off
}

// discard is DISCARD ALL.
func (m *Memory) discard() {
	m.dropStatements()
	m.unnamed, m.settings, m.unsure, m.sequences = 0, "", false, 0
}

// sumOf is the same for equal sets of parameters, whatever their order.
func sumOf(params map[string]string) (sum uint64) {
	for name, value := range params {
		sum ^= paramSum(name, value)
	}
	return sum
}

func paramSum(name, value string) uint64 {
	return maphash.String(seed, name)*0x9E3779B97F4A7C15 ^ maphash.String(seed, value)
}

// resetSettings brings an upstream back to the settings of its login. SET SESSION AUTHORIZATION comes first: what follows may
// be forbidden to the role that is in force.
const resetSettings = "SET SESSION AUTHORIZATION DEFAULT;\nRESET ROLE;\nRESET ALL;\n"

// ResetTo is SQL that brings an upstream to settings from whatever it has.
func ResetTo(settings string) string { return resetSettings + settings }

// Difference is SQL that brings the upstream that the session was given to the session's state, empty when it is there.
func (s *Session) Difference() string {
	m := s.memory
	var b strings.Builder
	if m.unsure || m.settings != s.Wanted() {
		b.WriteString(ResetTo(s.Wanted()))
	}
	for _, name := range sorted(m.own) {
		if m.own[name] != s.id {
			b.WriteString("DEALLOCATE " + QuoteIdentifier(name) + ";\n")
		}
	}
	if m.sequences != s.id && s.begins&sqltext.StateSequence != 0 {
		b.WriteString("DISCARD SEQUENCES;\n")
	}
	b.WriteString(s.listenAgain())
	return b.String()
}

// Same says that the upstream is where Difference brings it.
func (s *Session) Same() {
	m := s.memory
	m.settings, m.unsure = s.Wanted(), false
	maps.DeleteFunc(m.own, func(_ string, owner uint64) bool { return owner != s.id })
	m.unnamed = 0
	m.Recount()
}

// sorted are a map's keys in order. It allocates nothing where there are none.
func sorted[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}
