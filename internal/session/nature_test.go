package session

import (
	"reflect"
	"testing"

	"github.com/fairlead-go/fairlead/internal/sqltext"
)

func TestNumbersByThemselvesAreLeftOutOfTheShape(t *testing.T) {
	for text, want := range map[string]string{
		"select a from t where b = 12345;":         "select a from t where b = 0;",
		"select f1(7), f2( 8),-9+10/11 limit 5":    "select f1(0), f2( 0),-0+0/0 limit 0",
		"select $1, a1, 1.5, 1e5, 0x1f, 12x, '13'": "select $1, a1, 1.5, 1e5, 0x1f, 12x, '13'",
		"1 select": "1 select",
		"select \"f 1\"() , numeric(10,2) '1' '12'": "select \"f 1\"() , numeric(0,0) '1' '12'",
	} {
		if got := string(shape(make([]byte, 0, maxShape), []byte(text))); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	long := make([]byte, maxShape+1)
	if got := shape(make([]byte, 0, maxShape), long); len(got) != len(long) {
		t.Error("a long text was cut")
	}
}

// Texts of one shape have one nature: it is the shape's own.
func FuzzShape(f *testing.F) {
	for _, text := range []string{
		"select 1", "select abalance from pgbench_accounts where aid = 4711;", "insert into t values (1, 'x 2')", "select f(1), \"g 2\"(3)",
		"begin; select 1", "select 1; select 2", "select $1 + 1", "select now() - interval '1 day' + 2 * 3", "-- 1\nselect 2 /* 3 */", "select 0x1f, 1_000, 0b1 , 1.5",
		"set a.b = 1", "fetch 10 from c", "select $$ 1 $$, E'\\' 1', U&\"d\\0061 1\"", "select 1 for update", "select 1::varchar(10), bit( 3) '101'",
	} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, nonStandard bool) {
		o := sqltext.Options{NonStandardStrings: nonStandard}
		other := string(shape(make([]byte, 0, maxShape), []byte(text)))
		if a, b := natureOf(text, o), natureOf(other, o); !reflect.DeepEqual(a, b) {
			t.Errorf("%q: %+v, %q: %+v", text, a, other, b)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	s := New(Full, 0)
	texts := make([][]byte, 1000)
	for i := range texts {
		texts[i] = []byte("SELECT abalance FROM pgbench_accounts WHERE aid = " + string(rune('1'+i%9)) + string(rune('0'+i/10%10)) + string(rune('0'+i/100)) + ";")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.judge(texts[i%len(texts)])
	}
}
