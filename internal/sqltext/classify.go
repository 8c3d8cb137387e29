package sqltext

import (
	"iter"
	"strings"
)

// simpleKinds are the statements whose first word says it all.
var simpleKinds = map[string]Kind{
	"values": Values, "table": Table, "with": With, "show": Show, "explain": Explain,
	"insert": Insert, "update": Update, "delete": Delete, "merge": Merge,
	"savepoint": Savepoint, "release": Release, "reset": Reset, "discard": Discard,
	"execute": Execute, "deallocate": Deallocate, "declare": Declare, "fetch": Fetch, "move": Move, "close": CloseCursor,
	"listen": Listen, "unlisten": Unlisten, "notify": Notify, "copy": Copy, "lock": Lock, "call": Call, "do": Do,
	"load": Load, "vacuum": Vacuum, "analyze": Analyze, "analyse": Analyze, "cluster": Cluster, "reindex": Reindex,
	"repack": Cluster, "checkpoint": Checkpoint, "truncate": Truncate,
	"grant": DDL, "revoke": DDL, "comment": DDL, "import": DDL, "reassign": DDL, "refresh": DDL, "security": DDL,
	"identify_system": Replication, "start_replication": Replication, "create_replication_slot": Replication,
	"drop_replication_slot": Replication, "base_backup": Replication, "timeline_history": Replication,
	"read_replication_slot": Replication, "alter_replication_slot": Replication, "upload_manifest": Replication,
}

// headLen is how many tokens tell the kind of a statement that is not a SELECT or CREATE.
const headLen = 8

// Classify tells what a statement is. Of several statements in one text it sees only the first.
func Classify(stmt string, o Options) Kind {
	t, err := tokenizeMax(stmt, o, headLen)
	if err != nil {
		return Unknown
	}
	i := 0
	for t.is(i, ";") {
		i++
	}
	if i == headLen {
		return Classify(stmt[t.at(i).start:], o)
	}
	parens := i
	for t.is(i, "(") {
		i++
	}
	if i == headLen {
		return Classify(stmt[t.at(i).start:], o) // still more parentheses
	}
	if t.at(i).kind == tokEnd {
		if i > parens {
			return Unknown
		}
		return Empty
	}
	if i > parens {
		switch t.word(i) {
		case "select", "values", "table":
			return Select
		case "with":
			return With
		}
		return Unknown
	}
	stmt = stmt[t.at(i).start:]
	switch w := t.word(i); w {
	case "select":
		return classifySelect(stmt, o)
	case "start":
		if t.isWord(i+1, "transaction") {
			return begins(stmt, 2, o)
		}
	case "begin":
		return begins(stmt, skipWork(&t, i+1)-i, o)
	case "commit", "end":
		if t.isWord(i+1, "prepared") && w == "commit" {
			return CommitPrepared
		}
		return chain(&t, i+1, Commit, CommitChain)
	case "rollback", "abort":
		if t.isWord(i+1, "prepared") && w == "rollback" {
			return RollbackPrepared
		}
		if n := skipWork(&t, i+1); t.isWord(n, "to") {
			return RollbackTo
		}
		return chain(&t, i+1, Rollback, RollbackChain)
	case "prepare":
		// A statement may be called transaction, too: then it has parameters or AS behind it.
		if t.isWord(i+1, "transaction") && !t.isWord(i+2, "as") && !t.is(i+2, "(") {
			return PrepareTransaction
		}
		return Prepare
	case "set":
		return classifySet(&t, i+1)
	case "create":
		return classifyCreate(stmt, o)
	case "alter", "drop":
		return classifyAlter(&t, i)
	default:
		return simpleKinds[w]
	}
	return Unknown
}

func skipWork(t *tokens, i int) int {
	if t.isWord(i, "work", "transaction") {
		return i + 1
	}
	return i
}

// transactionModes are those of BEGIN.
var transactionModes = [][]string{
	{"isolation", "level", "serializable"}, {"isolation", "level", "repeatable", "read"}, {"isolation", "level", "read", "committed"},
	{"isolation", "level", "read", "uncommitted"}, {"read", "write"}, {"read", "only"}, {"deferrable"}, {"not", "deferrable"},
}

// maxModes is how many tokens of a BEGIN are looked at.
const maxModes = 64

// begins is Begin for a text whose transaction modes, from token i on, are ones that the server's parser takes. What it refuses
// begins nothing, and what a client has sent behind that is not part of a transaction.
func begins(stmt string, i int, o Options) Kind {
	t, err := tokenizeMax(stmt, o, maxModes)
	if err != nil {
		return Unknown
	}
	for begun := false; t.at(i).kind != tokEnd && !t.is(i, ";"); begun = true {
		if begun && t.is(i, ",") {
			i++
		}
		n := 0
		for _, mode := range transactionModes {
			if t.areWords(i, mode...) {
				n = len(mode)
			}
		}
		if n == 0 {
			return Unknown
		}
		i += n
	}
	return Begin
}

func chain(t *tokens, i int, plain, chained Kind) Kind {
	i = skipWork(t, i)
	switch {
	case t.areWords(i, "and", "chain"):
		return chained
	case t.areWords(i, "and", "no", "chain"), t.at(i).kind == tokEnd, t.is(i, ";"):
		return plain
	}
	return Unknown
}

func classifySet(t *tokens, i int) Kind {
	if t.isWord(i, "constraints") && !assigns(t, i+1) {
		return SetConstraints
	}
	i, local := setScope(t, i)
	if name, ok := t.name(i); ok {
		switch lower(name) {
		case "transaction":
			if !assigns(t, i+1) {
				return SetTransaction
			}
		case "transaction_isolation", "transaction_read_only", "transaction_deferrable":
			return SetTransaction
		}
	}
	switch {
	case t.areWords(i, "session", "characteristics"):
		return SetCharacteristics
	case local:
		return SetLocal
	case t.at(i).kind == tokEnd:
		return Unknown
	}
	return Set
}

// setScope passes over LOCAL or SESSION.
func setScope(t *tokens, i int) (next int, local bool) {
	switch {
	case assigns(t, i+1): // a parameter's name
	case t.isWord(i, "local"):
		return i + 1, true
	case t.isWord(i, "session") && !t.isWord(i+1, "authorization", "characteristics"):
		return i + 1, false
	}
	return i, false
}

// assigns reports whether the i-th token follows the name of a parameter: SET local = 1 sets one called local.
func assigns(t *tokens, i int) bool { return t.is(i, "=") || t.isWord(i, "to") || t.is(i, ".") }

// classifySelect looks for INTO outside parentheses, where it can only be the clause that creates a table.
func classifySelect(stmt string, o Options) Kind {
	if !strings.Contains(lower(stmt), "into") {
		return Select
	}
	t, err := tokenize(stmt, o)
	if err != nil {
		return Unknown
	}
	for i := range t.outside() {
		switch {
		case t.is(i, ";"):
			return Select
		case t.isInto(i):
			if t.intoTemp(i) {
				return CreateTemp
			}
			return SelectInto
		}
	}
	return Select
}

// outside goes through the tokens that stand outside parentheses.
func (t *tokens) outside() iter.Seq[int] {
	return func(yield func(int) bool) {
		depth := 0
		for i := range t.list {
			switch {
			case t.is(i, "("):
				depth++
			case t.is(i, ")"):
				depth--
			case depth == 0 && !yield(i):
				return
			}
		}
	}
}

// isInto reports whether the token is the word that is followed by where rows go.
func (t *tokens) isInto(i int) bool {
	return t.isWord(i, "into") && i > 0 && !t.is(i-1, ".") && !t.isWord(i-1, "as")
}

// intoTemp reports whether an INTO makes a temporary table.
func (t *tokens) intoTemp(i int) bool {
	return t.isWord(i+1, "temp", "temporary", "local", "global", "pg_temp")
}

func classifyCreate(stmt string, o Options) Kind {
	t, err := tokenize(stmt, o)
	if err != nil {
		return Unknown
	}
	i := 1
	if t.areWords(i, "or", "replace") {
		i += 2
	}
	if t.isWord(i, "local", "global") {
		i++
	}
	if t.isWord(i, "temp", "temporary") {
		return CreateTemp
	}
	for n := i; n < len(t.list); n++ {
		if name, ok := t.name(n); ok && strings.HasPrefix(name, "pg_temp") && t.is(n+1, ".") {
			return CreateTemp
		}
	}
	switch {
	case t.isWord(i, "database", "tablespace", "subscription"),
		t.areWords(i, "index", "concurrently"), t.areWords(i, "unique", "index", "concurrently"):
		return DDLNoBlock
	case t.at(i).kind == tokWord:
		return DDL
	}
	return Unknown
}

func classifyAlter(t *tokens, i int) Kind {
	switch {
	case t.isWord(i+1, "system"),
		t.isWord(i, "drop") && (t.isWord(i+1, "database", "tablespace", "subscription") || t.areWords(i+1, "index", "concurrently")):
		return DDLNoBlock
	case t.at(i+1).kind == tokWord:
		return DDL
	}
	return Unknown
}
