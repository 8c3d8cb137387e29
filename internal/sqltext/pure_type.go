package sqltext

// typedLiteral passes over a type's name with a string behind it: DATE '2020-01-01', or INTERVAL '1' DAY.
func (p *purity) typedLiteral() bool {
	interval := p.isWord("interval")
	if interval && p.t.at(p.i+1).kind != tokSelf {
		p.i++ // the fields stand behind the string
	} else if !p.simpleType() {
		return false
	}
	switch p.t.at(p.i).kind {
	case tokString, tokEscape, tokDollar:
		p.i++
	default:
		return p.unknown()
	}
	return !interval || p.intervalFields()
}

// typeName passes over the type of a cast or of a column in a list. Only those of pg_catalog are known not to run
// anybody's code: a domain has checks, and other types have casts and input functions of their own.
func (p *purity) typeName() bool {
	if !p.simpleType() {
		return false
	}
	if p.word("array") {
		return !p.sym("[") || p.number() && p.need("]")
	}
	for p.sym("[") {
		if !p.is("]") && !p.number() || !p.need("]") {
			return false
		}
	}
	return true
}

func (p *purity) simpleType() bool {
	switch {
	case p.word("int", "integer", "smallint", "bigint", "real", "boolean"), p.words("double", "precision"):
		return true
	case p.word("float", "decimal", "dec", "numeric", "varchar"):
		return p.modifiers()
	case p.word("bit", "character", "char", "nchar"):
		p.word("varying")
		return p.modifiers()
	case p.words("national", "character"), p.words("national", "char"):
		p.word("varying")
		return p.modifiers()
	case p.word("time", "timestamp"):
		if !p.modifiers() {
			return false
		}
		if p.t.areWords(p.i, "with", "time", "zone") || p.t.areWords(p.i, "without", "time", "zone") {
			p.i += 3
		}
		return true
	case p.word("interval"):
		return p.modifiers() && p.intervalFields()
	}
	switch c := p.category(p.i); c {
	case 0, 'U', 'T':
	default:
		return p.unknown()
	}
	name, _ := p.t.name(p.i)
	p.i++
	if name == "pg_catalog" && p.sym(".") {
		name, _ = p.t.name(p.i)
		if !p.label() {
			return false
		}
	}
	if p.is(".") || !p.c.types[name] {
		return p.fail("type " + name + " is not pg_catalog's")
	}
	return p.modifiers()
}

// modifiers passes over (10,2).
func (p *purity) modifiers() bool {
	if !p.is("(") {
		return true
	}
	return p.inParens(func() bool {
		return p.list(func() bool { p.sym("-"); return p.number() })
	})
}

func (p *purity) intervalFields() bool {
	field := func() bool {
		if p.word("second") {
			return p.modifiers()
		}
		p.word("year", "month", "day", "hour", "minute")
		return true
	}
	if !p.isWord("year", "month", "day", "hour", "minute", "second") {
		return true
	}
	return field() && (!p.word("to") || field())
}
