package session

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

// replaying returns a session whose client was given what gave has the server say, and that is being replayed.
func replaying(t *testing.T, s *Session, gave func(s *Session)) {
	t.Helper()
	gave(s)
	if v := lost(t, s, commit.Aborted); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.TakeOut()
	s.Decidable(commit.Marker, [16]byte{15: 1})
	if _, ok := s.BeginReplay(); !ok {
		t.Fatal("the replay sends nothing")
	}
}

// A replay that differs is over when its server has said all that it will, whatever that is.
func TestAReplayThatDiffersIsOver(t *testing.T) {
	insert := func(s *Session) {
		inTransaction(t, s)
		client(t, s, query("insert into t values (1) returning id"))
		server(t, s, columns("id"), row("1"), tag("INSERT 0 1"), ready('T'))
	}
	savepoint := func(s *Session) {
		inTransaction(t, s)
		client(t, s, query("savepoint s"))
		server(t, s, tag("SAVEPOINT"), ready('T'))
		client(t, s, query("select x"))
		server(t, s, serverError("42703"), ready('E'))
	}
	flushed := func(s *Session) {
		client(t, s, append(batch("insert into t values (1) returning id"), &pgproto3.Flush{})...)
		server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("id"), row("1"), row("2"), tag("INSERT 0 2"))
	}
	wrapped := func(s *Session) {
		client(t, s, query("insert into t select 1 from u returning id"))
		server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("id"), row("1"), row("2"), row("3"), row("4"))
	}
	begun := []pgproto3.BackendMessage{tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T')}
	for _, c := range []struct {
		what    string
		session func(t testing.TB) *Session
		gave    func(s *Session)
		answer  []pgproto3.BackendMessage
	}{
		{"an error", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{serverError("23503"), ready('E')})},
		{"no row", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{columns("id"), tag("INSERT 0 0"), ready('T')})},
		{"another row", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{columns("id"), row("2"), tag("INSERT 0 1"), ready('T')})},
		{"more rows", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{columns("id"), row("1"), row("1"), tag("INSERT 0 2"), ready('T')})},
		{"a COPY", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{&pgproto3.CopyInResponse{}})},
		{"COPY data", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{&pgproto3.CopyOutResponse{}})},
		{"the end of its transaction", idle, insert, slices.Concat(begun, []pgproto3.BackendMessage{tag("ROLLBACK"), ready('I')})},
		{"no error", idle, savepoint, slices.Concat(begun, []pgproto3.BackendMessage{tag("SAVEPOINT"), ready('T'), tag("X"), ready('T')})},
		{"a shorter error", idle, savepoint, slices.Concat(begun, []pgproto3.BackendMessage{tag("SAVEPOINT"), ready('T'), serverError(""), ready('E')})},
		{"an error before the savepoint", idle, savepoint, slices.Concat(begun[:2], []pgproto3.BackendMessage{
			serverError("1"), ready('E'), serverError("2"), ready('E'), serverError("3"), ready('E')})},
		{"an error in a segment without its end", idle, flushed, []pgproto3.BackendMessage{serverError("23505")}},
		{"a suspended portal", idle, flushed, []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("id"), &pgproto3.PortalSuspended{}}},
		{"an error before a commit that waits", marking, wrapped, []pgproto3.BackendMessage{serverError("23505")}},
		{"fewer rows before a commit that waits", marking, wrapped, []pgproto3.BackendMessage{
			&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("id"), row("1"), tag("INSERT 0 1"),
		}},
		{"nothing before a commit that waits", marking, wrapped, []pgproto3.BackendMessage{
			&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"), &pgproto3.CloseComplete{},
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := c.session(t)
			replaying(t, s, c.gave)
			got, event := server(t, s, c.answer...)
			if got != "" || event != Diverged {
				t.Errorf("the client got %q, event %d; want nothing, and that it has diverged", got, event)
			}
		})
	}
}

func TestWhatWaitsForAReplayIsSentThoughAnErrorComesWithTheLastOfIt(t *testing.T) {
	s := idle(t)
	client(t, s, query("select 1"), query("select 2"), query("insert into t values (1); begin; insert into t values (2)"))
	server(t, s, columns("a"))
	if v := lost(t, s, commit.Aborted); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.BeginReplay()
	// The rest of what was sent is refused as read-only in the same packet: whether that is true is found out first.
	b := be(t, columns("a"), row("1"), tag("SELECT 1"), ready('I'), serverError(readOnlyTransaction))
	v := s.Server(b)
	if v.Event != ReadOnly {
		t.Fatalf("event %d", v.Event)
	}
	s.AcceptReadOnly()
	if v = s.Server(b[v.Keep:]); v.Event != Proceed {
		t.Errorf("event %d, want that what waits is sent", v.Event)
	}
}

func TestAReplayAsksForTheAnswersOfASegmentWithoutItsEnd(t *testing.T) {
	// The mount has asked for them before, to prepare a statement.
	s := idle(t)
	client(t, s, batch("select 1")...)
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("a"), row("1"), tag("SELECT 1"))
	if v := lost(t, s, commit.Aborted); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	if b, _ := s.BeginReplay(); kinds(b) != "PBDEH" {
		t.Errorf("sent %q, want a Flush behind it", kinds(b))
	}
	if !s.Due() {
		t.Error("nothing is due")
	}
}

func TestALossThatTheClientKnowsOfIsNotForgottenAtASavepoint(t *testing.T) {
	failedTransaction := func(t *testing.T) *Session {
		s := New(Read, 0)
		s.Adopt(map[string]string{"standard_conforming_strings": "on"})
		inTransaction(t, s)
		client(t, s, query("savepoint s"))
		server(t, s, tag("SAVEPOINT"), ready('T'))
		client(t, s, query("insert into t values (1)"))
		server(t, s, serverError("23505"), ready('E'))
		s.Lost("gone")
		s.TakeOut()
		return s
	}
	for _, c := range []struct {
		what string
		sql  []string
		want string
	}{
		{"simple", []string{"select 1", "rollback to s", "select 1", "rollback to s", "commit"},
			"ERROR 25P02 ZE ERROR 40001 ZE ERROR 40001 ZE ERROR 40001 ZE ERROR 40001 ZI"},
		{"its own error alone", []string{"select 1", "commit"}, "ERROR 25P02 ZE ROLLBACK ZI"},
		{"given up", []string{"rollback to s", "rollback"}, "ERROR 40001 ZE ROLLBACK ZI"},
		{"a chain", []string{"rollback to s", "commit and chain"}, "ERROR 40001 ZE ERROR 40001 ZI"},
		{"a string", []string{"rollback; select 1"}, "ROLLBACK ERROR 40001 ZI"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := failedTransaction(t)
			for _, sql := range c.sql {
				client(t, s, query(sql))
			}
			expectWords(t, c.what, words(t, s.TakeOut()), c.want)
		})
	}
	t.Run("extended", func(t *testing.T) {
		s := failedTransaction(t)
		for _, sql := range []string{"rollback to s", "select 1", "commit"} {
			client(t, s, append(batch(sql), sync())...)
		}
		expectWords(t, "extended", words(t, s.TakeOut()), "1 2 n ERROR 40001 ZE ERROR 40001 ZE 1 2 n ERROR 40001 ZI")
	})
	t.Run("pipeline", func(t *testing.T) {
		s := failedTransaction(t)
		client(t, s, append(batch("rollback to s", "select 1"), sync())...)
		client(t, s, append(batch("select 1"), sync())...)
		expectWords(t, "pipeline", words(t, s.TakeOut()), "1 2 n ERROR 40001 ZE ERROR 40001 ZE")
	})
}

func TestACanceledStatementLeavesAFailedTransaction(t *testing.T) {
	s := idle(t)
	inTransaction(t, s)
	client(t, s, query("select 1"))
	s.Lost("gone")
	s.Refuse(Problem{Code: codeCanceled, Message: "canceling statement due to user request"})
	client(t, s, query("select 1"), query("commit"))
	expectWords(t, "as on any server", words(t, s.TakeOut()), "ERROR 57014 ZE ERROR 25P02 ZE ROLLBACK ZI")
}
