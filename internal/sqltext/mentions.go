package sqltext

import (
	"bytes"
	"math/bits"
)

// StateMask says what kinds of state a text mentions. The bits from 1<<24 on are free for others to use.
type StateMask uint32

const (
	// StateSetConfig is set_config: settings whose SELECT does not show them.
	StateSetConfig StateMask = 1 << iota
	// StateAdvisoryLock is a session's advisory lock; those of a transaction (xact) are not meant.
	StateAdvisoryLock
	// StateTemp is anything temporary, or in the temporary schema.
	StateTemp
	// StateSequence is currval and lastval. nextval is not meant: it leaves behind only what these two would read.
	StateSequence
	// StateSeed is setseed.
	StateSeed
	// StateLargeObject is lo_open, lo_creat and lo_create: descriptors live as long as the transaction.
	StateLargeObject
	// StateNotify is pg_notify.
	StateNotify
	// StateOutside is what reaches beyond the database: dblink, lo_import, lo_export, pg_logical_emit_message.
	StateOutside
	// StateReplication is replication slots, which can be temporary, and a session's replication origin.
	StateReplication
	// StateEscaped is an identifier in U&"...", which can spell any of the others.
	StateEscaped
	// StateDeallocate is DEALLOCATE and DISCARD, which end prepared statements.
	StateDeallocate
	// StateExecute is EXECUTE and PREPARE, which name a prepared statement.
	StateExecute
	// StateUndo is what may end state that a session has on its server: unlocking, and words that mention it to drop it.
	StateUndo
)

// mention is a word to look for. It is found by the three pairs of bytes that begin at offset rare, which are chosen to
// be rare in SQL: of three pairs in a row, a look at every third byte meets one.
type mention struct {
	text  string
	rare  int
	mask  StateMask
	whole bool // TEMP or TEMPORARY, and no other word that begins or ends so
}

var mentions = [...]mention{
	{text: "set_config", rare: 2, mask: StateSetConfig},
	{text: "advisory_lock", rare: 6, mask: StateAdvisoryLock},
	{text: "temp", mask: StateTemp, whole: true},
	{text: "pg_temp", mask: StateTemp},
	{text: "currval", rare: 2, mask: StateSequence},
	{text: "lastval", rare: 3, mask: StateSequence},
	{text: "setseed", rare: 1, mask: StateSeed},
	{text: "lo_open", mask: StateLargeObject},
	{text: "lo_creat", mask: StateLargeObject},
	{text: "pg_notify", rare: 4, mask: StateNotify},
	{text: "dblink", mask: StateOutside},
	{text: "lo_import", mask: StateOutside},
	{text: "lo_export", mask: StateOutside},
	{text: "logical_emit_message", rare: 6, mask: StateOutside},
	{text: "replication_slot", rare: 10, mask: StateReplication},
	{text: "replication_origin_s", rare: 10, mask: StateReplication},
	{text: "deallocate", rare: 2, mask: StateDeallocate},
	{text: "discard", rare: 2, mask: StateDeallocate | StateUndo},
	{text: "execute", rare: 3, mask: StateExecute},
	{text: "prepare", rare: 2, mask: StateExecute},
	{text: "advisory_unlock", rare: 6, mask: StateUndo},
	{text: "drop", mask: StateUndo},
	{text: "close", mask: StateUndo},
}

// mentionPairs has a bit for each of the mentions that a pair of bytes can be part of. Pairs that differ in bits 5 to 7
// share a place, which makes letters the same in both cases.
var mentionPairs = func() (pairs [1 << 10]uint32) {
	for n, m := range mentions {
		for i := m.rare; i < m.rare+3; i++ {
			pairs[pair(m.text[i], m.text[i+1])] |= 1 << n
		}
	}
	return pairs
}()

func pair(a, b byte) uint { return uint(a&31)<<5 | uint(b&31) }

// MentionsState reports what of the state that a session's later messages do not show the text mentions, in any case
// and wherever it stands: in a quoted string, too. What it does not report is not mentioned; what it reports may be part
// of another word. It allocates nothing.
func MentionsState(sql []byte) StateMask {
	var found StateMask
	for i := 0; i+1 < len(sql); i += 3 {
		if w := mentionPairs[pair(sql[i], sql[i+1])]; w != 0 {
			found |= mentionedAt(sql, i, w)
		}
	}
	if i := bytes.IndexByte(sql, '&'); i >= 0 && mentionsEscaped(sql[max(0, i-1):]) {
		found |= StateEscaped
	}
	return found
}

// mentionedAt looks for those of the words that have a pair at i.
func mentionedAt(sql []byte, i int, words uint32) StateMask {
	var found StateMask
	for ; words != 0; words &= words - 1 {
		m := &mentions[bits.TrailingZeros32(words)]
		if found&m.mask == m.mask {
			continue
		}
		for start := i - m.rare; start > i-m.rare-3; start-- {
			if start >= 0 && m.stands(sql, start) {
				found |= m.mask
				break
			}
		}
	}
	return found
}

// stands reports whether the word begins at start.
func (m *mention) stands(sql []byte, start int) bool {
	end := start + len(m.text)
	if end > len(sql) || !foldedEqual(sql[start:end], m.text) {
		return false
	}
	if !m.whole {
		return true
	}
	if start > 0 && isWordPart(sql[start-1]) {
		return false
	}
	if e := end + len("orary"); e <= len(sql) && foldedEqual(sql[end:e], "orary") {
		end = e
	}
	return end == len(sql) || !isWordPart(sql[end])
}

// foldedEqual compares with a text in lower case.
func foldedEqual(b []byte, s string) bool {
	for i := range s {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

func mentionsEscaped(sql []byte) bool {
	return bytes.Contains(sql, []byte(`U&"`)) || bytes.Contains(sql, []byte(`u&"`))
}
