package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// fe and be encode messages of either side.
func fe(t testing.TB, msgs ...pgproto3.FrontendMessage) (b []byte) {
	t.Helper()
	for _, m := range msgs {
		var err error
		if b, err = m.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func be(t testing.TB, msgs ...pgproto3.BackendMessage) (b []byte) {
	t.Helper()
	for _, m := range msgs {
		var err error
		if b, err = m.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func query(sql string) *pgproto3.Query          { return &pgproto3.Query{String: sql} }
func ready(status byte) *pgproto3.ReadyForQuery { return &pgproto3.ReadyForQuery{TxStatus: status} }
func tag(s string) *pgproto3.CommandComplete    { return &pgproto3.CommandComplete{CommandTag: []byte(s)} }
func row(values ...string) *pgproto3.DataRow {
	r := &pgproto3.DataRow{}
	for _, v := range values {
		r.Values = append(r.Values, []byte(v))
	}
	return r
}

func columns(names ...string) *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{}
	for _, n := range names {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte(n), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1})
	}
	return d
}

// client writes, and says that it was sent.
func client(t testing.TB, s *Session, msgs ...pgproto3.FrontendMessage) {
	t.Helper()
	out := s.Client(fe(t, msgs...))
	if !out.Empty() {
		s.Sent()
	}
	checkAccount(t, s, "the client has sent something")
}

// server delivers, and returns what the client got of it in words.
func server(t testing.TB, s *Session, msgs ...pgproto3.BackendMessage) (string, Event) {
	t.Helper()
	b := be(t, msgs...)
	v := s.Server(b)
	checkAccount(t, s, "the server has answered")
	return words(t, append(s.TakeOut(), b[:v.Deliver]...)), v.Event
}

// words tells backend messages in a form that tests can compare.
func words(t testing.TB, b []byte) string {
	t.Helper()
	var list []string
	eachMessage(b, func(msg []byte) {
		switch msg[0] {
		case 'E':
			var m pgproto3.ErrorResponse
			if err := m.Decode(msg[5:]); err != nil {
				t.Fatal(err)
			}
			list = append(list, m.Severity+" "+m.Code)
		case 'C':
			list = append(list, strings.TrimRight(string(msg[5:]), "\x00"))
		case 'Z':
			list = append(list, "Z"+string(msg[5]))
		default:
			list = append(list, string(msg[0]))
		}
	})
	return strings.Join(list, " ")
}

func idle(t testing.TB) *Session {
	t.Helper()
	s := New(Full, 0)
	s.Adopt(map[string]string{"standard_conforming_strings": "on"})
	return s
}

func expectWords(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the client got %q, want %q", what, got, want)
	}
}

func TestAnIdleSessionLosesNothing(t *testing.T) {
	s := idle(t)
	client(t, s, query("insert into t values (1)"))
	server(t, s, tag("INSERT 0 1"), ready('I'))
	if v, _ := s.Lost("gone"); v != Idle {
		t.Fatalf("verdict %v", v)
	}
	expectWords(t, "idle", words(t, s.TakeOut()), "")
}

func TestWorkInFlightIsJudgedByWhatItMayHaveDone(t *testing.T) {
	begin := func(t *testing.T, s *Session) {
		client(t, s, query("begin"))
		server(t, s, tag("BEGIN"), ready('T'))
	}
	insert := func(t *testing.T, s *Session) {
		client(t, s, query("insert into t values (1)"))
		server(t, s, tag("INSERT 0 1"), ready('T'))
	}
	prepared := []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: "insert into t values ($1)"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("1")}},
		&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{},
	}
	for _, c := range []struct {
		name    string
		run     func(t *testing.T, s *Session)
		verdict Verdict
		got     string
	}{
		{"simple read", func(t *testing.T, s *Session) {
			client(t, s, query("select a from t"))
		}, Replay, ""},
		{"simple write", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"))
		}, Answered, "ERROR 08007 ZI"},
		{"simple write of which the tag was seen", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"))
			server(t, s, tag("INSERT 0 1"))
		}, Answered, "ZI"},
		{"two statements of which one tag was seen", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1); insert into t values (2)"))
			server(t, s, tag("INSERT 0 1"))
		}, Answered, "ERROR 08007 ZI"},
		{"extended write", func(t *testing.T, s *Session) {
			client(t, s, append(prepared, &pgproto3.Sync{})...)
		}, Answered, "ERROR 08007 ZI"},
		{"extended write of which the tag was seen", func(t *testing.T, s *Session) {
			client(t, s, append(prepared, &pgproto3.Sync{})...)
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"))
		}, Answered, "ERROR 08007 ZI"},
		{"extended write without its Sync", func(t *testing.T, s *Session) {
			client(t, s, append(prepared, &pgproto3.Flush{})...)
		}, Replay, ""},
		{"a function that may do anything", func(t *testing.T, s *Session) {
			client(t, s, query("select pay(1)"))
		}, Answered, "ERROR 08007 ZI"},
		{"begin", func(t *testing.T, s *Session) {
			client(t, s, query("begin"))
		}, Replay, ""},
		{"in a transaction that has written, at rest", func(t *testing.T, s *Session) {
			begin(t, s)
			insert(t, s)
		}, Replay, ""},
		{"in a transaction, a write", func(t *testing.T, s *Session) {
			begin(t, s)
			client(t, s, query("insert into t values (1)"))
		}, Replay, ""},
		{"in a transaction, copy", func(t *testing.T, s *Session) {
			begin(t, s)
			client(t, s, query("copy t from stdin"))
			server(t, s, &pgproto3.CopyInResponse{})
		}, Answered, "ERROR 40001 ZE"},
		{"in a transaction, a lock of the session", func(t *testing.T, s *Session) {
			begin(t, s)
			client(t, s, query("select pg_advisory_lock(1)"))
		}, Answered, "ERROR 40001 ZE"},
		{"a transaction that was begun in the string that ended another", func(t *testing.T, s *Session) {
			begin(t, s)
			insert(t, s)
			client(t, s, query("commit; begin; insert into t values (2)"))
			server(t, s, tag("COMMIT"), tag("BEGIN"), tag("INSERT 0 1"), ready('T'))
			client(t, s, query("insert into t values (3)"))
		}, Answered, "ERROR 40001 ZE"},
		{"flushed and not synced, a write", func(t *testing.T, s *Session) {
			client(t, s, append(prepared, &pgproto3.Flush{})...)
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"))
		}, Replay, ""},
		{"in a transaction that has only read", func(t *testing.T, s *Session) {
			begin(t, s)
			client(t, s, query("select a from t"))
		}, Replay, ""},
		{"commit after a write", func(t *testing.T, s *Session) {
			begin(t, s)
			insert(t, s)
			client(t, s, query("commit"))
		}, Answered, "ERROR 08007 ZI"},
		{"commit of which the tag was seen", func(t *testing.T, s *Session) {
			begin(t, s)
			insert(t, s)
			client(t, s, query("commit"))
			server(t, s, tag("COMMIT"))
		}, Answered, "ZI"},
		{"rollback after a write", func(t *testing.T, s *Session) {
			begin(t, s)
			insert(t, s)
			client(t, s, query("rollback"))
		}, Answered, "ROLLBACK ZI"},
		{"write and commit in one string", func(t *testing.T, s *Session) {
			client(t, s, query("begin; insert into t values (1); commit"))
		}, Answered, "ERROR 08007 ZI"},
		{"pipeline: write, then commit", func(t *testing.T, s *Session) {
			begin(t, s)
			client(t, s, query("insert into t values (1)"), query("commit"))
		}, Answered, "ERROR 08007 ZI ERROR 08007 ZI"},
		{"pipeline: a write that is answered, one that is not", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"), query("insert into t values (2)"))
			server(t, s, tag("INSERT 0 1"), ready('I'))
		}, Answered, "ERROR 08007 ZI"},
		{"copy before its end", func(t *testing.T, s *Session) {
			client(t, s, query("copy t from stdin"))
			server(t, s, &pgproto3.CopyInResponse{})
			client(t, s, &pgproto3.CopyData{Data: []byte("1\n")})
		}, Answered, "ERROR 40001 ZI"},
		{"copy after its end", func(t *testing.T, s *Session) {
			client(t, s, query("copy t from stdin"))
			server(t, s, &pgproto3.CopyInResponse{})
			client(t, s, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{})
		}, Answered, "ERROR 08007 ZI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := idle(t)
			c.run(t, s)
			v, reason := s.Lost("gone")
			if v != c.verdict {
				t.Errorf("verdict %v (%s), want %v", v, reason, c.verdict)
			}
			expectWords(t, "loss", words(t, s.TakeOut()), c.got)
		})
	}
}

func TestALostTransactionStaysLostUntilItsEnd(t *testing.T) {
	for _, c := range []struct {
		sql, got string
	}{
		{"rollback", "ROLLBACK ZI"},
		{"insert into t values (2)", "ERROR 40001 ZE"},
		{"commit", "ERROR 40001 ZI"},
		{"rollback to a", "ERROR 40001 ZE"},
		{"", "I ZT"},
	} {
		t.Run(c.sql, func(t *testing.T) {
			s := New(Read, 0)
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			client(t, s, query("insert into t values (1)"))
			server(t, s, tag("INSERT 0 1"), ready('T'))
			s.Lost("gone")
			client(t, s, query(c.sql))
			expectWords(t, c.sql, words(t, s.TakeOut()), c.got)
			if !s.Answering() {
				return
			}
			client(t, s, query("select 1"), query("commit"))
			expectWords(t, "afterwards", words(t, s.TakeOut()), "ERROR 40001 ZE ERROR 40001 ZI")
			if !s.Idle() {
				t.Error("the session is not idle after the end of the transaction")
			}
		})
	}
}

func TestAReplayDeliversWhatTheClientHasNotSeen(t *testing.T) {
	s := idle(t)
	client(t, s, query("select a from t"))
	got, _ := server(t, s, columns("a"), row("1"), row("2"))
	expectWords(t, "before", got, "T D D")
	if v, _ := s.Lost("gone"); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	if b, ok := s.BeginReplay(); !ok || string(b) != string(fe(t, query("select a from t"))) {
		t.Fatalf("replay of %q", b)
	}
	s.Attached(nil, 2)
	got, ev := server(t, s, columns("a"), &pgproto3.NoticeResponse{Message: "again"}, row("1"), row("2"), row("3"), tag("SELECT 3"), ready('I'))
	if ev != None {
		t.Fatalf("event %v", ev)
	}
	expectWords(t, "after", got, "D SELECT 3 ZI")
	if !s.Idle() {
		t.Error("not idle")
	}
}

func TestAReplayThatDivergesIsRefused(t *testing.T) {
	for name, again := range map[string][]pgproto3.BackendMessage{
		"another row":      {columns("a"), row("9"), row("2"), tag("SELECT 2"), ready('I')},
		"fewer rows":       {columns("a"), row("1"), tag("SELECT 1"), ready('I')},
		"other columns":    {columns("b"), row("1"), row("2"), tag("SELECT 2"), ready('I')},
		"an error instead": {&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42P01"}, ready('I')},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t)
			client(t, s, query("select a from t"))
			server(t, s, columns("a"), row("1"), row("2"))
			s.Lost("gone")
			s.BeginReplay()
			got, ev := server(t, s, again...)
			if ev != Diverged {
				t.Fatalf("event %v; the client got %q", ev, got)
			}
			s.Refuse(Problem{Code: CodeSerialization, Message: "diverged"})
			expectWords(t, "divergence", got+words(t, s.TakeOut()), "ERROR 40001 ZI")
		})
	}
}

func TestTheServersLastWordsAreNotDelivered(t *testing.T) {
	s := idle(t)
	client(t, s, query("select a from t"))
	got, ev := server(t, s, columns("a"), row("1"),
		&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01"})
	if ev != Gone {
		t.Fatalf("event %v", ev)
	}
	expectWords(t, "57P01", got, "T D")
	if v, _ := s.Lost("57P01"); v != Replay {
		t.Fatalf("verdict %v", v)
	}
}

func TestSettingsFollowTheirTransaction(t *testing.T) {
	s := idle(t)
	exec := func(sql, tags string, status byte) {
		t.Helper()
		client(t, s, query(sql))
		var msgs []pgproto3.BackendMessage
		for _, w := range strings.Split(tags, ",") {
			msgs = append(msgs, tag(w))
		}
		server(t, s, append(msgs, ready(status))...)
	}
	exec("set search_path to a", "SET", 'I')
	exec("begin", "BEGIN", 'T')
	exec("set application_name = 'x'", "SET", 'T')
	exec("set local work_mem = '1MB'", "SET", 'T')
	exec("savepoint s", "SAVEPOINT", 'T')
	exec("set statement_timeout = 5", "SET", 'T')
	exec("rollback to s", "ROLLBACK", 'T')
	exec("commit", "COMMIT", 'I')
	exec("begin; set lock_timeout = 7; rollback", "BEGIN,SET,ROLLBACK", 'I')
	got := strings.ToLower(s.Restore())
	for word, want := range map[string]bool{
		"search_path": true, "application_name": true, "work_mem": false, "statement_timeout": false, "lock_timeout": false,
	} {
		if strings.Contains(got, word) != want {
			t.Errorf("%s restored: %v, want %v; in %q", word, !want, want, got)
		}
	}
}

func TestPreparedStatementsAreMissingAfterAMove(t *testing.T) {
	s := idle(t)
	client(t, s, &pgproto3.Parse{Name: "a", Query: "select 1"}, &pgproto3.Describe{ObjectType: 'S', Name: "a"}, &pgproto3.Sync{})
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, columns("a"), ready('I'))
	use := fe(t, &pgproto3.Bind{PreparedStatement: "a"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if m := s.Missing(use); m != nil {
		t.Fatalf("missing before the move: %v", m)
	}
	s.Lost("gone")
	m := s.Missing(use)
	if len(m) != 1 || m[0].Name() != "a" || m[0].Text() != "select 1" || m[0].Description() == 0 {
		t.Fatalf("missing after the move: %+v", m)
	}
	want := DescriptionSum(DescriptionSum(0, be(t, &pgproto3.ParameterDescription{})), be(t, columns("a")))
	if m[0].Description() != want {
		t.Error("the description's digest is not that of the same messages")
	}
	s.Restored(m, m)
	if s.Needs() {
		t.Error("still missing")
	}
}

func TestClientBytesMayComeInAnyPieces(t *testing.T) {
	whole := fe(t, query("select 1"), &pgproto3.Parse{Name: "n", Query: "select 2"}, &pgproto3.Bind{PreparedStatement: "n"},
		&pgproto3.Execute{}, &pgproto3.Sync{})
	for size := 1; size < len(whole); size++ {
		s := idle(t)
		var sent []byte
		for b := whole; len(b) > 0; {
			n := min(size, len(b))
			sent = append(sent, s.Client(append([]byte(nil), b[:n]...)).Bytes()...)
			s.Sent()
			b = b[n:]
		}
		if string(sent) != string(whole) {
			t.Fatalf("pieces of %d: sent %q, want %q", size, sent, whole)
		}
		var kinds string
		for _, o := range s.outstanding() {
			kinds += string(o.kind)
		}
		if kinds != "QPBES" {
			t.Fatalf("pieces of %d: outstanding %s", size, kinds)
		}
	}
}

func TestAUnitOverTheLimitIsNotReplayed(t *testing.T) {
	s := New(Full, 100)
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	for range 4 {
		client(t, s, query("select '"+strings.Repeat("x", 40)+"'"))
		server(t, s, columns("a"), row("x"), tag("SELECT 1"), ready('T'))
	}
	client(t, s, query("select 1"))
	if v, _ := s.Lost("gone"); v != Answered {
		t.Fatalf("verdict %v", v)
	}
	b := s.TakeOut()
	expectWords(t, "limit", words(t, b), "ERROR 40001 ZE")
	if want := fmt.Sprintf("journal limit of %d bytes", 100); !strings.Contains(string(b), want) {
		t.Errorf("the error does not name the limit: %q", b)
	}
}

func TestAClientNeedNotWaitUntilTheServerAsksForItsCopyData(t *testing.T) {
	copyIn := &pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}}
	data := []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}}

	s := idle(t)
	client(t, s, append([]pgproto3.FrontendMessage{query("copy t from stdin")}, data...)...)
	server(t, s, copyIn)
	// Everything was sent: the rows may be there.
	s.Lost("gone")
	expectWords(t, "simple", words(t, s.TakeOut()), "ERROR 08007 ZI")

	for name, c := range map[string]struct {
		before, after []pgproto3.FrontendMessage
	}{
		"Sync behind the data":          {nil, []pgproto3.FrontendMessage{&pgproto3.Sync{}}},
		"Sync on both sides":            {[]pgproto3.FrontendMessage{&pgproto3.Sync{}}, []pgproto3.FrontendMessage{&pgproto3.Sync{}}},
		"something more behind the end": {nil, append([]pgproto3.FrontendMessage{&pgproto3.Sync{}}, extended("select 1")...)},
	} {
		s := idle(t)
		client(t, s, extended("copy t from stdin")[:4]...)
		client(t, s, c.before...)
		client(t, s, append(data, c.after...)...)
		server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, copyIn, tag("COPY 1"), ready('I'))
		if len(c.after) > 1 {
			if !s.Busy() || s.confused {
				t.Errorf("%s: busy %v, confused %v", name, s.Busy(), s.confused)
			}
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("a"), row("1"), tag("SELECT 1"), ready('I'))
		}
		if !s.Idle() || s.confused {
			t.Errorf("%s: idle %v, confused %v", name, s.Idle(), s.confused)
		}
	}
}

func TestAStatementIsDroppedByItsQuotedName(t *testing.T) {
	s := idle(t)
	client(t, s, query(`prepare "Q r" (int) as select $1`))
	server(t, s, tag("PREPARE"), ready('I'))
	client(t, s, query(`prepare q as select 1`))
	server(t, s, tag("PREPARE"), ready('I'))
	client(t, s, query(`deallocate "Q r" -- and not q`))
	server(t, s, tag("DEALLOCATE"), ready('I'))
	s.Lost("gone")
	if list := s.Missing(fe(t, query(`execute "Q r"(1)`))); len(list) != 1 || list[0].Name() != "q" {
		t.Errorf("to be prepared again: %v", list)
	}
}

func TestACloseThatWasAnsweredInPartIsAnsweredToItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		sends []pgproto3.FrontendMessage
		hears []pgproto3.BackendMessage
		want  string
	}{
		"its end is missing": {
			[]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Sync{}},
			[]pgproto3.BackendMessage{&pgproto3.CloseComplete{}}, "ZI",
		},
		"a second one is missing": {
			[]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Close{ObjectType: 'S', Name: "b"}, &pgproto3.Sync{}},
			[]pgproto3.BackendMessage{&pgproto3.CloseComplete{}}, "3 ZI",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t)
			for _, statement := range []string{"a", "b"} {
				client(t, s, &pgproto3.Parse{Name: statement, Query: "select 1"}, &pgproto3.Sync{})
				server(t, s, &pgproto3.ParseComplete{}, ready('I'))
			}
			client(t, s, c.sends...)
			server(t, s, c.hears...)
			if v, _ := s.Lost("gone"); v != Answered {
				t.Errorf("verdict %v", v)
			}
			expectWords(t, "close", words(t, s.TakeOut()), c.want)
			if !s.Idle() {
				t.Error("the session is not idle")
			}
		})
	}
}

func TestAStatementIsNotRestoredToBeClosed(t *testing.T) {
	s := idle(t)
	client(t, s, &pgproto3.Parse{Name: "a", Query: "select 1"}, &pgproto3.Sync{})
	server(t, s, &pgproto3.ParseComplete{}, ready('I'))
	if v, _ := s.Lost("gone"); v != Idle {
		t.Fatalf("verdict %v", v)
	}
	s.Attached(nil, 1)
	if list := s.Missing(fe(t, &pgproto3.Bind{PreparedStatement: "a"}, &pgproto3.Sync{})); len(list) != 1 {
		t.Errorf("to bind it, %d statements are prepared", len(list))
	}
	closes := []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Sync{}}
	if list := s.Missing(fe(t, closes...)); len(list) != 0 {
		t.Errorf("to close it, %d statements are prepared", len(list))
	}
	for text, want := range map[string]int{
		"deallocate all": 0, "DEALLOCATE PREPARE ALL;": 0, "deallocate a": 1, "deallocate all; execute a": 1, "prepare A as select 2": 1,
		"select * from pg_prepared_statements": 1, "select * from other": 0,
	} {
		for _, msgs := range [][]pgproto3.FrontendMessage{{query(text)}, {&pgproto3.Parse{Name: "c", Query: text}, &pgproto3.Sync{}}} {
			if list := s.Missing(fe(t, msgs...)); len(list) != want {
				t.Errorf("for %q, %d statements are prepared, want %d", text, len(list), want)
			}
		}
	}
	client(t, s, closes...)
	got, _ := server(t, s, &pgproto3.CloseComplete{}, ready('I'))
	expectWords(t, "close", got, "3 ZI")
	if s.Needs() {
		t.Error("it is still to be prepared")
	}
}

func TestAStatementOfALostTransactionIsNotDescribed(t *testing.T) {
	s := idle(t)
	client(t, s, query("begin; insert into t values (1); commit and chain"))
	server(t, s, tag("BEGIN"), tag("INSERT 0 1"), tag("COMMIT"), ready('T'))
	client(t, s, &pgproto3.Parse{Query: "insert into t values ($1)"}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Sync{})
	server(t, s, &pgproto3.ParseComplete{})
	if v, _ := s.Lost("gone"); v != Answered {
		t.Fatalf("verdict %v", v)
	}
	expectWords(t, "describe", words(t, s.TakeOut()), "ERROR 40001 ZE")
	client(t, s, &pgproto3.Parse{Query: "rollback"}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'},
		&pgproto3.Execute{}, &pgproto3.Sync{})
	expectWords(t, "rollback", words(t, s.TakeOut()), "1 t n 2 n ROLLBACK ZI")
}

// Who waits for the answer to a message that has not been sent to its end waits for ever.
func TestALargeMessageIsNotDueBeforeItsEnd(t *testing.T) {
	s := idle(t)
	s.Client(fe(t, query("select 1")))
	long := fe(t, query("select '"+strings.Repeat("x", 3*wholeText)+"'"))
	s.Client(long[:2*wholeText])
	if !s.Due() {
		t.Error("the answer to the statement before is not due")
	}
	server(t, s, columns("a"), row("1"), tag("SELECT 1"), ready('I'))
	if s.Due() || !s.Busy() {
		t.Errorf("half a statement is sent: due %v, busy %v", s.Due(), s.Busy())
	}
	s.Client(long[2*wholeText : len(long)-1])
	if s.Due() {
		t.Error("it is due one byte before its end")
	}
	s.Client(long[len(long)-1:])
	if !s.Due() {
		t.Error("it is sent, and not due")
	}
	server(t, s, columns("a"), row("1"), tag("SELECT 1"), ready('I'))
	if s.Due() || s.Busy() {
		t.Errorf("it is answered: due %v, busy %v", s.Due(), s.Busy())
	}
}
