package sqltext

// named passes over an operand that begins with a word: a keyword of the grammar, a column, a function, or a type with
// a literal behind it.
func (p *purity) named() bool {
	if done, ok := p.special(); done {
		return ok
	}
	if p.try(p.typedLiteral) {
		return true
	}
	if p.isFunction() {
		return p.function()
	}
	return p.column()
}

// special passes over the operands that have a syntax of their own.
func (p *purity) special() (done, ok bool) {
	w := p.t.word(p.i)
	call := p.t.is(p.i+1, "(")
	exprs := func() bool { return p.list(p.expr) }
	switch w {
	case "null", "true", "false", "current_date", "current_user", "current_role", "session_user", "user",
		"current_catalog":
		p.i++
		return true, true
	case "current_time", "current_timestamp", "localtime", "localtimestamp":
		p.i++
		return true, !p.is("(") || p.inParens(p.number)
	case "current_schema":
		if call {
			return false, false
		}
		p.i++
		return true, true
	case "case":
		p.i++
		return true, p.caseExpr()
	case "any", "some", "all":
		p.i++
		return true, p.queryOrList()
	case "array":
		p.i++
		if p.is("[") {
			return true, p.arrayItems()
		}
		return true, p.inParens(p.query)
	case "cast":
		p.i++
		return true, p.inParens(func() bool { return p.expr() && p.needWord("as") && p.typeName() })
	}
	if !call {
		return false, false
	}
	p.i++
	switch w {
	case "exists":
		return true, p.inParens(p.query)
	case "row":
		if p.t.is(p.i+1, ")") {
			p.i += 2
			return true, true
		}
		return true, p.inParens(exprs)
	case "coalesce", "greatest", "least", "nullif", "grouping":
		return true, p.inParens(exprs)
	case "extract":
		return true, p.inParens(func() bool {
			if p.t.at(p.i).kind != tokString && p.category(p.i) == '-' {
				return p.unknown()
			}
			p.i++
			return p.needWord("from") && p.expr()
		})
	case "position":
		return true, p.inParens(func() bool { return p.expression(true) && p.needWord("in") && p.expression(true) })
	case "substring":
		return true, p.inParens(func() bool { return exprs() && p.fromFor() })
	case "overlay":
		return true, p.inParens(func() bool { return exprs() && (!p.word("placing") || p.expr() && p.fromFor()) })
	case "trim":
		return true, p.inParens(func() bool {
			p.word("both", "leading", "trailing")
			if !p.isWord("from") && !exprs() {
				return false
			}
			return !p.word("from") || exprs()
		})
	case "normalize":
		return true, p.inParens(func() bool {
			return p.expr() && (!p.sym(",") || p.needWord("nfc", "nfd", "nfkc", "nfkd"))
		})
	}
	p.i--
	return false, false
}

// fromFor passes over the FROM and FOR of SUBSTRING and OVERLAY, in either order.
func (p *purity) fromFor() bool {
	for p.word("from", "for") {
		if !p.expr() {
			return false
		}
	}
	return true
}

func (p *purity) number() bool {
	if p.t.at(p.i).kind != tokNumber {
		return p.unknown()
	}
	p.i++
	return true
}

// column passes over the name of a column, of a row, or of a row's columns.
func (p *purity) column() bool {
	if !p.colID() {
		return false
	}
	for p.sym(".") {
		if p.sym("*") {
			return true
		}
		// t.f is the function f called with the row t when t has no column of that name.
		if name, _ := p.t.name(p.i); name != "" {
			if harmless, known := p.c.functions[name]; known && !harmless {
				return p.fail("function " + name + " is not known to be without effects")
			}
		}
		if !p.label() {
			return false
		}
	}
	return true
}

// isFunction reports whether a function's name, and its parenthesis, begin at the token in hand.
func (p *purity) isFunction() bool {
	i := p.i
	if c := p.category(i); c == '-' || c == 'R' {
		return false
	}
	for i++; p.t.is(i, ".") && p.category(i+1) != '-'; i += 2 {
	}
	return p.t.is(i, "(")
}

// function passes over a call, its arguments, and the clauses of aggregates and window functions behind it.
func (p *purity) function() bool {
	name, ok := p.t.name(p.i)
	if !p.isFunction() || !ok {
		return p.unknown()
	}
	if p.category(p.i) == 'C' {
		return p.fail(name + " is not known to be harmless")
	}
	if p.t.is(p.i+1, ".") {
		schema := name
		if name, ok = p.t.name(p.i + 2); schema != "pg_catalog" || !ok || !p.t.is(p.i+3, "(") {
			return p.fail("function " + name + " of schema " + schema + " is not pg_catalog's")
		}
		p.i += 2
	}
	if !p.c.functions[name] {
		return p.fail("function " + name + " is not known to be without effects")
	}
	p.i++
	return p.enter() && p.inParens(p.arguments) && p.overClauses() && func() bool { p.leave(); return true }()
}

func (p *purity) arguments() bool {
	if p.is(")") || p.sym("*") {
		return true
	}
	p.word("all", "distinct")
	return p.list(func() bool {
		p.word("variadic")
		if p.t.is(p.i+1, "=>") || p.t.is(p.i+1, ":=") {
			if c := p.category(p.i); c == '-' || c == 'R' || c == 'C' {
				return p.unknown()
			}
			p.i += 2
		}
		return p.expr()
	}) && (!p.words("order", "by") || p.list(p.sortItem))
}

func (p *purity) overClauses() bool {
	if p.t.areWords(p.i, "within", "group") {
		p.i += 2
		if !p.inParens(func() bool { return p.words("order", "by") && p.list(p.sortItem) || p.unknown() }) {
			return false
		}
	}
	if p.isWord("filter") && p.t.is(p.i+1, "(") {
		p.i++
		if !p.inParens(func() bool { return p.needWord("where") && p.expr() }) {
			return false
		}
	}
	if !p.word("over") {
		return true
	}
	if p.is("(") {
		return p.inParens(p.windowSpec)
	}
	return p.colID()
}
