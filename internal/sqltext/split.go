package sqltext

// Statement is one of the statements in the text of a simple Query.
type Statement struct {
	Text   string // from its first token to its last: without the semicolon, and without comments around it
	Kind   Kind
	Offset int // of Text in the text that was split, in bytes
}

// Split returns the statements of the text in their order. Empty ones are left out, as the server says nothing of
// them when there are others. Semicolons in quotes, comments, parentheses (CREATE RULE) and in the body of an SQL
// function (BEGIN ATOMIC ... END) end no statement.
//
// The error tells of a quote or comment that has no end; the server would run nothing of such a text.
func Split(sql string, o Options) ([]Statement, error) {
	var (
		list []Statement
		b    = boundary{sql: sql}
		l    = lexer{sql: sql, o: o}
	)
	first, last := -1, -1
	flush := func() {
		if first >= 0 {
			text := sql[first:last]
			list = append(list, Statement{Text: text, Kind: Classify(text, o), Offset: first})
		}
		first, last = -1, -1
		b = boundary{sql: sql}
	}
	for {
		tok, err := l.next()
		if err != nil {
			return nil, err
		}
		if tok.kind == tokEnd {
			flush()
			return list, nil
		}
		if b.ends(tok) {
			flush()
			continue
		}
		if first < 0 {
			first = tok.start
		}
		last = tok.end
	}
}

// boundary finds the semicolon that ends a statement.
type boundary struct {
	sql    string
	n      int // words seen, counted up to where the routine's own keyword can stand
	create bool
	body   bool   // CREATE FUNCTION or PROCEDURE: BEGIN ATOMIC opens a body
	parens int    // depth
	blocks int    // BEGIN ATOMIC and the CASEs in it
	prev   string // the last token: a word in lower case, or punctuation
}

// ends reports whether the token is the semicolon that ends the statement.
func (b *boundary) ends(tok token) bool {
	text := b.sql[tok.start:tok.end]
	prev := b.prev
	b.prev = ""
	switch tok.kind {
	case tokSelf:
		b.prev = text
		switch text {
		case "(":
			b.parens++
		case ")":
			b.parens = max(0, b.parens-1)
		case ";":
			return b.parens == 0 && b.blocks == 0
		}
	case tokWord:
		if len(text) <= len("procedure") {
			b.prev = lower(text)
			b.word(b.prev, prev)
		}
		b.n++
	}
	return false
}

func (b *boundary) word(w, prev string) {
	switch {
	case b.n == 0:
		b.create = w == "create"
	case b.create && b.n <= 3 && (w == "function" || w == "procedure") && (b.n == 1 || prev == "replace"):
		b.body = true
	}
	if !b.body || prev == "." || prev == "as" && w != "begin" {
		return // a column's name, or a label
	}
	switch {
	case w == "atomic" && prev == "begin" && b.blocks == 0:
		b.blocks = 1
	case b.blocks > 0 && w == "case":
		b.blocks++
	case b.blocks > 0 && w == "end":
		b.blocks--
	}
}
