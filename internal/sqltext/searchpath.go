package sqltext

import "strings"

// SearchPathSafe reports whether the names of pg_catalog's functions mean pg_catalog's, given the value of search_path
// as SHOW has it: pg_catalog stands first, or nowhere, which puts it first as well. (The temporary schema is searched
// before it only for relations and types.)
func SearchPathSafe(path string) bool {
	safe := true
	for i := 0; ; i++ {
		name, rest, ok := pathElement(path)
		if !ok {
			return i == 0 && strings.TrimSpace(path) == ""
		}
		if name == "pg_catalog" && i > 0 {
			safe = false
		}
		if rest == "" {
			return safe
		}
		path = rest[1:] // behind the comma
	}
}

// pathElement cuts one schema off, as the server's SplitIdentifierString does. The rest is empty or begins with a comma.
func pathElement(path string) (name, rest string, ok bool) {
	path = strings.TrimLeft(path, " \t\n\r\f\v")
	if strings.HasPrefix(path, `"`) {
		l := lexer{sql: path}
		if l.identifier() != nil {
			return "", "", false
		}
		name, rest = strings.ReplaceAll(path[1:l.pos-1], `""`, `"`), path[l.pos:]
	} else {
		n := strings.IndexAny(path, ", \t\n\r\f\v")
		if n < 0 {
			n = len(path)
		}
		name, rest = lower(path[:n]), path[n:]
		if name == "" {
			return "", "", false
		}
	}
	rest = strings.TrimLeft(rest, " \t\n\r\f\v")
	return name, rest, rest == "" || rest[0] == ','
}
