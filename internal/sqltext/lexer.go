package sqltext

import (
	"errors"
	"strings"
)

// Options are the settings of a session that change how the server reads SQL text.
type Options struct {
	NonStandardStrings bool // standard_conforming_strings=off: a backslash in '...' escapes
}

var (
	errString  = errors.New("sqltext: unterminated quoted string")
	errIdent   = errors.New("sqltext: unterminated quoted identifier")
	errDollar  = errors.New("sqltext: unterminated dollar-quoted string")
	errComment = errors.New("sqltext: unterminated comment")
)

type tokenKind uint8

const (
	tokEnd     tokenKind = iota
	tokWord              // an unquoted identifier or keyword
	tokQuoted            // "..."
	tokUnicode           // U&"...", whose name depends on what follows
	tokString            // '...' and N'...'
	tokEscape            // E'...'
	tokDollar            // $tag$...$tag$
	tokOther             // B'...', X'...', U&'...'
	tokNumber
	tokParam    // $1
	tokOperator // one or more operator characters, among them the single ones + - * / < > = % ^
	tokSelf     // , ( ) [ ] . ; : and the pairs :: .. := =>
	tokBad      // a character that begins nothing, or a number with letters behind it
)

// token is a piece of the text. Its value is not decoded.
type token struct {
	kind       tokenKind
	start, end int
}

// lexer cuts the text as src/backend/parser/scan.l does.
type lexer struct {
	sql string
	pos int
	o   Options
}

// next returns the next token, of kind tokEnd at the end. The error is one of the unterminated ones.
func (l *lexer) next() (token, error) {
	if err := l.skipSpace(); err != nil {
		return token{}, err
	}
	start := l.pos
	if start >= len(l.sql) {
		return token{tokEnd, start, start}, nil
	}
	kind, err := l.scan()
	return token{kind, start, l.pos}, err
}

func (l *lexer) scan() (tokenKind, error) {
	c := l.sql[l.pos]
	switch {
	case c == '\'':
		return tokString, l.quoted(l.o.NonStandardStrings)
	case c == '"':
		return tokQuoted, l.identifier()
	case c == '$':
		return l.dollar()
	case isDigit(c), c == '.' && isDigit(l.at(1)):
		return l.number(), nil
	case isWordStart(c):
		return l.word()
	case strings.IndexByte(",()[];", c) >= 0:
		l.pos++
		return tokSelf, nil
	case c == '.':
		l.pos++
		if l.at(0) == '.' {
			l.pos++
		}
		return tokSelf, nil
	case c == ':':
		l.pos++
		if l.at(0) == ':' || l.at(0) == '=' {
			l.pos++
		}
		return tokSelf, nil
	case isOperator(c):
		return l.operator(), nil
	}
	l.pos++
	return tokBad, nil
}

// at is the byte n places ahead, 0 past the end.
func (l *lexer) at(n int) byte {
	if l.pos+n < len(l.sql) {
		return l.sql[l.pos+n]
	}
	return 0
}

func (l *lexer) skipSpace() error {
	for l.pos < len(l.sql) {
		switch c := l.sql[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '-' && l.at(1) == '-':
			l.lineComment()
		case c == '/' && l.at(1) == '*':
			if err := l.blockComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) lineComment() {
	for l.pos < len(l.sql) && l.sql[l.pos] != '\n' && l.sql[l.pos] != '\r' {
		l.pos++
	}
}

func (l *lexer) blockComment() error {
	depth := 0
	for l.pos < len(l.sql) {
		switch {
		case l.at(0) == '/' && l.at(1) == '*':
			depth++
			l.pos += 2
		case l.at(0) == '*' && l.at(1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			l.pos++
		}
	}
	return errComment
}

// quoted passes over '...', which may go on in another '...' on a later line, with or without backslash escapes.
func (l *lexer) quoted(escapes bool) error {
	l.pos++
	for l.pos < len(l.sql) {
		switch c := l.sql[l.pos]; {
		case c == '\\' && escapes:
			l.pos += 2
		case c == '\'' && l.at(1) == '\'':
			l.pos += 2
		case c == '\'':
			l.pos++
			next, ok := l.continuation()
			if !ok {
				return nil
			}
			l.pos = next
		default:
			l.pos++
		}
	}
	l.pos = len(l.sql)
	return errString
}

// continuation looks behind a closing quote for white space with a newline in it and another quote, which go on with
// the same string, and returns the place after that quote. Only -- comments may stand between.
func (l *lexer) continuation() (next int, ok bool) {
	look := lexer{sql: l.sql, pos: l.pos}
	newline := false
	for look.pos < len(look.sql) {
		switch c := look.sql[look.pos]; {
		case c == '\n' || c == '\r':
			newline = true
			look.pos++
		case isSpace(c):
			look.pos++
		case c == '-' && look.at(1) == '-':
			look.lineComment()
		case c == '\'' && newline:
			return look.pos + 1, true
		default:
			return 0, false
		}
	}
	return 0, false
}

func (l *lexer) identifier() error {
	l.pos++
	for l.pos < len(l.sql) {
		if l.sql[l.pos] != '"' {
			l.pos++
			continue
		}
		if l.at(1) != '"' {
			l.pos++
			return nil
		}
		l.pos += 2
	}
	return errIdent
}

// dollar passes over $1, or $tag$...$tag$.
func (l *lexer) dollar() (tokenKind, error) {
	start := l.pos
	l.pos++
	if isDigit(l.at(0)) {
		for isDigit(l.at(0)) {
			l.pos++
		}
		if isWordStart(l.at(0)) {
			return tokBad, nil
		}
		return tokParam, nil
	}
	if isWordStart(l.at(0)) {
		for isWordStart(l.at(0)) || isDigit(l.at(0)) {
			l.pos++
		}
	}
	if l.at(0) != '$' {
		l.pos = start + 1
		return tokBad, nil
	}
	l.pos++
	tag := l.sql[start:l.pos]
	n := strings.Index(l.sql[l.pos:], tag)
	if n < 0 {
		l.pos = len(l.sql)
		return tokDollar, errDollar
	}
	l.pos += n + len(tag)
	return tokDollar, nil
}

// number passes over a number. Servers differ in what they make of letters right behind one.
func (l *lexer) number() tokenKind {
	for isDigit(l.at(0)) {
		l.pos++
	}
	if l.at(0) == '.' && l.at(1) != '.' {
		l.pos++
		for isDigit(l.at(0)) {
			l.pos++
		}
	}
	if c := l.at(0); c == 'e' || c == 'E' {
		n := 1
		if s := l.at(1); s == '+' || s == '-' {
			n = 2
		}
		if isDigit(l.at(n)) {
			for l.pos += n; isDigit(l.at(0)); {
				l.pos++
			}
		}
	}
	if isWordStart(l.at(0)) {
		return tokBad
	}
	return tokNumber
}

// word passes over an identifier, or a literal with a letter before its quote.
func (l *lexer) word() (tokenKind, error) {
	switch l.sql[l.pos] | 0x20 {
	case 'e':
		if l.at(1) == '\'' {
			l.pos++
			return tokEscape, l.quoted(true)
		}
	case 'n':
		if l.at(1) == '\'' {
			l.pos++
			return tokString, l.quoted(l.o.NonStandardStrings)
		}
	case 'b', 'x':
		if l.at(1) == '\'' {
			l.pos++
			return tokOther, l.quoted(false)
		}
	case 'u':
		if l.at(1) == '&' && l.at(2) == '\'' {
			l.pos += 2
			return tokOther, l.quoted(false)
		}
		if l.at(1) == '&' && l.at(2) == '"' {
			l.pos += 2
			return tokUnicode, l.identifier()
		}
	}
	for l.pos < len(l.sql) && isWordPart(l.sql[l.pos]) {
		l.pos++
	}
	return tokWord, nil
}

// operator passes over as many operator characters as the server would take for one operator.
func (l *lexer) operator() tokenKind {
	start := l.pos
	for l.pos < len(l.sql) && isOperator(l.sql[l.pos]) {
		if l.pos > start && (l.at(0) == '-' && l.at(1) == '-' || l.at(0) == '/' && l.at(1) == '*') {
			break // a comment begins
		}
		l.pos++
	}
	// A + or - at the end belongs to what follows, but for operators that SQL has no part in.
	if !strings.ContainsAny(l.sql[start:l.pos], "~!@#^&|`?%") {
		for l.pos > start+1 && (l.sql[l.pos-1] == '+' || l.sql[l.pos-1] == '-') {
			l.pos--
		}
	}
	if l.sql[start:l.pos] == "=>" {
		return tokSelf
	}
	return tokOperator
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' }

func isOperator(c byte) bool { return strings.IndexByte("~!@#^&|`?+-*/%<>=", c) >= 0 }
