package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// rulesInterval is how long what was read of rules is taken for current.
const rulesInterval = time.Minute

const (
	// maxName is the length of an identifier, in bytes, beyond which a server cuts it off.
	maxName = 63
	// maxNames bounds the names that are kept, for databases that have rules on nearly everything.
	maxNames = 10_000
)

// Querier asks a server for one value.
type Querier interface {
	// Query runs SQL and returns the first column of the first row.
	Query(ctx context.Context, sql string) (string, error)
}

// query returns the names of the relations whose statements rules may rewrite, as a JSON array: those that have rules of their own, and, if
// there are any, all views, which may lead to them. The rule that makes a view what it is rewrites no more than its reads.
const query = `/* fairlead */ WITH ruled AS (SELECT DISTINCT ev_class FROM pg_catalog.pg_rewrite WHERE ev_type OPERATOR(pg_catalog.<>) '1'),
names AS (SELECT relname FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) ANY (SELECT ev_class FROM ruled)
	OR relkind OPERATOR(pg_catalog.=) 'v' AND EXISTS (SELECT FROM ruled WHERE ev_class OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid))
SELECT coalesce(pg_catalog.json_agg(relname), '[]') FROM names`

// Snapshot is what was read at one time. A nil one knows nothing.
type Snapshot struct {
	at    time.Time
	all   bool                // any relation may have rules
	plain map[string]struct{} // names of those that do, in lower case, that stand as words in a text
	odd   []string            // the others: names that are quoted wherever they stand
}

// MayBeRuled reports whether a statement may be rewritten by a rule: one of the relations that its text may name has rules.
func (s *Snapshot) MayBeRuled(text []byte) bool {
	switch {
	case s == nil || s.all:
		return true
	case len(s.plain) == 0 && len(s.odd) == 0:
		return false
	}
	lower := strings.ToLower(string(text))
	if strings.Contains(lower, `u&"`) {
		return true // escapes are not read
	}
	for _, name := range s.odd {
		if strings.Contains(lower, name) {
			return true
		}
	}
	for word := range strings.FieldsFuncSeq(lower, func(r rune) bool { return !inWord(r) }) {
		if _, ok := s.plain[cut(word)]; ok {
			return true
		}
	}
	return false
}

// inWord reports whether a character stands in identifiers that are not quoted.
func inWord(r rune) bool {
	return r == '_' || r == '$' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= utf8.RuneSelf
}

// cut is a name as a server reads it.
func cut(name string) string {
	if len(name) <= maxName {
		return name
	}
	n := maxName
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}

// newSnapshot is that of a database in which the relations of these names have rules.
func newSnapshot(names []string) *Snapshot {
	s := &Snapshot{at: time.Now(), plain: make(map[string]struct{}, len(names)), all: len(names) > maxNames}
	for _, name := range names {
		lower := strings.ToLower(name)
		switch {
		case strings.ContainsFunc(lower, func(r rune) bool { return r >= utf8.RuneSelf }):
			s.all = true // a client's encoding may have other bytes for it
		case strings.ContainsFunc(lower, func(r rune) bool { return !inWord(r) }):
			s.odd = append(s.odd, strings.ReplaceAll(lower, `"`, `""`))
		default:
			s.plain[lower] = struct{}{}
		}
	}
	return s
}

// Read asks a server.
func Read(ctx context.Context, q Querier) (*Snapshot, error) {
	answer, err := q.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read the catalogs: %w", err)
	}
	var names []string
	if err := json.Unmarshal([]byte(answer), &names); err != nil {
		return &Snapshot{at: time.Now(), all: true}, nil // it tells nothing
	}
	return newSnapshot(names), nil
}

// Cache keeps what is known of one database. Its zero value knows nothing, and is ready to use; any number of goroutines may use it.
type Cache struct {
	known atomic.Pointer[Snapshot]
	want  atomic.Bool
}

// Load returns what is known, nil for nothing. What is older than a minute is wanted anew.
func (c *Cache) Load() *Snapshot {
	s := c.known.Load()
	if s == nil || time.Since(s.at) > rulesInterval {
		c.want.Store(true)
	}
	return s
}

// Wanted reports whether somebody is to call Renew, who has a connection.
func (c *Cache) Wanted() bool { return c.want.Load() }

// Forget says that what is known may not be so any more.
func (c *Cache) Forget() {
	c.known.Store(nil)
	c.want.Store(true)
}

// Renew asks a server if that is wanted and nobody else does so. What a server refuses to tell stays unknown for a minute.
func (c *Cache) Renew(ctx context.Context, q Querier, refused func(error) bool) error {
	if !c.want.CompareAndSwap(true, false) {
		return nil
	}
	s, err := Read(ctx, q)
	switch {
	case err == nil:
	case refused(err):
		s = &Snapshot{at: time.Now(), all: true}
	default:
		c.want.Store(true)
		return err
	}
	c.known.Store(s)
	return nil
}
