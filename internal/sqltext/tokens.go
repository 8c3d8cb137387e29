package sqltext

import "strings"

// tokens is a text cut into pieces, with the last one of kind tokEnd.
type tokens struct {
	sql  string
	o    Options
	list []token
}

// tokenize cuts the whole text.
func tokenize(sql string, o Options) (tokens, error) { return tokenizeMax(sql, o, -1) }

// tokenizeMax stops after max tokens; fewer than zero means never.
func tokenizeMax(sql string, o Options, max int) (tokens, error) {
	t := tokens{sql: sql, o: o}
	l := lexer{sql: sql, o: o}
	for {
		if max >= 0 && len(t.list) == max {
			t.list = append(t.list, token{tokEnd, l.pos, l.pos})
			return t, nil
		}
		tok, err := l.next()
		if err != nil {
			return t, err
		}
		t.list = append(t.list, tok)
		if tok.kind == tokEnd {
			return t, nil
		}
	}
}

// statement cuts one statement: semicolons at its end are left out.
func statement(sql string, o Options) (tokens, error) {
	t, err := tokenize(sql, o)
	if err != nil {
		return t, err
	}
	n := len(t.list) - 1
	for n > 0 && t.is(n-1, ";") {
		n--
	}
	t.list[n] = token{tokEnd, t.list[n].start, t.list[n].start}
	t.list = t.list[:n+1]
	return t, nil
}

// at is the i-th token, the end when there are fewer.
func (t *tokens) at(i int) token {
	if i < len(t.list) {
		return t.list[i]
	}
	return token{kind: tokEnd, start: len(t.sql), end: len(t.sql)}
}

// raw is the text of the i-th token as it stands.
func (t *tokens) raw(i int) string { tok := t.at(i); return t.sql[tok.start:tok.end] }

// is reports whether the i-th token is that punctuation or operator.
func (t *tokens) is(i int, s string) bool {
	k := t.at(i).kind
	return (k == tokSelf || k == tokOperator) && t.raw(i) == s
}

// word is the i-th token folded to lower case when it is an unquoted word, else empty.
func (t *tokens) word(i int) string {
	if t.at(i).kind != tokWord {
		return ""
	}
	return lower(t.raw(i))
}

// isWord reports whether the i-th token is one of the unquoted words, given in lower case.
func (t *tokens) isWord(i int, words ...string) bool {
	w := t.word(i)
	if w == "" {
		return false
	}
	for _, s := range words {
		if w == s {
			return true
		}
	}
	return false
}

// areWords reports whether the tokens from the i-th on are these unquoted words.
func (t *tokens) areWords(i int, words ...string) bool {
	for n, w := range words {
		if t.word(i+n) != w {
			return false
		}
	}
	return true
}

// name is the identifier that the i-th token stands for. Quoted ones are taken as they are.
func (t *tokens) name(i int) (string, bool) {
	switch t.at(i).kind {
	case tokWord:
		return t.word(i), true
	case tokQuoted:
		s := t.raw(i)
		return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`), true
	}
	return "", false
}

// literal is the value of the i-th token when it is a string whose value is beyond doubt.
func (t *tokens) literal(i int) (string, bool) {
	s := t.raw(i)
	switch t.at(i).kind {
	case tokDollar:
		n := strings.IndexByte(s[1:], '$') + 2
		return s[n : len(s)-n], true
	case tokString:
		if t.o.NonStandardStrings && strings.Contains(s, `\`) {
			return "", false
		}
		if s[0] != '\'' {
			s = s[1:]
		}
	case tokEscape:
		if s = s[1:]; strings.Contains(s, `\`) {
			return unescape(s)
		}
	default:
		return "", false
	}
	s, ok := oneSegment(s)
	return strings.ReplaceAll(s, `''`, `'`), ok
}

// oneSegment takes the quotes off, and refuses a string that goes on in another line's quotes.
func oneSegment(s string) (string, bool) {
	s = s[1 : len(s)-1]
	return s, !strings.Contains(strings.ReplaceAll(s, `''`, ""), `'`)
}

// unescape reads the inside of E'...': only the escapes that need no knowledge of the encoding.
func unescape(s string) (string, bool) {
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'':
			if i++; i == len(s) || s[i] != '\'' {
				return "", false
			}
			b.WriteByte('\'')
		case c != '\\':
			b.WriteByte(c)
		default:
			if i++; i == len(s) {
				return "", false
			}
			switch s[i] {
			case '\\', '\'', '"':
				b.WriteByte(s[i])
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			default:
				return "", false
			}
		}
	}
	return b.String(), true
}

// portable is the text of tokens [from, to) without comments, with strings written so that they mean the same whatever
// standard_conforming_strings is where they are read.
func (t *tokens) portable(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		raw := t.raw(i)
		escaped := t.at(i).kind == tokString && strings.Contains(raw, `\`)
		if i > from && (t.at(i-1).end != t.at(i).start || escaped) {
			b.WriteByte(' ')
		}
		if !escaped {
			b.WriteString(raw)
			continue
		}
		if raw[0] != '\'' {
			raw = raw[1:]
		}
		if !t.o.NonStandardStrings {
			raw = strings.ReplaceAll(raw, `\`, `\\`)
		}
		b.WriteString("E" + raw)
	}
	return b.String()
}

// lower folds ASCII letters, as the server folds identifiers in UTF-8.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
