package sqltext

// expr passes over an expression: operands with operators between them, in whatever order the server computes them.
func (p *purity) expr() bool { return p.expression(false) }

// expression leaves IN alone when noIn is set: in POSITION(a IN b) it is not an operator.
func (p *purity) expression(noIn bool) bool {
	if !p.enter() {
		return false
	}
	for {
		if !p.operand() || !p.postfix() {
			return false
		}
		more, ok := p.infix(noIn)
		if !ok {
			return false
		}
		if !more {
			p.leave()
			return true
		}
	}
}

// infix passes over operators, up to the operand that the last one needs; more reports that there is one.
func (p *purity) infix(noIn bool) (more, ok bool) {
	for {
		not := p.isWord("not") && p.t.isWord(p.i+1, "in", "like", "ilike", "similar", "between")
		if not && !(noIn && p.t.isWord(p.i+1, "in")) {
			p.i++
		}
		switch {
		case p.t.at(p.i).kind == tokOperator:
			return true, p.operator()
		case p.word("and", "or", "like", "ilike", "overlaps", "escape"):
			return true, true
		case p.word("between"):
			p.word("symmetric", "asymmetric")
			return true, true
		case p.words("similar", "to"), p.words("at", "time", "zone"):
			return true, true
		case p.isWord("in") && !noIn:
			p.i++
			if !p.queryOrList() {
				return false, false
			}
		case p.word("is"):
			p.word("not")
			if p.words("distinct", "from") {
				return true, true
			}
			if !p.test() {
				return false, false
			}
		case p.word("isnull", "notnull"), p.words("at", "local"):
		default:
			return false, true
		}
		if !p.postfix() {
			return false, false
		}
	}
}

// test passes over what may follow IS.
func (p *purity) test() bool {
	if p.word("null", "true", "false", "unknown", "document", "normalized") {
		return true
	}
	return p.word("nfc", "nfd", "nfkc", "nfkd") && p.needWord("normalized") || p.unknown()
}

// operator passes over one operator of pg_catalog.
func (p *purity) operator() bool {
	if p.t.at(p.i).kind != tokOperator {
		return p.unknown()
	}
	if op := p.t.raw(p.i); !p.c.operators[op] {
		return p.fail("operator " + op + " is not pg_catalog's")
	}
	p.i++
	return true
}

// postfix passes over casts, subscripts and collations.
func (p *purity) postfix() bool {
	for {
		switch {
		case p.sym("::"):
			if !p.typeName() {
				return false
			}
		case p.is("["):
			if !p.subscript() {
				return false
			}
		case p.word("collate"):
			if !p.qualified() {
				return false
			}
		case p.is("."):
			// (x).f can be the function f called with x.
			if p.i++; !p.sym("*") {
				return p.fail("a field of an expression can be a function")
			}
		default:
			return true
		}
	}
}

func (p *purity) subscript() bool {
	p.i++
	if !p.is(":") && !p.expr() {
		return false
	}
	if p.sym(":") && !p.is("]") && !p.expr() {
		return false
	}
	return p.need("]")
}

// operand passes over one value, with the operators before it.
func (p *purity) operand() bool {
	for {
		if p.word("not") {
			continue
		}
		if p.t.at(p.i).kind != tokOperator {
			break
		}
		if !p.operator() {
			return false
		}
	}
	switch p.t.at(p.i).kind {
	case tokString, tokEscape, tokDollar, tokOther, tokNumber, tokParam:
		p.i++
		return true
	case tokSelf:
		if !p.is("(") {
			return p.unknown()
		}
		return p.parens()
	case tokWord, tokQuoted:
		return p.named()
	}
	return p.unknown()
}

// parens passes over a subquery, a row, or an expression in parentheses.
func (p *purity) parens() bool {
	if p.startsQuery(p.i) && p.try(func() bool { return p.inParens(p.query) }) {
		return true
	}
	if p.budget < 0 {
		return p.fail("too entangled")
	}
	return p.inParens(func() bool { return p.list(p.expr) })
}

// queryOrList passes over what follows IN, ANY or ARRAY.
func (p *purity) queryOrList() bool {
	if !p.is("(") {
		return p.unknown()
	}
	return p.parens()
}

// arrayItems passes over the inside of ARRAY[...], where [...] stands for an array in an array.
func (p *purity) arrayItems() bool {
	if !p.enter() || !p.need("[") {
		return false
	}
	if !p.is("]") && !p.list(func() bool {
		if p.is("[") {
			return p.arrayItems()
		}
		return p.expr()
	}) {
		return false
	}
	p.leave()
	return p.need("]")
}

func (p *purity) caseExpr() bool {
	if !p.isWord("when") && !p.expr() {
		return false
	}
	for p.word("when") {
		if !p.expr() || !p.needWord("then") || !p.expr() {
			return false
		}
	}
	if p.word("else") && !p.expr() {
		return false
	}
	return p.needWord("end")
}
