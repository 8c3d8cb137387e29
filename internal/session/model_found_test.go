package session

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

// What the model has found, each in its smallest form.

// ran is what a server says to a statement of the extended protocol that returns nothing.
func ran(t string) []pgproto3.BackendMessage {
	return []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag(t)}
}

// batch is statements in one segment without its end.
func batch(sql ...string) (list []pgproto3.FrontendMessage) {
	for _, q := range sql {
		list = append(list, extended(q)[:4]...)
	}
	return list
}

func serverError(code string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", Code: code}
}

func sync() *pgproto3.Sync { return &pgproto3.Sync{} }

// lost takes the upstream away and has all doubts decided so.
func lost(t *testing.T, s *Session, o commit.Outcome) Verdict {
	t.Helper()
	v, _ := s.Lost("gone")
	if v == Resolve {
		for {
			if _, ok := s.Doubt(); !ok {
				break
			}
			s.Decided(o)
		}
		v, _ = s.Settle()
	}
	return v
}

func TestACommitInTheMiddleOfASegmentIsNotJudgedByTheSegmentsEnd(t *testing.T) {
	// COMMIT outside a block commits what the segment did before it; the evidence is that of the Sync's commit.
	s := marking(t)
	client(t, s, append(batch("insert into t values (1)", "commit"), sync())...)
	if v := lost(t, s, commit.Aborted); v == Replay {
		t.Errorf("replayed, and what COMMIT committed happens twice")
	}
}

func TestWorkBehindACommitInItsSegmentIsNotTakenForCommitted(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	client(t, s, append(batch("commit", "insert into t values (2)"), sync())...)
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{})
	server(t, s, marked()...)
	server(t, s, tag("COMMIT"))
	server(t, s, ran("INSERT 0 1")...)
	lost(t, s, commit.Unknown)
	expectWords(t, "the insert was in flight", words(t, s.TakeOut()), "ERROR 08007 ZI")
}

func TestAnUnknownStatementOutsideABlockMayHaveCommitted(t *testing.T) {
	// The journal does not have it any more: it was COMMIT.
	s := New(Full, 60)
	s.Adopt(map[string]string{"standard_conforming_strings": "on"})
	client(t, s, append(batch("insert into t values (1)", "commit"), &pgproto3.Flush{})...)
	lost(t, s, commit.Unknown)
	if got := words(t, s.TakeOut()); strings.Contains(got, "40001") {
		t.Errorf("the client got %s: nothing is said to have happened of what COMMIT has committed", got)
	}
}

func TestASettingThatWasAnsweredOutlivesAReplayThatFails(t *testing.T) {
	s := idle(t)
	client(t, s, query("set search_path = app"))
	server(t, s, tag("SET"))
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.BeginReplay()
	s.Lost("gone")
	s.Refuse(Problem{Code: CodeNoUpstream, Message: "none"})
	expectWords(t, "the SET", words(t, s.TakeOut()), "ZI")
	if s.Restore() == "" {
		t.Error("the client was told that it is set, and the session has forgotten it")
	}
}

func TestAReplayThatFailsTakesNothingAnsweredForUnsent(t *testing.T) {
	s := idle(t)
	inTransaction(t, s)
	client(t, s, &pgproto3.Bind{PreparedStatement: "n"}, &pgproto3.Execute{}, sync())
	server(t, s, serverError("26000"), ready('E'))
	client(t, s, query("select 1"))
	lost(t, s, commit.Unknown)
	for range 2 {
		if b, _ := s.BeginReplay(); len(b) == 0 {
			break
		}
		s.Lost("gone")
	}
	s.Refuse(Problem{Code: CodeNoUpstream, Message: "none"})
	expectWords(t, "one Query is owed an answer", words(t, s.TakeOut()), "ERROR 25P02 ZE")
}

func TestAReplayThatCatchesUpAtTheEndOfASegmentKeepsWhatWaits(t *testing.T) {
	s := idle(t)
	client(t, s, query("select 1"), query("insert into t values (1); begin; insert into t values (2)"))
	server(t, s, columns("a"))
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.BeginReplay()
	_, ev := server(t, s, columns("a"), row("1"), tag("SELECT 1"), ready('I'))
	if ev != Proceed {
		t.Fatalf("event %v", ev)
	}
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("what waits is gone from the journal: %v", r)
		}
	}()
	if b := s.Proceed(); kinds(b) != "Q" {
		t.Errorf("sent %q", kinds(b))
	}
}

func TestAnErrorIsNotFollowedByAnother(t *testing.T) {
	s := idle(t)
	client(t, s, query("create table x ()"))
	server(t, s, serverError("42P07"))
	lost(t, s, commit.Unknown)
	expectWords(t, "simple", words(t, s.TakeOut()), "ZI")

	s = idle(t)
	client(t, s, extended("create table x ()")...)
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, serverError("42P07"))
	lost(t, s, commit.Unknown)
	expectWords(t, "extended", words(t, s.TakeOut()), "ZI")

	s = idle(t)
	inTransaction(t, s)
	client(t, s, extended("copy t from 'x'")...)
	server(t, s, serverError("42501"))
	lost(t, s, commit.Unknown)
	expectWords(t, "in a transaction", words(t, s.TakeOut()), "ZE")
}

func TestRollbackToIsNotFollowedByAFailedTransaction(t *testing.T) {
	s := idle(t)
	inTransaction(t, s)
	client(t, s, query("savepoint s"))
	server(t, s, tag("SAVEPOINT"), ready('T'))
	client(t, s, query("select 1/0"))
	server(t, s, serverError("22012"), ready('E'))
	client(t, s, query("rollback to s"))
	server(t, s, tag("ROLLBACK"))
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Errorf("verdict %v: the client got %q", v, words(t, s.TakeOut()))
	}
}

func TestACommitThatWasAnsweredBeforeItsSyncIsNotTakenBack(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	client(t, s, append(batch("commit"), &pgproto3.Flush{})...)
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{})
	server(t, s, marked()...)
	server(t, s, tag("COMMIT"))
	lost(t, s, commit.Committed)
	var out Out
	if s.Answering() {
		out = s.Client(fe(t, sync()))
	}
	if got := words(t, s.TakeOut()); got != "ZI" && (got != "" || !out.Empty()) {
		t.Errorf("the client got %q behind COMMIT", got)
	}
}

func TestAParseThatFailedDoesNotChangeWhatAStatementIs(t *testing.T) {
	// With the text of the Parse that failed, COMMIT and all are replayed: the unit seems to have read only.
	s := marking(t)
	client(t, s, &pgproto3.Parse{Name: "n", Query: "insert into t values (1)"}, sync())
	server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	client(t, s, query("savepoint s"))
	server(t, s, tag("SAVEPOINT"), ready('T'))
	client(t, s, &pgproto3.Parse{Name: "n", Query: "select 1"}, sync())
	server(t, s, serverError("42P05"), ready('E'))
	client(t, s, query("rollback to s"))
	server(t, s, tag("ROLLBACK"), ready('T'))
	client(t, s, &pgproto3.Bind{PreparedStatement: "n"}, &pgproto3.Execute{}, sync())
	server(t, s, &pgproto3.BindComplete{}, tag("INSERT 0 1"), ready('T'))
	client(t, s, query("commit"))
	if v, _ := s.Lost("gone"); v == Replay {
		t.Error("COMMIT is replayed without having been decided")
	}
}

func TestAReleasedSavepointIsNotGoneBackTo(t *testing.T) {
	s := idle(t)
	for _, q := range []struct{ sql, tag string }{
		{"begin", "BEGIN"}, {"savepoint s", "SAVEPOINT"}, {"set app.a = 1", "SET"}, {"savepoint s", "SAVEPOINT"}, {"release s", "RELEASE"},
		{"rollback to s", "ROLLBACK"},
	} {
		client(t, s, query(q.sql))
		server(t, s, tag(q.tag), ready('T'))
	}
	client(t, s, query("commit"))
	server(t, s, tag("COMMIT"), ready('I'))
	if got := s.Restore(); got != "" {
		t.Errorf("restores %q, which was rolled back", got)
	}
}

func TestASettingBeforeASavepointOutlivesAnErrorInTheFirstSegment(t *testing.T) {
	s := idle(t)
	client(t, s, query("begin; set app.a = 1; savepoint s; select 1/0"))
	server(t, s, tag("BEGIN"), tag("SET"), tag("SAVEPOINT"), serverError("22012"), ready('E'))
	client(t, s, query("rollback to s"))
	server(t, s, tag("ROLLBACK"), ready('T'))
	client(t, s, query("commit"))
	server(t, s, tag("COMMIT"), ready('I'))
	if got := s.Restore(); got == "" {
		t.Error("the setting was committed, and is forgotten")
	}
}

func TestAReplayDoesNotRunALaterUnnamedStatementInPlaceOfAnEarlierOne(t *testing.T) {
	s := idle(t)
	client(t, s, &pgproto3.Parse{Query: "insert into t values (1)"}, sync())
	server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	client(t, s, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
	server(t, s, &pgproto3.BindComplete{}, tag("INSERT 0 1"))
	client(t, s, &pgproto3.Parse{Query: "insert into t values (2)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, tag("INSERT 0 1"))
	if v := lost(t, s, commit.Unknown); v != Replay {
		return
	}
	for _, st := range s.MissingForReplay() {
		if st.Text() != "insert into t values (1)" {
			t.Errorf("the unit begins with the unnamed statement, for which %q is restored", st.Text())
		}
	}
}

func TestAStatementPreparedInTheUnitIsNotRestoredBeforeItsReplay(t *testing.T) {
	s := idle(t)
	inTransaction(t, s)
	client(t, s, query("prepare p as insert into t values ($1)"))
	server(t, s, tag("PREPARE"), ready('T'))
	client(t, s, query("execute p(1)"))
	server(t, s, tag("INSERT 0 1"), ready('T'))
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	if list := s.MissingForReplay(); len(list) > 0 {
		t.Errorf("%q is prepared before a replay that prepares it: it will diverge", list[0].Name())
	}
}

func TestAMessageInPiecesIsLookedAtForStatementsThatAreMissing(t *testing.T) {
	s := idle(t)
	client(t, s, &pgproto3.Parse{Name: "n", Query: "select 1"}, sync())
	server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	s.Lost("gone")
	s.Attached(nil, 2)
	b := fe(t, &pgproto3.Bind{PreparedStatement: "n"}, &pgproto3.Execute{}, sync())
	n := len(s.Missing(b[:6]))
	s.Client(b[:6])
	if n += len(s.Missing(b[6:])); n == 0 {
		t.Error("the statement is not found missing, and the Bind goes out without it")
	}
}

func TestBehindAMessageInPiecesASessionThatStopsAnsweringSendsNothing(t *testing.T) {
	s := New(Full, 0)
	s.FailNext(Problem{Code: CodeNoUpstream, Message: "none"})
	b := fe(t, query("select 1"), query("select 2"))
	s.Client(b[:6])
	out := s.Client(b[6:])
	expectWords(t, "the first", words(t, s.TakeOut()), "ERROR 08001 ZI")
	if !out.Empty() || len(out.Rest) == 0 {
		t.Errorf("sends %q, and has no upstream for it", out.Bytes())
	}
}

func TestTheRestOfALargeMessageDoesNotReachAnotherUpstream(t *testing.T) {
	s := idle(t)
	b := fe(t, query("select '"+strings.Repeat("x", 2*wholeText)+"'"))
	half := wholeText + 1
	if out := s.Client(b[:half]); out.Empty() {
		t.Fatal("not passed on as it comes")
	}
	s.Sent()
	s.Lost("gone")
	s.TakeOut()
	s.Attached(nil, 2)
	out := s.Client(append(bytes.Clone(b[half:]), fe(t, query("select 1"))...))
	if got := out.Bytes(); bytes.Contains(got, []byte("xxx")) {
		t.Errorf("%d bytes go to the new upstream, which begin with %q", len(got), got[:10])
	}
}

func TestABlockThatMayNotHaveBegunIsNotReliedUpon(t *testing.T) {
	for _, c := range []struct {
		name  string
		first []pgproto3.FrontendMessage
	}{
		{"COMMIT AND CHAIN outside a block is an error", []pgproto3.FrontendMessage{query("commit and chain")}},
		{"a string that fails before BEGIN", []pgproto3.FrontendMessage{query("select 1/0; begin")}},
		{"a segment that fails before BEGIN", append(batch("select 1/0", "begin"), sync())},
	} {
		s := idle(t)
		client(t, s, append(c.first, query("insert into t values (1)"))...)
		v := lost(t, s, commit.Unknown)
		if got := words(t, s.TakeOut()); v == Replay || !strings.HasSuffix(got, "ERROR 08007 ZI") {
			t.Errorf("%s: verdict %v, the client got %q, and the INSERT may have been committed", c.name, v, got)
		}
	}
	s := idle(t)
	inTransaction(t, s)
	client(t, s, query("savepoint s"))
	server(t, s, tag("SAVEPOINT"), ready('T'))
	client(t, s, query("select 1/0; rollback"), query("rollback to s"), query("commit"))
	if v := lost(t, s, commit.Unknown); v == Replay {
		t.Error("a transaction is replayed that may have been committed: its ROLLBACK was not run, ROLLBACK TO and COMMIT were")
	}
}

func TestAnErrorBeforeTheSyncHasFailedTheTransaction(t *testing.T) {
	s := idle(t)
	inTransaction(t, s)
	client(t, s, &pgproto3.Bind{PreparedStatement: "n"}, &pgproto3.Execute{}, &pgproto3.Flush{})
	server(t, s, serverError("26000"))
	s.Lost("gone")
	s.Refuse(Problem{Code: CodeNoUpstream, Message: "none"})
	s.Client(fe(t, sync()))
	expectWords(t, "Sync", words(t, s.TakeOut()), "ZE")
}

func TestUndoGoesBackIntoACopy(t *testing.T) {
	s := idle(t)
	client(t, s, extended("copy t from stdin")...)
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, &pgproto3.CopyInResponse{})
	m := s.Mark()
	client(t, s, &pgproto3.CopyFail{Message: "no"})
	if !s.Undo(m) {
		t.Fatal("not undone")
	}
	lost(t, s, commit.Unknown)
	if got := words(t, s.TakeOut()); !strings.HasPrefix(got, "ERROR 40001") {
		t.Errorf("the client got %q: a COPY of which the end was not sent cannot have been committed", got)
	}
}

func TestAQueryThatWasAnsweredIsNotAnsweredWithTheLossOfItsTransaction(t *testing.T) {
	s := idle(t)
	inTransaction(t, s)
	client(t, s, query("insert into t values (2)"))
	server(t, s, tag("INSERT 0 1"))
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.Refuse(Problem{Code: CodeNoUpstream, Message: "none"})
	expectWords(t, "behind its tag", words(t, s.TakeOut()), "ZT")
}

func TestAStatementWhoseParseIsOnItsWayIsNotMissing(t *testing.T) {
	// Made once more it is an error, which takes the work of the open segment with it.
	s := idle(t)
	client(t, s, &pgproto3.Parse{Name: "n", Query: "select 1"}, sync())
	server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	s.Lost("gone")
	s.Attached(nil, 2)
	client(t, s, append(batch("insert into t values (1)"), &pgproto3.Parse{Name: "n", Query: "select 1"})...)
	if list := s.Missing(fe(t, &pgproto3.Bind{PreparedStatement: "n"}, &pgproto3.Execute{}, sync())); len(list) > 0 {
		t.Errorf("%q would be prepared a second time, and a Sync put into the client's segment", list[0].Name())
	}
}

func TestWhatIsLostBesidesAnUndecidedCommitIsNamed(t *testing.T) {
	s := idle(t)
	client(t, s, query("select pg_advisory_lock(1)"))
	server(t, s, columns("a"), row(""), tag("SELECT 1"), ready('I'))
	client(t, s, query("create table x ()"))
	s.Lost("gone")
	if got := string(s.TakeOut()); !strings.Contains(got, "advisory") {
		t.Errorf("the lock is gone, and the client got %q", got)
	}
}

func TestTheEndOfASegmentKeepsTheOnesBehindItThatAReplayHasSent(t *testing.T) {
	s := idle(t)
	client(t, s, append(append([]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "n"}}, batch("commit")...), sync())...)
	client(t, s, append(batch("insert into t values (1)", "set app.a = '1'"), sync())...)
	server(t, s, &pgproto3.CloseComplete{})
	s.Refused() // nothing of it was done
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.BeginReplay()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("what is outstanding is gone from the journal: %v", r)
		}
	}()
	server(t, s, append([]pgproto3.BackendMessage{&pgproto3.CloseComplete{}}, append(ran("COMMIT"), ready('I'))...)...)
	server(t, s, append(ran("INSERT 0 1"), ran("SET")...)...)
	if b := s.Proceed(); kinds(b) != "S" {
		t.Errorf("sent %q", kinds(b))
	}
}

func TestTheCommitOfAStatementThatItsSegmentHasClosedIsNotTakenForNothing(t *testing.T) {
	// What was executed cannot be read any more.
	s := marking(t)
	client(t, s, &pgproto3.Parse{Name: "m", Query: "insert into t values (1)"}, sync())
	server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	client(t, s, &pgproto3.Bind{PreparedStatement: "m"}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "m"}, sync())
	server(t, s, &pgproto3.BindComplete{}, tag("INSERT 0 1"), &pgproto3.CloseComplete{})
	lost(t, s, commit.Unknown)
	expectWords(t, "its commit was in flight", words(t, s.TakeOut()), "ERROR 08007 ZI")
}

func TestACommitInTheMidstOfAnOpenSegmentMayHaveHappened(t *testing.T) {
	s := marking(t)
	client(t, s, query("insert into t values (1)"))
	client(t, s, append(batch("insert into t values (3)", "commit"), &pgproto3.Flush{})...)
	server(t, s, append(ran("INSERT 0 1"), &pgproto3.CloseComplete{})...)
	server(t, s, marked()...)
	lost(t, s, commit.Committed)
	if got := words(t, s.TakeOut()); !strings.HasPrefix(got, "ZI ERROR 08007") {
		t.Errorf("the client got %q", got)
	}
}

func TestWhatWasAnsweredInPartIsNotSentAgainAfterAReplayThatFailed(t *testing.T) {
	s := idle(t)
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	client(t, s, query("commit and chain; commit"))
	server(t, s, tag("COMMIT"))
	if v := lost(t, s, commit.Unknown); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.BeginReplay()
	if _, ev := server(t, s, tag("BEGIN"), ready('T')); ev != Diverged {
		t.Fatalf("event %v", ev)
	}
	s.Refuse(Problem{Code: CodeSerialization, Message: "diverged"})
	if s.HasUnsent() {
		t.Errorf("still to be sent: %q", s.Unsent())
	}
}

func TestABeginBehindAParseThatMayFailMayNotBeReached(t *testing.T) {
	s := marking(t)
	client(t, s, append([]pgproto3.FrontendMessage{&pgproto3.Parse{Name: "m", Query: "bogus"}}, append(batch("begin"), sync())...)...)
	client(t, s, query("insert into t values (1)"))
	if v := lost(t, s, commit.Unknown); v == Replay {
		t.Error("replayed, though the insert may have been committed by itself")
	}
}

func TestABeginThatTheParserRefusesBeginsNothing(t *testing.T) {
	for _, first := range []string{"begin; bogus", "begin isolation level bogus", "begin; insert into t values (0"} {
		s := marking(t)
		client(t, s, query(first))
		client(t, s, query("insert into t values (1)"))
		if v := lost(t, s, commit.Unknown); v == Replay || !strings.Contains(words(t, s.TakeOut()), "08007") {
			t.Errorf("behind %q the insert is taken for undone, though it may have been committed by itself", first)
		}
	}
}

func TestAnOpenSegmentThatOutgrewTheJournalIsNotIdle(t *testing.T) {
	s := New(Full, 60)
	s.Adopt(map[string]string{"standard_conforming_strings": "on"})
	client(t, s, append(batch("insert into t values (1)", "insert into t values (2)"), &pgproto3.Flush{})...)
	server(t, s, append(ran("INSERT 0 1"), ran("INSERT 0 1")...)...)
	if s.Busy() {
		t.Fatal("all was answered")
	}
	lost(t, s, commit.Unknown)
	client(t, s, sync())
	if got := words(t, s.TakeOut()); !strings.HasPrefix(got, "ERROR") {
		t.Errorf("the client got %q, and takes what is lost for committed", got)
	}
}
