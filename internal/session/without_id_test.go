package session

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

func TestWhatWasPreparedEarlierCountsInADecision(t *testing.T) {
	prepare := func(t *testing.T, s *Session, sql string) {
		client(t, s, &pgproto3.Parse{Name: "p", Query: sql}, &pgproto3.Sync{})
		server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	}
	execute := func(t *testing.T, s *Session, answer string) {
		client(t, s, &pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{})
		server(t, s, &pgproto3.BindComplete{}, tag(answer), ready('T'))
	}
	t.Run("a transaction that may be read-only", func(t *testing.T) {
		s := marking(t)
		prepare(t, s, "begin read only")
		execute(t, s, "BEGIN")
		client(t, s, query("select f(1)"))
		server(t, s, tag("SELECT 1"), ready('T'))
		client(t, s, query("commit"))
		s.Lost("gone")
		if e, ok := s.Doubt(); !ok || e.NotReadOnly {
			t.Errorf("asks %v for %+v", ok, e)
		}
	})
	t.Run("a notification", func(t *testing.T) {
		s := marking(t)
		s.Decidable(commit.LSN, [16]byte{})
		prepare(t, s, "select pg_notify($1, '')")
		client(t, s, query("begin"))
		server(t, s, tag("BEGIN"), ready('T'))
		execute(t, s, "SELECT 1")
		client(t, s, query("commit"))
		server(t, s, &pgproto3.CloseComplete{}, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, row("none 0/3000B38 000000010000000000000003 77 10.20"),
			tag("SELECT 1"), &pgproto3.CloseComplete{}, ready('T'))
		s.Lost("gone")
		s.Settle()
		expectWords(t, "the commit", words(t, s.TakeOut()), "ERROR 08007 ZI")
	})
}

func TestACommitWithoutATransactionIDIsAnsweredIfItHadNothingToKeep(t *testing.T) {
	type step struct{ sql, tag string }
	for _, c := range []struct {
		name  string
		id    string
		steps []step
		want  commit.Outcome
	}{
		{"an update of no row", "none", []step{{"update t set a = 1 where false", "UPDATE 0"}}, commit.Committed},
		{"a lock of no row", "none", []step{{"select * from t where false for update", "SELECT 0"}}, commit.Committed},
		{"a sequence's value", "none", []step{{"select nextval('s')", "SELECT 1"}}, commit.Committed},
		{"a cursor", "none", []step{{"declare c cursor for select nextval('s')", "DECLARE CURSOR"}, {"fetch c", "FETCH 1"}}, commit.Committed},
		{"on a replica", "", []step{{"select f(1)", "SELECT 1"}}, commit.Committed},

		{"a notification", "none", []step{{"notify a", "NOTIFY"}}, commit.Unknown},
		{"a notification by a function", "none", []step{{"select pg_notify('a', '')", "SELECT 1"}}, commit.Unknown},
		{"a function of the user's own", "none", []step{{"select f(1)", "SELECT 1"}}, commit.Unknown},
		{"such a function in a cursor", "none", []step{{"declare c cursor for select f(1)", "DECLARE CURSOR"}, {"fetch c", "FETCH 1"}}, commit.Unknown},
		{"a block of code", "none", []step{{"do $$begin perform f(1); end$$", "DO"}}, commit.Unknown},
		{"a row of a foreign table", "none", []step{{"update remote set a = 1", "UPDATE 10"}}, commit.Unknown},
		{"such a row and then none", "none", []step{{"insert into remote values (1)", "INSERT 0 1"}, {"delete from t where false", "DELETE 0"}}, commit.Unknown},
		{"such a row in a WITH", "none", []step{{"with x as (delete from remote returning 1) select from x", "SELECT 1"}}, commit.Unknown},
		{"such a row in a WITH behind a word", "none", []step{{"insert into t with x as (select 1) select 1 from x where false", "INSERT 0 0"}}, commit.Unknown},
		{"what is explained is run", "none", []step{{"explain analyze update remote set a = 1", "EXPLAIN"}}, commit.Unknown},
		{"a cursor that outlives it", "none", []step{{"declare c cursor with hold for select nextval('s')", "DECLARE CURSOR"}}, commit.Unknown},

		{"a serializable transaction", "none,serializable", []step{{"update t set a = 1 where false", "UPDATE 0"}}, commit.Aborted},
		{"a serializable notification", "none,serializable", []step{{"notify a", "NOTIFY"}}, commit.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := marking(t)
			s.Decidable(commit.LSN, [16]byte{})
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			for _, st := range c.steps {
				client(t, s, query(st.sql))
				server(t, s, tag(st.tag), ready('T'))
			}
			client(t, s, query("commit"))
			answer := c.id + " 0/3000B38 000000010000000000000003 77 10.20"
			if c.id == "" {
				answer = "recovery"
			}
			server(t, s, &pgproto3.CloseComplete{}, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, row(answer), tag("SELECT 1"), &pgproto3.CloseComplete{}, ready('T'))
			v, _ := s.Lost("gone")
			if e, ok := s.Doubt(); v != Resolve || ok {
				t.Fatalf("verdict %v, and asks for %+v", v, e)
			}
			v, _ = s.Settle()
			got := words(t, s.TakeOut())
			switch {
			case c.want == commit.Committed && (v != Answered || got != "COMMIT ZI"),
				c.want == commit.Unknown && (v != Answered || got != "ERROR 08007 ZI"),
				c.want == commit.Aborted && (v != Replay || got != ""):
				t.Errorf("verdict %v, the client got %q; it was %s", v, got, c.want)
			}
		})
	}
}
