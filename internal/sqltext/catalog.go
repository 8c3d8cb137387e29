package sqltext

import (
	"strings"
	"sync"
)

//go:generate go run ./gen

// catalog is what the generated lists say, made when it is first asked for: most processes never lose a connection
// while a read is in flight.
type catalog struct {
	functions  map[string]bool // of pg_catalog; true for those that can be called again
	extensions map[string]bool // functions of extensions that leave nothing in a session
	types      map[string]bool
	operators  map[string]bool
	keywords   map[string]keyword
}

// keyword is a word that the grammar knows.
type keyword struct {
	category byte // U: unreserved, C: a column's name but no function's, T: the other way round, R: reserved
	bare     bool // can be a label without AS
}

var loadCatalog = sync.OnceValue(func() *catalog {
	c := &catalog{
		functions: make(map[string]bool), extensions: make(map[string]bool), types: make(map[string]bool),
		operators: make(map[string]bool), keywords: make(map[string]keyword),
	}
	for name := range strings.FieldsSeq(pureFunctions) {
		c.functions[name] = true
	}
	for name := range strings.FieldsSeq(otherFunctions) {
		c.functions[name] = false
	}
	for name := range strings.FieldsSeq(extensionFunctions) {
		c.extensions[name] = true
	}
	for name := range strings.FieldsSeq(catalogTypes) {
		c.types[name] = true
	}
	for name := range strings.FieldsSeq(catalogOperators) {
		c.operators[name] = true
	}
	c.operators["!="] = true // the server reads <>
	for entry := range strings.FieldsSeq(keywordList) {
		word, rest, _ := strings.Cut(entry, ":")
		c.keywords[word] = keyword{category: rest[0], bare: strings.HasSuffix(rest, "+")}
	}
	return c
})
