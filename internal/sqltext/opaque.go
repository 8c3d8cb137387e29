package sqltext

// Opaque reports whether the statement may call a function of the user's own, which could leave state in the session that
// nothing on the wire shows: a setting, above all. Functions of pg_catalog and of the extensions that come with PostgreSQL
// are known; CALL and DO are taken for calls. As with [Pure], what views, triggers, defaults and operators call is not
// seen. Text that cannot be read is judged as far as it can be.
func Opaque(stmt string, o Options) bool {
	names, known := UnknownCalls(stmt, o)
	return !known || len(names) > 0
}

// UnknownCalls returns the names of the functions for which a statement is Opaque, without their schemas. known is false where they
// cannot be told, as of CALL and DO.
func UnknownCalls(stmt string, o Options) (names []string, known bool) {
	return unknownCalls(stmt, o, loadCatalog())
}

// Calls is UnknownCalls with all functions that are called, but for those called as pg_catalog's.
func Calls(stmt string, o Options) (names []string, known bool) {
	c := *loadCatalog()
	c.functions, c.extensions, c.types = nil, nil, nil
	return unknownCalls(stmt, o, &c)
}

func unknownCalls(stmt string, o Options, c *catalog) (names []string, known bool) {
	t, _ := tokenize(stmt, o) // of a text that ends in the middle of a token there are the tokens before it
	from := 0
	kind := Classify(stmt, o)
	switch kind {
	case Call, Do:
		return nil, false
	case DDL, CreateTemp, DDLNoBlock:
		// What it defines runs later; only CREATE TABLE AS and CREATE MATERIALIZED VIEW run a query now.
		if from = t.queryOfCreate(); from < 0 {
			return nil, true
		}
	case Select, SelectInto, Values, Table, With, Insert, Update, Delete, Merge, Explain, Declare, Prepare, Execute, Copy, Unknown:
	default:
		return nil, true
	}
	options := len(t.list) // where those of COPY begin
	if kind == Copy {
		options = t.optionsOfCopy()
	}
	for i := from + 1; i < len(t.list); i++ {
		if t.is(i, "(") && i != options && c.callsUnknown(&t, i-1) {
			name, _ := t.name(i - 1)
			names = append(names, name)
		}
	}
	return names, true
}

// PureFunction reports whether a name is that of functions of pg_catalog that have no effect.
func PureFunction(name string) bool { return loadCatalog().functions[name] }

// optionsOfCopy is where the parenthesis with the options of a COPY is that has them right behind STDIN or STDOUT.
func (t *tokens) optionsOfCopy() int {
	depth := 0
	for i := range t.list {
		switch {
		case t.is(i, "(") && depth == 0 && i > 2 && t.isWord(i-2, "from", "to") && t.isWord(i-1, "stdin", "stdout"):
			return i
		case t.is(i, "("):
			depth++
		case t.is(i, ")"):
			depth--
		}
	}
	return len(t.list)
}

// queryOfCreate is where the query begins whose rows a table is created with; -1 if there is none.
func (t *tokens) queryOfCreate() int {
	table := false
	for i := range t.list {
		switch {
		case t.isWord(i, "table", "materialized", "into"):
			table = true
		case table && t.isWord(i, "as") && (t.is(i+1, "(") || t.isWord(i+1, "select", "with", "execute", "values", "table")):
			return i
		}
	}
	return -1
}

// notCalled are the words that the grammar knows and that are neither reserved nor functions when a parenthesis follows.
var notCalled = map[string]bool{
	"by": true, "conflict": true, "cube": true, "filter": true, "insert": true, "key": true, "materialized": true, "over": true,
	"rollup": true, "second": true, "set": true, "sets": true, "within": true,
}

// callsUnknown reports whether the i-th token, which stands before a parenthesis, is the name of a function that is not
// known.
func (c *catalog) callsUnknown(t *tokens, i int) bool {
	name, ok := t.name(i)
	if !ok {
		return false
	}
	start := i
	for start >= 2 && t.is(start-1, ".") {
		if _, ok := t.name(start - 2); !ok {
			break
		}
		start -= 2
	}
	switch {
	case start == i && t.at(i).kind == tokWord:
		k, known := c.keywords[name]
		if known && (k.category == 'R' || k.category == 'C' || notCalled[name]) {
			return false
		}
		fallthrough
	case start == i:
		if _, function := c.functions[name]; function || c.extensions[name] || c.types[name] {
			return false
		}
	case start == i-2:
		if schema, _ := t.name(start); schema == "pg_catalog" {
			return false
		}
		if c.extensions[name] {
			return false // wherever the extension is
		}
	}
	return !t.namesColumns(c, start, i)
}

// namesColumns reports whether what stands in the parenthesis behind a name are the columns of a relation or an alias.
func (t *tokens) namesColumns(c *catalog, start, i int) bool {
	if start == 0 {
		return true // the first word is the statement's own
	}
	if t.isWord(start-1, "into", "as", "recursive", "on", "only", "tablesample") {
		return true
	}
	switch prev := t.at(start - 1); {
	case prev.kind == tokQuoted, t.is(start-1, ")"):
		return true // an alias without AS
	case prev.kind == tokWord:
		if k, known := c.keywords[t.word(start-1)]; !known || k.category == 'U' && !t.isWord(start-1, "by", "over") {
			return true
		}
	}
	// A common table expression: name (columns) AS ( or AS MATERIALIZED (
	depth := 0
	for j := i + 1; j < len(t.list); j++ {
		switch {
		case t.is(j, "("):
			depth++
		case t.is(j, ")"):
			if depth--; depth == 0 {
				return t.isWord(j+1, "as") && (t.is(j+2, "(") || t.isWord(j+2, "materialized", "not"))
			}
		}
	}
	return false
}
