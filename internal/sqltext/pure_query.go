package sqltext

import "strings"

// startsQuery reports whether what begins at the i-th token, behind any parentheses, begins a query.
func (p *purity) startsQuery(i int) bool {
	for p.t.is(i, "(") {
		i++
	}
	if p.t.isWord(i, "values") {
		return p.t.is(i+1, "(")
	}
	return p.t.isWord(i, "select", "table", "with")
}

// query passes over a SELECT statement with all its clauses, in parentheses or not.
func (p *purity) query() bool {
	if !p.enter() {
		return false
	}
	if p.word("with") && !p.with() {
		return false
	}
	if !p.queryTerm() {
		return false
	}
	for p.word("union", "intersect", "except") {
		p.word("all", "distinct")
		if !p.queryTerm() {
			return false
		}
	}
	if p.words("order", "by") && !p.list(p.sortItem) {
		return false
	}
	if !p.limits() {
		return false
	}
	switch {
	case p.isWord("for"):
		return p.fail("FOR UPDATE and its like lock rows")
	case p.isWord("into"):
		return p.fail("INTO creates a table")
	}
	p.leave()
	return true
}

// limits passes over LIMIT, OFFSET and FETCH, in any order.
func (p *purity) limits() bool {
	for {
		switch {
		case p.word("limit"):
			if !p.word("all") && !p.expr() {
				return false
			}
		case p.word("offset"):
			if !p.expr() {
				return false
			}
			p.word("row", "rows")
		case p.word("fetch"):
			if !p.needWord("first", "next") || !p.isWord("row", "rows") && !p.expr() || !p.needWord("row", "rows") {
				return false
			}
			if !p.word("only") && !p.words("with", "ties") {
				return p.unknown()
			}
		default:
			return true
		}
	}
}

// with passes over the common table expressions.
func (p *purity) with() bool {
	p.word("recursive")
	return p.list(func() bool {
		if !p.colID() || p.is("(") && !p.names() || !p.needWord("as") {
			return false
		}
		if p.word("not") && !p.isWord("materialized") {
			return p.unknown()
		}
		p.word("materialized")
		if !p.inParens(p.query) {
			return false
		}
		if p.word("search") {
			if !p.needWord("breadth", "depth") || !p.words("first", "by") || !p.list(p.colID) || !p.needWord("set") || !p.colID() {
				return p.unknown()
			}
		}
		return !p.word("cycle") || p.cycle()
	})
}

func (p *purity) cycle() bool {
	if !p.list(p.colID) || !p.needWord("set") || !p.colID() {
		return false
	}
	if p.word("to") && (!p.operand() || !p.needWord("default") || !p.operand()) {
		return false
	}
	return p.needWord("using") && p.colID()
}

// queryTerm passes over one operand of UNION.
func (p *purity) queryTerm() bool {
	switch {
	case p.is("("):
		return p.inParens(p.query)
	case p.word("select"):
		return p.selectBody()
	case p.word("values"):
		return p.list(func() bool { return p.inParens(func() bool { return p.list(p.exprOrDefault) }) })
	case p.word("table"):
		return p.relation()
	case p.isWord("insert", "update", "delete", "merge"):
		return p.fail(strings.ToUpper(p.t.word(p.i)) + " changes data")
	case p.t.at(p.i).kind == tokWord:
		return p.fail(p.t.raw(p.i) + " is not known to be harmless")
	}
	return p.unknown()
}

func (p *purity) exprOrDefault() bool { return p.word("default") || p.expr() }

func (p *purity) selectBody() bool {
	if !p.word("all") && p.word("distinct") && p.word("on") && !p.inParens(func() bool { return p.list(p.expr) }) {
		return false
	}
	if !p.endsTargets() && !p.list(p.target) {
		return false
	}
	if p.isWord("into") {
		return p.fail("INTO creates a table")
	}
	if p.word("from") && !p.list(p.fromItem) {
		return false
	}
	if p.word("where") && !p.expr() {
		return false
	}
	if p.words("group", "by") {
		p.word("all", "distinct")
		if !p.list(p.groupItem) {
			return false
		}
	}
	if p.word("having") && !p.expr() {
		return false
	}
	return !p.word("window") || p.list(func() bool {
		return p.colID() && p.needWord("as") && p.inParens(p.windowSpec)
	})
}

// endsTargets reports whether the select list, which may be empty, is over.
func (p *purity) endsTargets() bool {
	return p.end() || p.is(")") || p.isWord("from", "into", "where", "group", "having", "window", "union", "intersect",
		"except", "order", "limit", "offset", "fetch", "for")
}

func (p *purity) target() bool {
	if p.sym("*") {
		return true
	}
	if !p.expr() {
		return false
	}
	if p.word("as") {
		return p.label()
	}
	if isBareLabel(p.t, p.i) {
		p.i++
	}
	return true
}

func (p *purity) sortItem() bool {
	if !p.expr() {
		return false
	}
	if p.word("using") {
		if !p.operator() {
			return p.unknown()
		}
	} else {
		p.word("asc", "desc")
	}
	return !p.word("nulls") || p.needWord("first", "last")
}

func (p *purity) groupItem() bool {
	if !p.enter() {
		return false
	}
	exprs := func() bool { return p.list(p.expr) }
	ok := false
	switch {
	case p.is("(") && p.t.is(p.i+1, ")"):
		p.i += 2
		ok = true
	case p.isWord("cube", "rollup") && p.t.is(p.i+1, "("):
		p.i++
		ok = p.inParens(exprs)
	case p.words("grouping", "sets"):
		ok = p.inParens(func() bool { return p.list(p.groupItem) })
	default:
		ok = p.expr()
	}
	p.leave()
	return ok
}

// windowSpec passes over what stands in the parentheses of OVER.
func (p *purity) windowSpec() bool {
	if p.isColID(p.i) && !p.isWord("partition", "range", "rows", "groups") {
		p.i++
	}
	if p.words("partition", "by") && !p.list(p.expr) {
		return false
	}
	if p.words("order", "by") && !p.list(p.sortItem) {
		return false
	}
	if !p.word("range", "rows", "groups") {
		return true
	}
	// The AND of BETWEEN is passed over here, since CURRENT ROW and PRECEDING stand before it.
	between := p.word("between")
	if !p.frameBound() || between && (!p.needWord("and") || !p.frameBound()) {
		return false
	}
	if !p.word("exclude") {
		return true
	}
	return p.words("current", "row") || p.words("no", "others") || p.word("group", "ties") || p.unknown()
}

func (p *purity) frameBound() bool {
	if p.words("current", "row") {
		return true
	}
	if !p.word("unbounded") && !p.expr() {
		return false
	}
	return p.needWord("preceding", "following")
}
