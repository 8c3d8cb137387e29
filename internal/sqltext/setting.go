package sqltext

import (
	"slices"
	"strings"
)

// SettingScope is how long a setting lasts.
type SettingScope uint8

const (
	Session SettingScope = iota // until it is set again
	Local                       // until the end of the transaction
)

// SettingOp is what a statement does to a setting.
type SettingOp uint8

const (
	OpSet        SettingOp = iota
	OpReset                // RESET name, SET name TO DEFAULT: back to the value the session began with
	OpResetAll             // RESET ALL: every setting but role and session_authorization
	OpDiscardAll           // DISCARD ALL: every setting, and prepared statements, temporary tables, ... as well
)

// Setting is what a SET, RESET or DISCARD ALL does.
type Setting struct {
	// Name is the run-time parameter's in lower case: "timezone" for SET TIME ZONE, "client_encoding" for SET NAMES,
	// "search_path" for SET SCHEMA, "role", "session_authorization". SET SESSION CHARACTERISTICS has the names of all
	// parameters that it sets, sorted, with commas between them. RESET ALL and DISCARD ALL have none.
	Name  string
	Scope SettingScope
	Op    SettingOp
	// SQL does the same in another session, whatever standard_conforming_strings is there. It has no semicolon.
	SQL string
}

// ParseSetting reads SET, RESET and DISCARD ALL. It reports false for every other statement, and for those that set
// nothing beyond the transaction's own characteristics: SET TRANSACTION, SET CONSTRAINTS, DISCARD PLANS.
// The values are not checked: a server has accepted or will refuse them.
func ParseSetting(stmt string, o Options) (Setting, bool) {
	t, err := statement(stmt, o)
	if err != nil {
		return Setting{}, false
	}
	last := len(t.list) - 1
	for i := range last {
		if t.is(i, ";") {
			return Setting{}, false
		}
	}
	s := Setting{SQL: t.portable(0, last)}
	switch t.word(0) {
	case "discard":
		s.Op = OpDiscardAll
		return s, t.isWord(1, "all") && last == 2
	case "reset":
		s.Op = OpReset
		return s.reset(&t, 1)
	case "set":
		return s.set(&t, 1)
	}
	return Setting{}, false
}

func (s Setting) reset(t *tokens, i int) (Setting, bool) {
	last := len(t.list) - 1
	switch {
	case t.isWord(i, "all") && last == i+1:
		s.Op = OpResetAll
	case t.areWords(i, "time", "zone") && last == i+2:
		s.Name = "timezone"
	case t.areWords(i, "session", "authorization") && last == i+2:
		s.Name = "session_authorization"
	case t.areWords(i, "transaction", "isolation", "level"):
		return Setting{}, false
	default:
		var ok bool
		if s.Name, i, ok = settingName(t, i); !ok || i != last || transactionOnly(s.Name) {
			return Setting{}, false
		}
	}
	return s, true
}

func (s Setting) set(t *tokens, i int) (Setting, bool) {
	i, local := setScope(t, i)
	if local {
		s.Scope = Local
	}
	if t.at(i).kind == tokEnd || t.isWord(i, "constraints", "transaction") && !assigns(t, i+1) {
		return Setting{}, false
	}
	if assigns(t, i+1) {
		return s.generic(t, i)
	}
	at := i
	switch {
	case t.areWords(i, "time", "zone"):
		s.Name, at = "timezone", i+2
		if t.isWord(at, "local", "default") {
			s.Op = OpReset
		}
	case t.isWord(i, "schema"):
		s.Name, at = "search_path", i+1
	case t.isWord(i, "names"):
		s.Name, at = "client_encoding", i+1
		if t.isWord(at, "default") || t.at(at).kind == tokEnd {
			s.Op = OpReset
			return s, true
		}
	case t.isWord(i, "role"):
		s.Name, at = "role", i+1
	case t.areWords(i, "session", "authorization"):
		s.Name, at = "session_authorization", i+2
		if t.isWord(at, "default") {
			s.Op = OpReset
		}
	case t.areWords(i, "xml", "option"):
		s.Name, at = "xmloption", i+2
	case t.areWords(i, "session", "characteristics", "as", "transaction"):
		s.Name = characteristics(t, i+4)
		return s, s.Name != ""
	default:
		return Setting{}, false
	}
	return s, t.at(at).kind != tokEnd
}

func (s Setting) generic(t *tokens, i int) (Setting, bool) {
	name, i, ok := settingName(t, i)
	if !ok || transactionOnly(name) || !t.is(i, "=") && !t.isWord(i, "to") || t.at(i+1).kind == tokEnd {
		return Setting{}, false
	}
	s.Name = name
	if t.isWord(i+1, "default") {
		s.Op = OpReset
	}
	return s, true
}

// settingName reads a parameter's name, which is the same in any case, in double quotes too, and what follows it.
func settingName(t *tokens, i int) (name string, next int, ok bool) {
	var parts []string
	for {
		part, ok := t.name(i)
		if !ok {
			return "", i, false
		}
		parts = append(parts, lower(part))
		if i++; !t.is(i, ".") {
			return strings.Join(parts, "."), i, true
		}
		i++
	}
}

// transactionOnly tells the parameters that are the open transaction's.
func transactionOnly(name string) bool {
	switch name {
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable":
		return true
	}
	return false
}

// characteristics are the parameters that SET SESSION CHARACTERISTICS AS TRANSACTION sets. All of them name the
// setting: two such statements with different modes do not replace each other.
func characteristics(t *tokens, i int) string {
	var names []string
	for ; t.at(i).kind != tokEnd; i++ {
		switch t.word(i) {
		case "isolation":
			names = append(names, "default_transaction_isolation")
		case "read":
			if t.isWord(i+1, "only", "write") {
				names = append(names, "default_transaction_read_only")
			}
		case "deferrable":
			names = append(names, "default_transaction_deferrable")
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}
