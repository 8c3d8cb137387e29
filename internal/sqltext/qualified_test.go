package sqltext

import (
	"fmt"
	"slices"
	"strings"
)

// trusted are the schemas whose objects the module itself means.
var trusted = []string{"pg_catalog", "fairlead"}

// utility are the statements that name nothing but settings, channels and savepoints.
var utility = []string{
	"set", "reset", "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "listen", "unlisten", "notify", "discard",
	"deallocate", "show", "grant", "revoke",
}

// grammar are words of PostgreSQL's grammar that may stand before a parenthesis or a literal, and mean the same whatever the search
// path is.
var grammar = []string{
	"select", "from", "where", "and", "or", "not", "case", "when", "then", "else", "as", "on", "any", "all", "some", "exists", "coalesce", "extract",
	"greatest", "least", "row", "array", "cast", "values", "operator", "over", "filter", "with", "lateral", "by", "returning", "union", "limit", "offset",
	"position", "substring", "trim", "overlay", "is", "null", "having", "distinct", "recursive", "interval", "timestamp", "into", "zone", "epoch", "only",
	"set", "to", "default", "do", "language", "comment", "escape", "end", "key", "not", "return",
}

// keywordTypes are types that the grammar takes from pg_catalog.
var keywordTypes = []string{
	"bigint", "int", "integer", "smallint", "boolean", "numeric", "decimal", "real", "float", "double", "timestamp", "time", "interval", "bit", "char",
	"character", "varchar", "nchar",
}

// byOperator are words that the grammar makes unqualified operators of.
var byOperator = map[string]string{
	"in": "=", "between": "<= and >=", "like": "~~", "ilike": "~~*", "similar": "~", "nullif": "=", "natural": "=", "using": "=",
}

// unqualified are the names and operators in SQL that mean what the search path makes of them.
func unqualified(sql string) (faults []string) {
	list, err := Split(sql, Options{})
	if err != nil {
		return []string{err.Error()}
	}
	for _, st := range list {
		t, err := statement(st.Text, Options{})
		if err != nil {
			return append(faults, err.Error())
		}
		if !t.isWord(0, utility...) {
			c := qualification{tokens: t}
			c.check()
			faults = append(faults, c.faults...)
		}
	}
	return faults
}

// qualification looks at one statement.
type qualification struct {
	tokens
	faults []string
	ctes   []string
	opened []string // the words before the parentheses that are open
	froms  []int    // depths at which a list of relations goes on
}

func (c *qualification) fault(i int, what string) {
	c.faults = append(c.faults, fmt.Sprintf("%s %q", what, c.raw(i)))
}

func (c *qualification) check() {
	for i := 0; c.at(i).kind != tokEnd; i++ {
		if c.isWord(i, "as") && c.is(i+1, "(") && i > 0 {
			if name, ok := c.name(i - 1); ok {
				c.ctes = append(c.ctes, name)
			}
		}
	}
	for i := 0; c.at(i).kind != tokEnd; i++ {
		switch {
		case c.is(i, "("):
			before := ""
			if i > 0 {
				before = c.word(i - 1)
			}
			c.opened = append(c.opened, before)
		case c.is(i, ")") && len(c.opened) > 0:
			c.opened = c.opened[:len(c.opened)-1]
			c.froms = slices.DeleteFunc(c.froms, func(d int) bool { return d > len(c.opened) })
		case c.is(i, ",") && slices.Contains(c.froms, len(c.opened)):
			c.relation(i + 1)
		case c.is(i, "::"):
			c.typeName(i + 1)
		case c.at(i).kind == tokOperator:
			c.operator(i)
		case c.at(i).kind == tokWord || c.at(i).kind == tokQuoted:
			c.named(i)
		}
	}
}

// operator looks at one that is not in OPERATOR(...).
func (c *qualification) operator(i int) {
	before := ""
	if i > 0 {
		before = strings.ToLower(c.raw(i - 1))
	}
	starts := i == 0 || slices.Contains([]string{"(", ",", "[", "select", "then", "else", "when"}, before)
	switch {
	case i >= 4 && c.isWord(i-4, "operator") && c.is(i-3, "(") && c.isWord(i-2, "pg_catalog") && c.is(i-1, ".") && c.is(i+1, ")"):
	case c.is(i, "*") && (starts || before == "."): // all columns
	case (c.is(i, "-") || c.is(i, "+")) && starts && c.at(i+1).kind == tokNumber: // a part of the number
	case c.is(i, "=") && i > 1 && c.isWord(i-2, "set"): // what a function sets
	case c.is(i, "=") && len(c.opened) > 0 && c.opened[len(c.opened)-1] == "with": // a storage parameter
	default:
		c.fault(i, "operator")
	}
}

// named looks at a word, or a quoted name.
func (c *qualification) named(i int) {
	w := c.word(i)
	switch {
	case i > 0 && c.is(i-1, "."):
		return // what it belongs to was looked at
	case byOperator[w] != "" && !(w == "using" && !c.is(i+1, "(")):
		c.fault(i, "the operator "+byOperator[w]+" of")
	case w == "distinct" && c.isWord(i+1, "from"):
		c.fault(i, "the operator = of IS")
	case w == "case" && !c.isWord(i+1, "when"):
		c.fault(i, "the operator = of")
	case w == "collate":
		c.qualified(i+1, "collation")
	case w == "as" && len(c.opened) > 0 && c.opened[len(c.opened)-1] == "cast":
		c.typeName(i + 1)
	case slices.Contains([]string{"from", "join", "into", "update", "table", "truncate", "call", "view", "only"}, w):
		c.clause(i)
	case slices.Contains([]string{"where", "group", "order", "on", "limit", "union", "having", "set", "values", "returning", "select"}, w):
		c.froms = slices.DeleteFunc(c.froms, func(d int) bool { return d == len(c.opened) })
	}
	after := c.at(i + 1).kind
	literal := after == tokString || after == tokEscape || after == tokDollar || after == tokOther
	if (c.is(i+1, "(") || literal) && !slices.Contains(grammar, w) && byOperator[w] == "" && !slices.Contains(c.ctes, w) && !slices.Contains(keywordTypes, w) {
		c.fault(i, "function or type")
	}
	if schema, ok := c.name(i); ok && c.is(i+1, ".") && c.callOf(i+2) && !slices.Contains(trusted, schema) {
		c.fault(i, "a function of schema")
	}
}

func (c *qualification) callOf(i int) bool {
	_, ok := c.name(i)
	return ok && c.is(i+1, "(")
}

// clause looks at what begins a list of relations, if it does.
func (c *qualification) clause(i int) {
	if n := len(c.opened); n > 0 && slices.Contains([]string{"extract", "trim", "substring", "overlay", "position"}, c.opened[n-1]) {
		return // extract(epoch from ...)
	}
	if c.isWord(i, "update") && i > 0 || c.isWord(i, "only") && c.is(i+1, "(") {
		return // FOR UPDATE
	}
	for c.isWord(i+1, "only", "lateral", "if", "not", "exists", "table") {
		i++
	}
	c.froms = append(c.froms, len(c.opened))
	c.relation(i + 1)
}

func (c *qualification) relation(i int) {
	if name, ok := c.name(i); c.is(i, "(") || c.isWord(i, "lateral", "select", "only", "table") || ok && slices.Contains(c.ctes, name) {
		return
	}
	c.qualified(i, "relation")
}

func (c *qualification) qualified(i int, what string) {
	if schema, ok := c.name(i); !ok || !c.is(i+1, ".") || !slices.Contains(trusted, schema) {
		c.fault(i, what)
	}
}

func (c *qualification) typeName(i int) {
	if !c.isWord(i, keywordTypes...) {
		c.qualified(i, "type")
	}
}
