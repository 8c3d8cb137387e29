package oracletest

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fairlead-go/fairlead/internal/sqltext"
)

// corpus are the statements of testdata/corpus.sql, one a line.
func corpus(t testing.TB) (list []string) {
	f, err := os.Open("testdata/corpus.sql")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		list = append(list, lines.Text())
	}
	if len(list) < 200 {
		t.Fatalf("only %d statements", len(list))
	}
	return list
}

func TestPureStatementsArePureToTheServersParser(t *testing.T) {
	pure := 0
	for _, sql := range corpus(t) {
		if ok, _ := sqltext.Pure(sql, sqltext.Options{}); ok {
			pure++
			if fault := judge(sql); fault != "" {
				t.Errorf("%s\n\t%s", sql, fault)
			}
		}
	}
	if pure < 60 {
		t.Errorf("only %d statements were judged", pure)
	}
}

func TestTheJudgeSeesWhatIsImpure(t *testing.T) {
	for _, sql := range []string{
		"select nextval('s')", "select f()", "select app.lower('x')", "select 1 from t for update", "select 1 into t", "with x as (delete from t returning 1) select 1",
		"select 'a'::my_type", "select my_type 'a'", "select 1 operator(public.+) 2", "select 1 <<<< 2", "select 1 from t tablesample m(1)", "delete from t", "select 1; select 2",
		"explain analyze select f()", "select * from f(1)", "select (x).nextval from t", "select 1 order by 1 using @#@",
	} {
		if judge(sql) == "" {
			t.Errorf("no fault: %s", sql)
		}
	}
}

// Statements made of pieces of others: most are nonsense, and those that are called pure must be it.
func TestSplicedStatements(t *testing.T) {
	list := corpus(t)
	rng := rand.New(rand.NewPCG(1, 2))
	pure := 0
	for range 300_000 {
		a, b := cut(rng, list), cut(rng, list)
		sql := a[:rng.IntN(len(a)+1)].String() + " " + b[rng.IntN(len(b)+1):].String()
		if n := rng.IntN(len(a) + 1); rng.IntN(2) == 0 {
			m := min(n+rng.IntN(3), len(a)) // another piece in place of a few tokens
			from := rng.IntN(len(b) + 1)
			to := min(from+rng.IntN(4), len(b))
			sql = a[:n].String() + " " + b[from:to].String() + " " + a[m:].String()
		}
		if ok, _ := sqltext.Pure(sql, sqltext.Options{}); ok {
			pure++
			if fault := judge(sql); fault != "" && fault != refused {
				t.Errorf("%s\n\t%s", sql, fault)
			}
		}
	}
	t.Logf("%d were called pure", pure)
	if pure < 5000 {
		t.Error("too few to tell")
	}
}

type pieces []string

func (p pieces) String() string { return strings.Join(p, " ") }

func cut(rng *rand.Rand, list []string) pieces {
	for {
		sql := list[rng.IntN(len(list))]
		scan, err := pgquery.Scan(sql)
		if err != nil || len(scan.Tokens) == 0 {
			continue
		}
		var p pieces
		for _, tok := range scan.Tokens {
			p = append(p, sql[tok.Start:tok.End])
		}
		return p
	}
}

func TestSplitAgreesWithTheServersParser(t *testing.T) {
	for _, sql := range corpus(t) {
		compareSplit(t, sql)
	}
	list := corpus(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		var several []string
		for range 1 + rng.IntN(4) {
			several = append(several, list[rng.IntN(len(list))])
		}
		compareSplit(t, strings.Join(several, "; "))
	}
}

func compareSplit(t *testing.T, sql string) {
	t.Helper()
	want, err := pgquery.SplitWithParser(sql, true)
	if err != nil {
		return // the server runs nothing of it
	}
	got, err := sqltext.Split(sql, sqltext.Options{})
	if err != nil || len(got) != len(want) {
		t.Errorf("%s\n\tis %d statements, %v; the server sees %d", sql, len(got), err, len(want))
		return
	}
	for i := range got {
		if !strings.Contains(want[i], got[i].Text) {
			t.Errorf("%s\n\tstatement %d is %q; the server sees %q", sql, i, got[i].Text, want[i])
		}
	}
}

// refused is the fault of a statement that the server would not parse: then nothing runs.
const refused = "the server refuses it"

// judge says what is wrong with a statement that was called pure.
func judge(sql string) string {
	tree, err := pgquery.Parse(sql)
	if err != nil {
		return refused
	}
	if len(tree.Stmts) != 1 {
		return fmt.Sprintf("%d statements", len(tree.Stmts))
	}
	var fault string
	walk(tree.Stmts[0].ProtoReflect(), func(m proto.Message) {
		if f := faultOf(m); f != "" && fault == "" {
			fault = f
		}
	})
	return fault
}

func walk(m protoreflect.Message, f func(proto.Message)) {
	f(m.Interface())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() == nil {
			return true
		}
		if fd.IsList() {
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), f)
			}
		} else {
			walk(v.Message(), f)
		}
		return true
	})
}

func faultOf(m proto.Message) string {
	switch n := m.(type) {
	case *pgquery.SelectStmt:
		if n.IntoClause != nil || len(n.LockingClause) > 0 {
			return "INTO or FOR UPDATE"
		}
	case *pgquery.FuncCall:
		name := last(n.Funcname)
		if len(n.Funcname) > 1 && (len(n.Funcname) > 2 || text(n.Funcname[0]) != "pg_catalog") {
			return "a function of another schema"
		}
		if n.Funcformat != pgquery.CoercionForm_COERCE_SQL_SYNTAX && !holds("select "+quote(name)+"()") {
			return "calls " + name
		}
	case *pgquery.TypeName:
		name := last(n.Names)
		if len(n.Names) > 1 && text(n.Names[0]) != "pg_catalog" || n.PctType || n.Setof || !holds("select null::"+quote(name)) {
			return "the type " + name
		}
	case *pgquery.A_Expr:
		if len(n.Name) > 1 {
			return "OPERATOR()"
		}
		op := last(n.Name)
		switch n.Kind {
		case pgquery.A_Expr_Kind_AEXPR_OP, pgquery.A_Expr_Kind_AEXPR_OP_ANY, pgquery.A_Expr_Kind_AEXPR_OP_ALL:
			if !holds("select 1 "+op+" 2") && op != "~~" && op != "!~~" {
				return "the operator " + op
			}
		}
	case *pgquery.SortBy:
		if len(n.UseOp) > 0 && !holds("select 1 "+last(n.UseOp)+" 2") {
			return "sorts by an operator"
		}
	case *pgquery.A_Indirection:
		for _, i := range n.Indirection {
			if i.GetString_() != nil {
				return "a field of an expression"
			}
		}
	case *pgquery.RangeTableSample:
		if name := last(n.Method); len(n.Method) > 1 || name != "system" && name != "bernoulli" {
			return "samples by " + name
		}
	case *pgquery.RawStmt, *pgquery.Node, *pgquery.VariableShowStmt, *pgquery.ExplainStmt:
	default:
		if name := string(m.ProtoReflect().Descriptor().Name()); strings.HasSuffix(name, "Stmt") {
			return "a " + name
		}
	}
	return ""
}

var known = map[string]bool{}

// holds asks sqltext for what it knows: a call, a cast or an operator alone.
func holds(sql string) bool {
	if _, ok := known[sql]; !ok {
		known[sql], _ = sqltext.Pure(sql, sqltext.Options{})
	}
	return known[sql]
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func text(n *pgquery.Node) string { return n.GetString_().GetSval() }

func last(names []*pgquery.Node) string { return text(names[len(names)-1]) }
