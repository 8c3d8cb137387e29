package sqltext

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testers are the parts of the module that play a world of their own, or examine the rest of it: their SQL runs on servers that they
// have made.
var testers = []string{
	"rdstest", "examples", "scripts", "internal/demo", "internal/proof", "internal/torture", "internal/twins", "internal/boundaries", "internal/compat",
	"internal/programs", "internal/clients", "internal/printed", "internal/overloads", "internal/sqltext/gen", "cmd/fairlead/local", "cmd/fairlead/live",
}

// mayBeUnqualified are texts that look like SQL and may have what the check refuses, with the reason.
var mayBeUnqualified = map[string]string{
	"call SetMaxOpenConns on the sql.DB":    prose,
	"call SetMaxIdleConns on the sql.DB":    prose,
	"call SetConnMaxLifetime on the sql.DB": prose,
	"call SetConnMaxIdleTime on the sql.DB": prose,
	"set PGPASSWORD or write it to the password file, unless the server asks for none; or set auth=iam or auth=secret":                                      prose,
	"With `close`: how long nothing happens until the function is taken to be done with the database, if Lambda does not say earlier that it has answered.": prose,
}

const prose = "a sentence for the user, which begins like a statement"

// Whoever may create something in a schema of the search path can give an unqualified name, or an operator, a meaning of its own, and
// what runs it is the DSN's user. So whatever the module itself says in SQL names its schemas.
func TestTheModulesOwnSQLIsQualified(t *testing.T) {
	texts := ownTexts(t)
	if len(texts) < 40 {
		t.Fatalf("only %d texts were found", len(texts))
	}
	used := make(map[string]bool)
	for _, text := range texts {
		for _, fault := range unqualified(text.sql) {
			if _, ok := mayBeUnqualified[text.sql]; ok {
				used[text.sql] = true
				continue
			}
			t.Errorf("%s: %s, in\n\t%.300s", text.at, fault, text.sql)
		}
	}
	for sql := range mayBeUnqualified {
		if !used[sql] {
			t.Errorf("this needs no exception any more: %s", sql)
		}
	}
}

func TestTheCheckOfQualificationSees(t *testing.T) {
	for _, sql := range []string{
		`select now()`, `select pg_catalog.now() - pg_catalog.now()`, `select 1 * 2`, `select public.f()`, `select * from pg_roles`,
		`select * from pg_catalog.pg_roles r, pg_authid`, `select x from pg_catalog.pg_roles join pg_authid on true`, `select '1'::uuid`,
		`select cast(1 as text)`, `select regproc 'now'`, `select case 1 when 2 then 3 end`, `select 1 in (2)`, `select 1 not in (2)`,
		`select 1 between 2 and 3`, `select 'a' like 'b'`, `select 'a' ilike 'b'`, `select 'a' similar to 'b'`, `select 1 is distinct from 2`,
		`select nullif(1, 2)`, `select 1 from pg_catalog.a join pg_catalog.b using (x)`, `select 1 from pg_catalog.a natural join pg_catalog.b`,
		`select - x.y from pg_catalog.x`, `select 1 operator(public.=) 2`, `select 'a' collate "C"`, `insert into t values (1)`, `update t set a`,
		`delete from t`, `/* fairlead */ select f(1)`, `set a = 1; select f(1)`, `select 1 = any (array[1])`, `lock table t`, `truncate t`,
		`select 'x'::pg_catalog.name[]::text[]`, `with a as (select f()) select from a`, `create table t (a int)`, `select x from only t`,
		`select (select count(*) from pg_class)`, `select 1 from pg_catalog.a, lateral f(1)`, `call p()`, `select f (1)`, `select "f"(1)`,
		`select row(1) = row(2)`, `select exists (select from t)`,
	} {
		if len(unqualified(sql)) == 0 {
			t.Errorf("nothing is seen in %s", sql)
		}
	}
	for _, sql := range []string{
		`select pg_catalog.now()`, `select pg_catalog.count(*), -1 from pg_catalog.pg_roles r, pg_catalog.pg_authid a where r.oid operator(pg_catalog.=) a.oid`,
		`set local lock_timeout = 0; select pg_catalog.pg_sleep(1)`, `select case when true then 'a' else 'b' end`, `select extract(epoch from pg_catalog.now())::bigint`,
		`select coalesce('1'::pg_catalog.text, null)`, `select 1 operator(pg_catalog.=) any (array['a'::pg_catalog.text])`, `select x is not null order by 1`,
		`with a as (select 1) select * from a`, `select exists (select from pg_catalog.pg_proc p where p.oid is null)`, `BEGIN; DISCARD ALL`,
		`select fairlead.mark($1::pg_catalog.uuid)`, `select (pg_catalog.pg_control_system()).system_identifier`, `select not exists (select)`,
	} {
		if faults := unqualified(sql); len(faults) != 0 {
			t.Errorf("%s: %v", sql, faults)
		}
	}
}

// ownText is a text in the module's code.
type ownText struct{ at, sql string }

// looksLikeSQL is how SQL begins that the module could say, after a comment.
var looksLikeSQL = regexp.MustCompile(`(?is)^\s*(/\*.*?\*/\s*)*(select|with|insert|update|delete|values|call|do|create|alter|drop|grant|revoke|comment on|lock|truncate|declare|copy|execute|merge|table|set|reset|begin|start|commit|rollback|show|listen|notify)\s+\S`)

// speaks are functions whose texts are SQL whatever they look like.
var speaks = []string{"ask", "Query", "QueryRow", "Exec", "ExecParams", "Prepare", "query"}

// ownTexts are all texts that look like SQL, with constants put in, and all that are given to what runs SQL.
func ownTexts(t *testing.T) (list []ownText) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	fset := gotoken.NewFileSet()
	m := module{consts: make(map[string]ast.Expr)}
	var files []*ast.File
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata"):
			return filepath.SkipDir
		case slices.ContainsFunc(testers, func(p string) bool { return strings.HasPrefix(rel, p) }) || strings.HasSuffix(rel, "_test.go"):
			return nil
		case strings.HasSuffix(rel, ".sql"):
			text, err := os.ReadFile(path)
			list = append(list, ownText{rel, string(text)})
			return err
		case !strings.HasSuffix(rel, ".go"):
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err == nil {
			files = append(files, f)
			m.take(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		m.pkg = f.Name.Name
		at := func(n ast.Node) string {
			p := fset.Position(n.Pos())
			rel, _ := filepath.Rel(root, p.Filename)
			return fmt.Sprintf("%s:%d", rel, p.Line)
		}
		list = append(list, m.texts(f, at)...)
	}
	return list
}

// module is what constants of the module are, by package and name.
type module struct {
	pkg    string
	consts map[string]ast.Expr
}

func (m *module) take(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for i, name := range spec.Names {
				if i < len(spec.Values) {
					m.consts[f.Name.Name+"."+name.Name] = spec.Values[i]
				}
			}
		}
		return true
	})
}

func (m *module) texts(f *ast.File, at func(ast.Node) string) (list []ownText) {
	add := func(n ast.Expr, always bool) {
		sql := strings.ReplaceAll(verbs.ReplaceAllString(m.text(n, 0), "$$1"), "$1'", "x'")
		sql = strings.ReplaceAll(sql, "'$1", "'x")
		if _, err := Split(sql, Options{}); err != nil && !always {
			return // a sentence with an apostrophe
		}
		if always || looksLikeSQL.MatchString(sql) || strings.Contains(sql, "pg_catalog.") && !strings.ContainsAny(sql, "\n") {
			list = append(list, ownText{at(n), sql})
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.CallExpr:
			if name := called(n); slices.Contains(speaks, name) {
				for _, arg := range n.Args {
					if m.isText(arg) {
						add(arg, true)
					}
				}
			}
		case *ast.BinaryExpr:
			if n.Op == gotoken.ADD && m.isText(n) {
				add(n, false)
				return false
			}
		case *ast.BasicLit:
			if n.Kind == gotoken.STRING {
				add(n, false)
			}
		case *ast.Field:
			return n.Tag == nil
		}
		return true
	})
	return list
}

func called(n *ast.CallExpr) string {
	if sel, ok := n.Fun.(*ast.SelectorExpr); ok {
		return sel.Sel.Name
	}
	return ""
}

// isText reports whether an expression is a text that is known in part.
func (m *module) isText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == gotoken.STRING
	case *ast.BinaryExpr:
		return e.Op == gotoken.ADD && (m.isText(e.X) || m.isText(e.Y))
	case *ast.Ident, *ast.SelectorExpr:
		def := m.constant(e)
		return def != nil && m.isText(def)
	}
	return false
}

func (m *module) constant(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.Ident:
		return m.consts[m.pkg+"."+e.Name]
	case *ast.SelectorExpr:
		if pkg, ok := e.X.(*ast.Ident); ok {
			return m.consts[pkg.Name+"."+e.Sel.Name]
		}
	}
	return nil
}

// verbs are those of package fmt, which stand for values.
var verbs = regexp.MustCompile(`%[-+# 0]*[0-9]*(\.[0-9]+)?[sdqvxt]`)

// text is what an expression says. What is not known is a value.
func (m *module) text(e ast.Expr, depth int) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == gotoken.STRING {
			return s
		}
	case *ast.BinaryExpr:
		return m.text(e.X, depth) + m.text(e.Y, depth)
	case *ast.ParenExpr:
		return m.text(e.X, depth)
	case *ast.Ident, *ast.SelectorExpr:
		if def := m.constant(e); def != nil && depth < 10 && m.isText(def) {
			return m.text(def, depth+1)
		}
	}
	return "$1"
}
