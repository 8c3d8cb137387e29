package sqltext

// fromItem passes over a table or a function with the joins behind it.
func (p *purity) fromItem() bool {
	if !p.enter() || !p.tableRef() {
		return false
	}
	for {
		switch {
		case p.words("cross", "join"):
			if !p.tableRef() {
				return false
			}
		case p.word("natural"):
			if !p.joinType() || !p.tableRef() {
				return false
			}
		case p.isWord("join", "inner", "left", "right", "full"):
			// Joins nest like parentheses: a JOIN b JOIN c ON ... ON ...
			if !p.joinType() || !p.fromItem() || !p.joinQual() {
				return false
			}
		default:
			p.leave()
			return true
		}
	}
}

func (p *purity) joinType() bool {
	if !p.word("inner") && p.word("left", "right", "full") {
		p.word("outer")
	}
	return p.needWord("join")
}

func (p *purity) joinQual() bool {
	switch {
	case p.word("on"):
		return p.expr()
	case p.word("using"):
		return p.names() && (!p.word("as") || p.colID())
	}
	// The inner of two nested joins may have taken it.
	return p.unknown()
}

// names passes over a parenthesised list of columns.
func (p *purity) names() bool { return p.inParens(func() bool { return p.list(p.colID) }) }

func (p *purity) tableRef() bool {
	if p.is("(") {
		return p.parenTable()
	}
	lateral := p.word("lateral")
	switch {
	case lateral && p.is("("):
		return p.inParens(p.query) && p.alias()
	case p.t.areWords(p.i, "rows", "from") && p.t.is(p.i+2, "("):
		p.i += 2
		each := func() bool { return p.function() && (!p.word("as") || p.inParens(p.columnDefs)) }
		return p.inParens(func() bool { return p.list(each) }) && p.functionAlias()
	case p.isFunction():
		return p.function() && p.functionAlias()
	case lateral:
		return p.unknown()
	}
	return p.relation() && p.alias() && p.sample()
}

// parenTable passes over a query or joined tables in parentheses.
func (p *purity) parenTable() bool {
	if p.startsQuery(p.i) && p.try(func() bool { return p.inParens(p.query) && p.alias() }) {
		return true
	}
	return p.inParens(p.fromItem) && p.alias()
}

// relation passes over a table's name, which may have ONLY before it or a star behind.
func (p *purity) relation() bool {
	if p.word("only") && p.is("(") {
		return p.inParens(p.qualified)
	}
	if !p.qualified() {
		return false
	}
	p.sym("*")
	return true
}

func (p *purity) qualified() bool {
	if !p.colID() {
		return false
	}
	for p.sym(".") {
		if !p.label() {
			return false
		}
	}
	return true
}

func (p *purity) alias() bool {
	if p.word("as") {
		if !p.colID() {
			return false
		}
	} else if p.isColID(p.i) {
		p.i++
	} else {
		return true
	}
	return !p.is("(") || p.names()
}

// functionAlias passes over what may follow a function in FROM: its columns may be given types.
func (p *purity) functionAlias() bool {
	if p.words("with", "ordinality") {
		return p.alias()
	}
	if p.word("as") {
		if p.is("(") {
			return p.inParens(p.columnDefs)
		}
		if !p.colID() {
			return false
		}
	} else if p.isColID(p.i) {
		p.i++
	} else {
		return true
	}
	if !p.is("(") {
		return true
	}
	return p.try(p.names) || p.inParens(p.columnDefs)
}

// columnDefs passes over names with types: values are brought into those types, which for a domain runs its checks.
func (p *purity) columnDefs() bool {
	return p.list(func() bool {
		return p.colID() && p.typeName() && (!p.word("collate") || p.qualified())
	})
}

// sample passes over TABLESAMPLE. Other methods than the server's own are an extension's code.
func (p *purity) sample() bool {
	if !p.word("tablesample") {
		return true
	}
	if !p.word("system", "bernoulli") {
		return p.fail("a sampling method that is not the server's own")
	}
	if !p.inParens(func() bool { return p.list(p.expr) }) {
		return false
	}
	return !p.word("repeatable") || p.inParens(p.expr)
}
