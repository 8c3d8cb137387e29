// Package catalog knows from a server's catalogs what the objects of a database can do. It does no I/O: it has queries, and takes in
// their answers.
package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/sqltext"
)

// FunctionsQuery returns one JSON text with all functions that are not PostgreSQL's own, for [Functions.Learn].
const FunctionsQuery = `select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(` +
	`'oid', p.oid::pg_catalog.int8, 'name', p.proname, 'kind', p.prokind, 'language', l.lanname, 'extension', e.extname,` +
	`'source', case when l.lanname operator(pg_catalog.=) 'sql' and pg_catalog.length(p.prosrc) operator(pg_catalog.<) 4096 then p.prosrc end,` +
	`'parts', (select pg_catalog.json_agg(pg_catalog.json_build_object('oid', d.oid::pg_catalog.int8, 'name', d.proname)) from pg_catalog.pg_proc d` +
	` where d.oid operator(pg_catalog.=) any (array[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn,` +
	` a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])))), '[]') from pg_catalog.pg_proc p` +
	` join pg_catalog.pg_language l on l.oid operator(pg_catalog.=) p.prolang` +
	` left join pg_catalog.pg_aggregate a on a.aggfnoid::pg_catalog.oid operator(pg_catalog.=) p.oid` +
	` left join pg_catalog.pg_depend x on x.classid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass and x.objid operator(pg_catalog.=) p.oid` +
	` and x.deptype operator(pg_catalog.=) 'e' left join pg_catalog.pg_extension e on e.oid operator(pg_catalog.=) x.refobjid` +
	` where p.oid operator(pg_catalog.>=) 16384`

// trusted are the extensions whose functions in C compute from their arguments and leave nothing in a session, but for those listed.
// Not among them: what runs SQL that it is given (tablefunc, xml2, pgrouting, postgis_raster), what connects to elsewhere (dblink,
// postgres_fdw), and what keeps state of its own (orafce).
var trusted = map[string]string{
	"bloom": "", "btree_gin": "", "btree_gist": "", "citext": "", "cube": "", "dict_int": "", "dict_xsyn": "", "earthdistance": "",
	"fuzzystrmatch": "", "h3": "", "hstore": "", "intagg": "", "intarray": "", "ip4r": "", "isn": "isn_weak", "ltree": "",
	"pg_bigm": "", "pg_trgm": "set_limit", "pg_uuidv7": "", "pgcrypto": "", "postgis": "", "postgis_sfcgal": "", "prefix": "", "seg": "",
	"semver": "", "tsm_system_rows": "", "tsm_system_time": "", "unaccent": "", "uuid-ossp": "", "vector": "",
}

// Interval is how long an answer holds, for what is changed unseen.
const Interval = time.Minute

// Functions are those of one database. A name is harmless if all functions of that name, in whatever schema, leave nothing in a
// session. Any number of goroutines may use it; nil knows nothing.
type Functions struct {
	known      atomic.Pointer[answer]
	generation atomic.Uint64 // counts what may have changed them
}

type answer struct {
	harmless   map[string]bool
	generation uint64
	at         time.Time
}

// Harmless reports whether none of the functions that have one of the names leaves anything in a session.
func (f *Functions) Harmless(names []string) bool {
	if f == nil || len(names) == 0 {
		return false
	}
	a := f.known.Load()
	if a == nil || a.generation != f.generation.Load() {
		return false
	}
	for _, name := range names {
		if !a.harmless[name] {
			return false
		}
	}
	return true
}

// Fresh reports whether asking again would tell nothing new.
func (f *Functions) Fresh() bool {
	a := f.known.Load()
	return a != nil && a.generation == f.generation.Load() && time.Since(a.at) < Interval
}

// Changed forgets everything: some function was made or changed.
func (f *Functions) Changed() {
	if f != nil {
		f.generation.Add(1)
	}
}

// Expire forgets what was learned too long ago.
func (f *Functions) Expire() {
	if a := f.known.Load(); a != nil && time.Since(a.at) >= Interval {
		f.known.CompareAndSwap(a, nil)
	}
}

// Generation is to be given to Learn: it is read before the query is sent.
func (f *Functions) Generation() uint64 { return f.generation.Load() }

type function struct {
	OID       int64
	Name      string
	Kind      string
	Language  string
	Extension *string
	Source    *string
	Parts     []struct {
		OID  int64
		Name string
	}
}

// Learn takes in the answer to FunctionsQuery.
func (f *Functions) Learn(text string, generation uint64) error {
	var all []function
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return fmt.Errorf("catalog: the answer to the query for functions: %w", err)
	}
	f.known.Store(&answer{harmless: judge(all), generation: generation, at: time.Now()})
	return nil
}

// judge finds the names that are harmless: all functions are taken to be, until one proves to be none, or to call such a one.
func judge(all []function) map[string]bool {
	by, listed, harmless := make(map[int64]bool), make(map[int64]bool), make(map[string]bool)
	for _, fn := range all {
		by[fn.OID], listed[fn.OID], harmless[fn.Name] = true, true, true
	}
	for changed := true; changed; {
		changed = false
		for i := range all {
			if fn := &all[i]; by[fn.OID] && !fn.leavesNothing(by, listed, harmless) {
				by[fn.OID], harmless[fn.Name], changed = false, false, true
			}
		}
	}
	return harmless
}

func (fn *function) leavesNothing(by, listed map[int64]bool, harmless map[string]bool) bool {
	if fn.Extension == nil {
		return false
	}
	except, ok := trusted[*fn.Extension]
	if !ok || except == fn.Name || fn.Kind == "p" {
		return false
	}
	switch {
	case fn.Kind == "a": // its language is internal whatever it calls
		for _, part := range fn.Parts {
			if listed[part.OID] && !by[part.OID] || !listed[part.OID] && !sqltext.PureFunction(part.Name) {
				return false
			}
		}
		return len(fn.Parts) > 0
	case fn.Language == "c", fn.Language == "internal": // only a superuser can make these
		return true
	case fn.Language == "sql" && fn.Source != nil:
		return readsOnly(*fn.Source, harmless)
	}
	return false
}

// readsOnly reports whether the body of a function in SQL is a query that calls only what is harmless.
func readsOnly(body string, harmless map[string]bool) bool {
	body = strings.TrimSpace(body)
	list, err := sqltext.Split(body, sqltext.Options{})
	if err != nil || len(list) != 1 || sqltext.Classify(body, sqltext.Options{}) != sqltext.Select || sqltext.MentionsState([]byte(body)) != 0 {
		return false
	}
	names, known := sqltext.Calls(body, sqltext.Options{})
	for _, name := range names {
		is, listed := harmless[name]
		if listed && !is || !listed && !sqltext.PureFunction(name) {
			return false
		}
	}
	return known
}
