package session

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

// next is what the session answers to its client's next statement by itself; "" when it needs a server for that.
func next(t testing.TB, s *Session) string {
	t.Helper()
	if !s.Answering() {
		return ""
	}
	client(t, s, query("select 1"))
	return string(s.TakeOut())
}

func TestAFunctionOfTheUsersMayHaveSetTheSession(t *testing.T) {
	for _, c := range []struct {
		name  string
		trust bool
		run   func(t *testing.T, s *Session)
		want  string // in what the next statement gets after the loss
	}{
		{"called outside a transaction", false, func(t *testing.T, s *Session) {
			client(t, s, query("select app.login('x')"))
			server(t, s, tag("SELECT 1"), ready('I'))
		}, "session_state=strict"},
		{"called by a prepared statement", false, func(t *testing.T, s *Session) {
			client(t, s, extended("select app.login($1)")...)
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("login"), tag("SELECT 1"), ready('I'))
		}, "session_state=strict"},
		{"called by the fast path", false, func(t *testing.T, s *Session) {
			client(t, s, &pgproto3.FunctionCall{Function: 4711})
			server(t, s, &pgproto3.FunctionCallResponse{}, ready('I'))
		}, "session_state=strict"},
		{"trusted", true, func(t *testing.T, s *Session) {
			client(t, s, query("select app.login('x')"))
			server(t, s, tag("SELECT 1"), ready('I'))
		}, ""},
		{"called in a transaction", false, func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("select app.login('x')"))
			server(t, s, tag("SELECT 1"), ready('T'))
			client(t, s, query("commit"))
			server(t, s, tag("COMMIT"), ready('I'))
		}, ""},
		{"forgotten with DISCARD ALL", false, func(t *testing.T, s *Session) {
			client(t, s, query("select app.login('x')"))
			server(t, s, tag("SELECT 1"), ready('I'))
			client(t, s, query("discard all"))
			server(t, s, tag("DISCARD ALL"), ready('I'))
		}, ""},
		{"read back", false, func(t *testing.T, s *Session) {
			client(t, s, query("select app.login('x')"))
			server(t, s, tag("SELECT 1"), ready('I'))
			if !s.Opaque() {
				t.Fatal("nothing to read back")
			}
			s.ReadBack(map[string]string{"app.tenant": "it's"})
			if s.Opaque() {
				t.Error("to be read back twice")
			}
			expectWords(t, "restored", s.Restore(), "SELECT pg_catalog.set_config('app.tenant', 'it''s', false);\n")
		}, ""},
		{"a function of the server's own", false, func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (lower('X'), nextval('s'))"))
			server(t, s, tag("INSERT 0 1"), ready('I'))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := idle(t)
			s.TrustFunctions = c.trust
			c.run(t, s)
			s.Lost("gone")
			got := next(t, s)
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || got != "" && !strings.Contains(got, CodeStateLost) {
				t.Errorf("the next statement gets %q, want %q", got, c.want)
			}
			if again := next(t, s); again != "" {
				t.Errorf("and the one after it %q", again)
			}
		})
	}
}

func TestStateThatWentDownWithADecidedCommitIsToldToTheNextStatement(t *testing.T) {
	s := marking(t)
	client(t, s, query("create temp table x ()"))
	server(t, s, tag("CREATE TABLE"), ready('I'))
	inTransaction(t, s)
	client(t, s, query("commit"))
	server(t, s, append(marked(), ready('T'))...)
	if v, _ := s.Lost("gone"); v != Resolve {
		t.Fatal("not to be decided: ", v)
	}
	s.Doubt()
	s.Decided(commit.Committed)
	if v, _ := s.Settle(); v != Answered {
		t.Fatal(v)
	}
	expectWords(t, "the commit", words(t, s.TakeOut()), "COMMIT ZI")
	if got := next(t, s); !strings.Contains(got, CodeStateLost) || !strings.Contains(got, "temporary tables") {
		t.Errorf("the next statement gets %q", got)
	}
	if again := next(t, s); again != "" {
		t.Errorf("and the one after it %q", again)
	}
}

func TestTheObstacleToCarryingOnIsNamed(t *testing.T) {
	for want, run := range map[string]func(t *testing.T, s *Session){
		"": func(t *testing.T, s *Session) { inTransaction(t, s) },
		"temporary_table": func(t *testing.T, s *Session) {
			client(t, s, query("create temp table x ()"))
			server(t, s, tag("CREATE TABLE"), ready('I'))
		},
		"functions": func(t *testing.T, s *Session) {
			client(t, s, query("select app.login('x')"))
			server(t, s, tag("SELECT 1"), ready('I'))
		},
		"copy": func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("copy t from stdin"))
			server(t, s, &pgproto3.CopyInResponse{}, &pgproto3.ErrorResponse{Code: "22P02"}, ready('E'))
		},
		"journal_limit": func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("select '"+strings.Repeat("x", DefaultJournalLimit)+"'"))
		},
		"statement":   func(t *testing.T, s *Session) { client(t, s, query("vacuum t")) },
		"no_evidence": func(t *testing.T, s *Session) { client(t, s, query("insert into t values (1)")) },
		"without_replay": func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			inTransaction(t, s)
		},
	} {
		s := idle(t)
		run(t, s)
		if s.Lost("gone"); s.Obstacle() != want {
			t.Errorf("the obstacle is %q, want %q", s.Obstacle(), want)
		}
	}
}

func TestAPreparedStatementLeavesItsStateEachTimeItIsRun(t *testing.T) {
	const lock, login = "select pg_advisory_lock($1)", "select app.login($1)"
	protocol := func(sql string) (prepare, execute func(t *testing.T, s *Session)) {
		return func(t *testing.T, s *Session) {
				client(t, s, &pgproto3.Parse{Name: "p", Query: sql}, &pgproto3.Sync{})
				server(t, s, &pgproto3.ParseComplete{}, ready(s.Status()))
			}, func(t *testing.T, s *Session) {
				client(t, s, &pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{})
				server(t, s, &pgproto3.BindComplete{}, tag("SELECT 1"), ready(s.Status()))
			}
	}
	bySQL := func(sql string) (prepare, execute func(t *testing.T, s *Session)) {
		return func(t *testing.T, s *Session) { run(t, s, "prepare p as "+sql, "PREPARE") },
			func(t *testing.T, s *Session) {
				client(t, s, query("execute p"))
				server(t, s, tag("SELECT 1"), ready(s.Status()))
			}
	}
	for name, c := range map[string]struct {
		sql string
		by  func(sql string) (prepare, execute func(t *testing.T, s *Session))
	}{
		"a lock, by the protocol":             {lock, protocol},
		"a lock, by SQL":                      {lock, bySQL},
		"a function of the user's own":        {login, protocol},
		"a function of the user's own by SQL": {login, bySQL},
		"such a function by SQL and the protocol": {login, func(sql string) (prepare, execute func(t *testing.T, s *Session)) {
			prepare, _ = bySQL(sql)
			_, execute = protocol(sql)
			return prepare, execute
		}},
		"a setting in a statement, by SQL": {"select set_config('a.b', 'x', false), 1", bySQL},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t)
			prepare, execute := c.by(c.sql)
			prepare(t, s)
			for range 2 { // what was lost once and told is forgotten
				execute(t, s)
				s.Lost("gone")
				if got := next(t, s); !strings.Contains(got, CodeStateLost) {
					t.Errorf("the statement behind the loss gets %q", got)
				}
				if again := next(t, s); again != "" {
					t.Errorf("and the one after it %q", again)
				}
			}
		})
	}
	for name, by := range map[string]func(sql string) (prepare, execute func(t *testing.T, s *Session)){"by the protocol": protocol, "by SQL": bySQL} {
		t.Run("what reaches outside is not done twice, "+name, func(t *testing.T) {
			s := idle(t)
			prepare, execute := by("select dblink_exec('server', 'insert into t values (1)')")
			prepare(t, s)
			s.Lost("gone")
			next(t, s)
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			execute(t, s)
			if v, _ := s.Lost("gone"); v != Answered {
				t.Errorf("verdict %v", v)
			}
		})
	}
}

func TestATemporaryTableIsMissedHoweverItWasMade(t *testing.T) {
	for sql, held := range map[string]bool{
		"create temp table a (b int)":                    true,
		"create temp table a as select 1":                true,
		"select 1 as b into temp a":                      true,
		"with b as (select 1) select * into temp a":      true,
		"create temp table a on commit drop as select 1": false,
		"select * into a from b where temp":              false,
	} {
		tagged := "SELECT 1"
		if sql == "create temp table a (b int)" {
			tagged = "CREATE TABLE"
		}
		for name, run := range map[string]func(t *testing.T, s *Session){
			"simple": func(t *testing.T, s *Session) { run(t, s, sql, tagged) },
			"extended": func(t *testing.T, s *Session) {
				client(t, s, extended(sql)...)
				server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag(tagged), ready('I'))
			},
			"prepared": func(t *testing.T, s *Session) {
				client(t, s, &pgproto3.Parse{Name: "p", Query: sql}, &pgproto3.Sync{})
				server(t, s, &pgproto3.ParseComplete{}, ready('I'))
				client(t, s, &pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{})
				server(t, s, &pgproto3.BindComplete{}, tag(tagged), ready('I'))
			},
		} {
			s := idle(t)
			run(t, s)
			s.Lost("gone")
			if got := next(t, s); strings.Contains(got, "temporary tables") != held {
				t.Errorf("%s, %s: the statement behind the loss gets %q", sql, name, got)
			}
		}
	}
}

func TestATemporaryTableIsMissedWhenTheJournalIsFull(t *testing.T) {
	for sql, held := range map[string]bool{
		"create temp table a (b int)":                    true,
		"create temp table a as select 1":                true,
		"create temp table a on commit drop as select 1": false,
		"create table a (b int)":                         false,
		"select temp from a":                             false,
		"create temp table a on commit drop as select 1; create temp table b as select 1": true,
	} {
		for name, msgs := range map[string][]pgproto3.FrontendMessage{
			"simple":   {query(sql)},
			"extended": extended(sql),
			"prepared": {&pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		} {
			if name != "simple" && strings.Contains(sql, ";") {
				continue
			}
			s := New(Full, 20)
			s.Adopt(map[string]string{"standard_conforming_strings": "on"})
			if name == "prepared" {
				client(t, s, &pgproto3.Parse{Name: "p", Query: sql}, &pgproto3.Sync{})
				server(t, s, &pgproto3.ParseComplete{}, ready('I'))
			}
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			client(t, s, query("insert into t values ('"+strings.Repeat("x", 200)+"')"))
			server(t, s, tag("INSERT 0 1"), ready('T'))
			client(t, s, msgs...)
			for _, m := range msgs {
				switch m.(type) {
				case *pgproto3.Parse:
					server(t, s, &pgproto3.ParseComplete{})
				case *pgproto3.Bind:
					server(t, s, &pgproto3.BindComplete{})
				case *pgproto3.Describe:
					server(t, s, &pgproto3.NoData{})
				case *pgproto3.Query, *pgproto3.Execute:
					text := "SELECT 1"
					if strings.Contains(sql, "(b int)") {
						text = "CREATE TABLE"
					}
					for range strings.Count(sql, ";") + 1 {
						server(t, s, tag(text))
					}
				}
			}
			server(t, s, ready('T'))
			client(t, s, query("commit"))
			server(t, s, tag("COMMIT"), ready('I'))
			s.Lost("gone")
			if got := next(t, s); strings.Contains(got, "temporary tables") != held || strings.Contains(got, "set_config") {
				t.Errorf("%s, %s: the statement behind the loss gets %q", sql, name, got)
			}
		}
	}
}

func TestTheRestOfALargeStatementIsLookedAt(t *testing.T) {
	const want = "session-level advisory locks"
	filler := "/* " + strings.Repeat("x", wholeText+200) + " */"
	for name, msg := range map[string]pgproto3.FrontendMessage{
		"a query":              query("select 1; " + filler + "; select pg_advisory_lock(1)"),
		"a statement":          &pgproto3.Parse{Name: "p", Query: "select 1, " + filler + " pg_advisory_lock(1)"},
		"an unnamed statement": &pgproto3.Parse{Query: "select 1, " + filler + " pg_advisory_lock(1)"},
	} {
		b := fe(t, msg)
		for _, at := range []int{len(b) - 10, len(b) - 22, len(b) - 30, len(b) - 60} {
			s := idle(t)
			for _, piece := range [][]byte{b[:wholeText+10], b[wholeText+10 : at], b[at : at+5], b[at+5:]} {
				s.Client(piece)
				s.Sent()
			}
			if !strings.Contains(s.held(), want) {
				t.Errorf("%s, in pieces around %d bytes before its end: the session holds %q", name, len(b)-at, s.held())
			}
		}
	}
}

func TestAnEmptyStringIsAnsweredOnce(t *testing.T) {
	for _, c := range []struct {
		name, sql, want string
	}{
		{"between transactions", "", ""},
		{"in a transaction that can be replayed", "insert into t values (1)", ""},
		{"in one that cannot", "select pg_advisory_lock(1)", "ZT"},
	} {
		s := marking(t)
		status := byte('I')
		if c.sql != "" {
			status = 'T'
			run(t, s, c.sql, "SELECT 1")
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready(status))
			client(t, s, query("insert into t values (1)"))
			server(t, s, tag("INSERT 0 1"), ready(status))
		}
		client(t, s, query(""))
		if got, _ := server(t, s, &pgproto3.EmptyQueryResponse{}); got != "I" {
			t.Fatalf("%s: the client got %q", c.name, got)
		}
		v, _ := s.Lost("gone")
		got := words(t, s.TakeOut())
		if got != c.want || (v == Replay) != (c.want == "") {
			t.Errorf("%s: verdict %v, and the client got %q, want %q", c.name, v, got, c.want)
		}
	}
}

func TestAStringThatIsNotKnownIsNotAllAnswered(t *testing.T) {
	s := New(Full, 20)
	s.Adopt(map[string]string{"standard_conforming_strings": "on"})
	client(t, s, query("insert into t values (1); insert into t values (2)"))
	server(t, s, tag("INSERT 0 1"))
	s.Lost("gone")
	expectWords(t, "the loss", words(t, s.TakeOut()), "ERROR 08007 ZI")
}

func TestStateThatWentDownWithATransactionIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		fails bool
		then  []pgproto3.FrontendMessage
		want  string // before the statement that is told
	}{
		"rolled back at once":              {false, []pgproto3.FrontendMessage{query("rollback")}, "ROLLBACK ZI"},
		"failed, then rolled back":         {true, []pgproto3.FrontendMessage{query("rollback")}, "ZE ROLLBACK ZI"},
		"failed, rolled back by extended":  {true, extended("rollback"), "ZE 1 2 n ROLLBACK ZI"},
		"failed, refused, and rolled back": {true, []pgproto3.FrontendMessage{query("select 1"), query("rollback")}, "ZE ERROR 25P02 ZE ROLLBACK ZI"},
	} {
		t.Run(name, func(t *testing.T) {
			s := marking(t)
			run(t, s, "select pg_advisory_lock(1)", "SELECT 1")
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			if c.fails {
				client(t, s, query("select 1/0"))
				server(t, s, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "22012"})
			}
			s.Lost("gone")
			client(t, s, c.then...)
			expectWords(t, "the end", words(t, s.TakeOut()), c.want)
			if got := next(t, s); !strings.Contains(got, CodeStateLost) || !strings.Contains(got, "advisory") {
				t.Errorf("the next statement gets %q", got)
			}
			if again := next(t, s); again != "" {
				t.Errorf("and the one after it %q", again)
			}
		})
	}
	t.Run("once", func(t *testing.T) {
		s := marking(t)
		run(t, s, "select pg_advisory_lock(1)", "SELECT 1")
		client(t, s, query("begin"))
		server(t, s, tag("BEGIN"), ready('T'))
		s.Lost("gone")
		client(t, s, query("select 1"))
		if got := string(s.TakeOut()); !strings.Contains(got, CodeSerialization) || !strings.Contains(got, "advisory") {
			t.Errorf("the transaction gets %q", got)
		}
		client(t, s, query("rollback"))
		s.TakeOut()
		if again := next(t, s); again != "" {
			t.Errorf("the one behind the transaction gets %q", again)
		}
	})
	t.Run("by a statement", func(t *testing.T) {
		s := marking(t)
		run(t, s, "select pg_advisory_lock(1)", "SELECT 1")
		s.Lost("gone")
		client(t, s, query(""), &pgproto3.Sync{})
		expectWords(t, "what is no statement", words(t, s.TakeOut()), "I ZI ZI")
		if got := next(t, s); !strings.Contains(got, CodeStateLost) {
			t.Errorf("the first statement gets %q", got)
		}
	})
}
