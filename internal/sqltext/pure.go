package sqltext

import (
	"strings"
	"unicode/utf8"
)

// Pure reports whether the statement can be run once more without changing anything, and if not, why: it is SHOW, or
// SELECT, VALUES, TABLE or WITH, or EXPLAIN of those without ANALYZE; it locks no rows; every function that it calls is
// on the list of pg_catalog's harmless ones, every type that it casts to and every operator is pg_catalog's. Syntax that
// is not understood is not pure.
//
// The names mean pg_catalog's only where SearchPathSafe says so of the session's search_path. What relations and columns
// stand for is not known: see the package's documentation.
//
// The reason names words, functions, types and operators of the statement, and none of its values.
func Pure(stmt string, o Options) (pure bool, reason string) {
	if !utf8.ValidString(stmt) {
		return false, "the text is not UTF-8" // in other encodings, a backslash can be half a character
	}
	t, err := statement(stmt, o)
	if err != nil {
		return false, strings.TrimPrefix(err.Error(), "sqltext: ")
	}
	p := purity{t: &t, c: loadCatalog(), budget: 1000 + 50*len(t.list)}
	if p.statement() && (p.end() || p.unknown()) {
		return true, ""
	}
	return false, p.reason
}

// purity parses a statement by the grammar of the server's gram.y, as far as reading needs it: it takes a subset, and
// gives every word in it the meaning that the server does. The order of operators does not matter here, so an
// expression is a flat row of operands. Each method passes over what it is named for, or fails and says why.
type purity struct {
	t      *tokens
	c      *catalog
	i      int // the token in hand
	reason string
	depth  int
	budget int // steps left: some parentheses must be read twice, and twice again inside
}

// maxDepth bounds the recursion.
const maxDepth = 200

func (p *purity) fail(reason string) bool {
	if p.reason == "" {
		p.reason = reason
	}
	return false
}

// unknown fails at the token in hand.
func (p *purity) unknown() bool {
	switch k := p.t.at(p.i).kind; {
	case p.end():
		return p.fail("the statement ends early")
	case k == tokWord, k == tokSelf, k == tokOperator:
		return p.fail("syntax that is not known at " + p.t.raw(p.i))
	}
	return p.fail("syntax that is not known")
}

// enter begins what can contain itself; the caller must leave when it succeeded.
func (p *purity) enter() bool {
	if p.depth++; p.depth > maxDepth {
		return p.fail("too deeply nested")
	}
	if p.budget--; p.budget < 0 {
		return p.fail("too entangled")
	}
	return true
}

func (p *purity) leave() { p.depth-- }

// try runs f; when that fails, the parser stands where it stood.
func (p *purity) try(f func() bool) bool {
	i, depth, reason := p.i, p.depth, p.reason
	if f() {
		return true
	}
	p.i, p.depth, p.reason = i, depth, reason
	return false
}

func (p *purity) end() bool { return p.t.at(p.i).kind == tokEnd }

// is reports whether the token in hand is that punctuation.
func (p *purity) is(s string) bool { return p.t.is(p.i, s) }

// isWord reports whether the token in hand is one of these unquoted words.
func (p *purity) isWord(words ...string) bool { return p.t.isWord(p.i, words...) }

// sym passes over punctuation when it is there.
func (p *purity) sym(s string) bool {
	if p.is(s) {
		p.i++
		return true
	}
	return false
}

// word passes over one of the unquoted words when it is there.
func (p *purity) word(words ...string) bool {
	if p.isWord(words...) {
		p.i++
		return true
	}
	return false
}

// words passes over these unquoted words when all are there, in this order.
func (p *purity) words(words ...string) bool {
	if p.t.areWords(p.i, words...) {
		p.i += len(words)
		return true
	}
	return false
}

// need and needWord fail when what they name is not there.
func (p *purity) need(s string) bool            { return p.sym(s) || p.unknown() }
func (p *purity) needWord(words ...string) bool { return p.word(words...) || p.unknown() }

// list passes over one or more of what f passes over, with commas between.
func (p *purity) list(f func() bool) bool {
	for {
		if !f() {
			return false
		}
		if !p.sym(",") {
			return true
		}
	}
}

// inParens passes over a parenthesised f.
func (p *purity) inParens(f func() bool) bool { return p.need("(") && f() && p.need(")") }

// category is 0 for an identifier in double quotes or without meaning to the grammar, that of the keyword for others,
// and '-' for what is no identifier.
func (p *purity) category(i int) byte {
	switch p.t.at(i).kind {
	case tokQuoted:
		return 0
	case tokWord:
		return p.c.keywords[p.t.word(i)].category
	}
	return '-'
}

// isColID reports whether the i-th token can name a column, a relation or an alias.
func (p *purity) isColID(i int) bool {
	c := p.category(i)
	return c == 0 || c == 'U' || c == 'C'
}

func (p *purity) colID() bool {
	if !p.isColID(p.i) {
		return p.unknown()
	}
	p.i++
	return true
}

// label passes over what can follow AS or a dot: any word.
func (p *purity) label() bool {
	if p.category(p.i) == '-' {
		return p.unknown()
	}
	p.i++
	return true
}

func (p *purity) statement() bool {
	switch {
	case p.word("show"):
		return p.show()
	case p.word("explain"):
		return p.explain()
	}
	return p.query()
}

func (p *purity) show() bool {
	if p.end() {
		return p.unknown()
	}
	for !p.end() {
		if !p.sym(".") && !p.label() {
			return false
		}
	}
	return true
}

// explain passes over EXPLAIN and its options. ANALYZE executes, whatever its value.
func (p *purity) explain() bool {
	option := func() bool {
		if p.isWord("analyze", "analyse") {
			return p.fail("EXPLAIN ANALYZE executes")
		}
		if !p.label() {
			return false
		}
		if !p.is(",") && !p.is(")") {
			p.i++ // the value
		}
		return true
	}
	switch {
	case p.isWord("analyze", "analyse"):
		return option()
	case p.is("(") && !p.startsQuery(p.i):
		if !p.inParens(func() bool { return p.list(option) }) {
			return false
		}
	default:
		if p.word("verbose") && p.isWord("analyze", "analyse") {
			return option()
		}
	}
	return p.query()
}
