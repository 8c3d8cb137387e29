package session

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

// sends writes, and tells the kinds of the messages that the upstream is sent: lower case for those in answer to nothing
// of the client's.
func sends(t testing.TB, s *Session, msgs ...pgproto3.FrontendMessage) string {
	t.Helper()
	b := s.Client(fe(t, msgs...)).Bytes()
	s.Sent()
	return kinds(b)
}

func kinds(b []byte) string {
	var list strings.Builder
	eachMessage(b, func(msg []byte) {
		k := string(msg[0])
		if strings.Contains(string(msg), reserved) {
			k = strings.ToLower(k)
		}
		list.WriteString(k)
	})
	return list.String()
}

// marked is the answer to the injected statement.
func marked() []pgproto3.BackendMessage {
	return []pgproto3.BackendMessage{
		&pgproto3.CloseComplete{}, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, row("marked 77"), tag("SELECT 1"),
		&pgproto3.CloseComplete{},
	}
}

func marking(t testing.TB) *Session {
	t.Helper()
	s := idle(t)
	s.Adopt(map[string]string{"standard_conforming_strings": "on", "default_transaction_read_only": "off"})
	s.Decidable(commit.Marker, [16]byte{15: 1})
	return s
}

// inTransaction has begun one and written.
func inTransaction(t testing.TB, s *Session) {
	t.Helper()
	client(t, s, query("begin"))
	server(t, s, tag("BEGIN"), ready('T'))
	client(t, s, query("insert into t values (1)"))
	server(t, s, tag("INSERT 0 1"), ready('T'))
}

func extended(sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{},
	}
}

func TestOnlyWhatMayHaveAnEffectIsGivenEvidence(t *testing.T) {
	for _, c := range []struct {
		name  string
		begun string // "" or what the open transaction has done
		msgs  []pgproto3.FrontendMessage
		sent  string
	}{
		{"COMMIT after a write", "insert into t values (1)", []pgproto3.FrontendMessage{query("commit")}, "cpbecSQ"},
		{"END after a write", "insert into t values (1)", []pgproto3.FrontendMessage{query(" /* x */ END ;")}, "cpbecSQ"},
		{"COMMIT AND CHAIN after a write", "insert into t values (1)", []pgproto3.FrontendMessage{query("commit and chain")}, "cpbecSQ"},
		{"COMMIT after a read", "select a from t", []pgproto3.FrontendMessage{query("commit")}, "Q"},
		{"ROLLBACK", "insert into t values (1)", []pgproto3.FrontendMessage{query("rollback")}, "Q"},
		{"COMMIT in a string with more", "insert into t values (1)", []pgproto3.FrontendMessage{query("commit; select 1")}, "Q"},
		{"a write in a transaction", "select a from t", []pgproto3.FrontendMessage{query("insert into t values (2)")}, "Q"},
		{"extended COMMIT", "insert into t values (1)", extended("commit"), "PBDcpbecHES"},
		{"extended write in a transaction", "select a from t", extended("insert into t values (2)"), "PBDES"},
		{"extended write", "", extended("insert into t values (1)"), "PBDEcpbecHS"},
		{"extended read", "", extended("select a from t"), "PBDES"},
		{"extended call of an unknown function", "", extended("select pay(1)"), "PBDEcpbecHS"},
		{"extended VACUUM", "", extended("vacuum t"), "PBDES"},
		{"extended CALL", "", extended("call p()"), "PBDES"},
		{"simple write", "", []pgproto3.FrontendMessage{query("update t set a = 2")}, "PBDECcpbecHS"},
		{"simple write with a semicolon", "", []pgproto3.FrontendMessage{query("update t set a = 2;")}, "PBDECcpbecHS"},
		{"simple write with what looks like a parameter", "", []pgproto3.FrontendMessage{query("update t set a = '$1'")}, "Q"},
		{"simple read", "", []pgproto3.FrontendMessage{query("select a from t")}, "Q"},
		{"two simple writes", "", []pgproto3.FrontendMessage{query("update t set a = 2; update t set a = 3")}, "Q"},
		{"simple DDL", "", []pgproto3.FrontendMessage{query("create table x ()")}, "Q"},
		{"a batch", "", append(append([]pgproto3.FrontendMessage{}, extended("insert into t values (1)")[:4]...), extended("insert into t values (2)")...), "PBDEPBDEcpbecHS"},
		{"a batch that begins a transaction", "", append(append([]pgproto3.FrontendMessage{}, extended("begin")[:4]...), extended("insert into t values (2)")...), "PBDEPBDES"},
		{"pipelined writes", "", append(extended("insert into t values (1)"), extended("insert into t values (2)")...), "PBDEcpbecHSPBDEcpbecHS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := marking(t)
			if c.begun != "" {
				client(t, s, query("begin"))
				server(t, s, tag("BEGIN"), ready('T'))
				client(t, s, query(c.begun))
				server(t, s, tag("SELECT 0"), ready('T'))
			}
			if got := sends(t, s, c.msgs...); got != c.sent {
				t.Errorf("sent %s, want %s", got, c.sent)
			}
			if c.begun == "" {
				off := idle(t)
				if got, want := sends(t, off, c.msgs...), kinds(fe(t, c.msgs...)); got != want {
					t.Errorf("without evidence: sent %s, want %s", got, want)
				}
			}
		})
	}
}

func TestNothingIsInjectedInAFailedTransaction(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	client(t, s, query("select 1/0"))
	server(t, s, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "22012"}, ready('E'))
	if got := sends(t, s, query("commit")); got != "Q" {
		t.Errorf("sent %s", got)
	}
}

func TestTheClientDoesNotSeeTheAnswerToWhatItDidNotAsk(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    func(t *testing.T, s *Session)
		server []pgproto3.BackendMessage
		got    string
	}{
		{"COMMIT", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("commit"))
		}, append(marked(), ready('T'), tag("COMMIT"), ready('I')), "COMMIT ZI"},
		{"extended COMMIT", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, extended("commit")...)
		}, append(append([]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}}, marked()...),
			tag("COMMIT"), ready('I')), "1 2 n COMMIT ZI"},
		{"extended write", func(t *testing.T, s *Session) {
			client(t, s, extended("insert into t values (1) returning a")...)
		}, append(append([]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("a"), row("1"), tag("INSERT 0 1")},
			marked()...), ready('I')), "1 2 T D INSERT 0 1 ZI"},
		{"simple write", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"))
		}, append(append([]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1")},
			marked()...), ready('I')), "INSERT 0 1 ZI"},
		{"simple write that returns", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1) returning a"))
		}, append(append([]pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("a"), row("1"), tag("INSERT 0 1")},
			marked()...), ready('I')), "T D INSERT 0 1 ZI"},
		{"simple write that fails", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"))
		}, []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{},
			&pgproto3.ErrorResponse{Severity: "ERROR", Code: "23505"}, ready('I')}, "ERROR 23505 ZI"},
		{"simple write that does not parse", func(t *testing.T, s *Session) {
			client(t, s, query("insert into nothing values (1)"))
		}, []pgproto3.BackendMessage{&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42P01"}, ready('I')}, "ERROR 42P01 ZI"},
		{"COMMIT whose marker fails", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("commit"))
		}, []pgproto3.BackendMessage{&pgproto3.CloseComplete{}, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "3F000"}, ready('E'),
			tag("ROLLBACK"), ready('I')}, "ERROR 3F000 ZI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := marking(t)
			c.run(t, s)
			whole := be(t, c.server...)
			var got []byte
			// In pieces of every size, and all at once.
			for size := range 40 {
				s := marking(t)
				c.run(t, s)
				var client []byte
				buf := append([]byte(nil), whole...)
				if size > 0 {
					buf = buf[:0]
				}
				for rest := whole; len(rest) > 0 || size == 0; {
					if size > 0 {
						n := min(size, len(rest))
						buf = append(buf, rest[:n]...)
						rest = rest[n:]
					}
					v := s.Server(buf)
					if v.Event != None {
						t.Fatalf("event %v", v.Event)
					}
					client = append(append(client, s.TakeOut()...), buf[:v.Deliver]...)
					buf = append([]byte(nil), buf[v.Keep:len(buf)-v.Cut]...)
					if size == 0 {
						break
					}
				}
				if size > 0 && string(client) != string(got) {
					t.Fatalf("pieces of %d: %q, all at once: %q", size, client, got)
				}
				got = client
				if !s.Idle() || len(s.evidence) > 0 {
					t.Fatalf("pieces of %d: idle %v, %d pieces of evidence left", size, s.Idle(), len(s.evidence))
				}
			}
			expectWords(t, c.name, words(t, got), c.got)
		})
	}
}

func TestACommitInFlightIsDecided(t *testing.T) {
	for _, c := range []struct {
		name    string
		run     func(t *testing.T, s *Session)
		outcome commit.Outcome
		verdict Verdict
		got     string
	}{
		{"COMMIT, committed", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("commit"))
		}, commit.Committed, Answered, "COMMIT ZI"},
		{"COMMIT, aborted", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("commit"))
		}, commit.Aborted, Replay, ""},
		{"COMMIT, unknown", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, query("commit"))
		}, commit.Unknown, Answered, "ERROR 08007 ZI"},
		{"COMMIT AND CHAIN, committed", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, extended("commit and chain")...)
		}, commit.Committed, Answered, "1 2 n COMMIT ZT"},
		{"extended COMMIT, committed", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			client(t, s, extended("commit")...)
			server(t, s, &pgproto3.ParseComplete{})
		}, commit.Committed, Answered, "2 n COMMIT ZI"},
		{"extended write, committed, its tag was seen", func(t *testing.T, s *Session) {
			client(t, s, extended("insert into t values (1)")...)
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"))
		}, commit.Committed, Answered, "ZI"},
		{"extended write, committed, its tag was not seen", func(t *testing.T, s *Session) {
			client(t, s, extended("insert into t values (1)")...)
		}, commit.Committed, Answered, "ERROR 08007 ZI"},
		{"extended write, aborted", func(t *testing.T, s *Session) {
			client(t, s, extended("insert into t values (1)")...)
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"))
		}, commit.Aborted, Replay, ""},
		{"simple write, committed, its tag was seen", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"))
			server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"))
		}, commit.Committed, Answered, "ZI"},
		{"simple write, aborted", func(t *testing.T, s *Session) {
			client(t, s, query("insert into t values (1)"))
		}, commit.Aborted, Replay, ""},
		{"two pipelined writes, both committed", func(t *testing.T, s *Session) {
			client(t, s, append(extended("insert into t values (1)"), extended("insert into t values (2)")...)...)
		}, commit.Committed, Answered, "ERROR 08007 ZI ERROR 08007 ZI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := marking(t)
			c.run(t, s)
			if v, _ := s.Lost("gone"); v != Resolve {
				t.Fatalf("verdict %v, want Resolve; the client got %q", v, words(t, s.TakeOut()))
			}
			for n := 0; ; n++ {
				e, ok := s.Doubt()
				if !ok {
					break
				}
				if e.Key.Seq != uint64(n+1) || !e.NotReadOnly {
					t.Errorf("evidence %+v", e)
				}
				s.Decided(c.outcome)
			}
			if v, reason := s.Settle(); v != c.verdict {
				t.Errorf("verdict %v (%s), want %v", v, reason, c.verdict)
			}
			expectWords(t, "decision", words(t, s.TakeOut()), c.got)
		})
	}
}

func TestALaterCommitForbidsTheReplayOfAnEarlierOne(t *testing.T) {
	s := marking(t)
	client(t, s, append(extended("insert into t values (1)"), extended("insert into t values (2)")...)...)
	server(t, s, &pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1"))
	if v, _ := s.Lost("gone"); v != Resolve {
		t.Fatalf("verdict %v", v)
	}
	s.Decided(commit.Aborted)
	s.Decided(commit.Committed)
	if v, _ := s.Settle(); v != Answered {
		t.Fatalf("verdict %v", v)
	}
	expectWords(t, "pipeline", words(t, s.TakeOut()), "ERROR 40001 ZI ERROR 08007 ZI")
}

func TestAReplayDoesNotCommitBeforeItIsVerified(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	client(t, s, query("commit"))
	s.Lost("gone")
	s.Decided(commit.Aborted)
	if v, _ := s.Settle(); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.Decidable(commit.Marker, [16]byte{15: 1})
	b, ok := s.BeginReplay()
	if !ok || kinds(b) != "QQ" {
		t.Fatalf("sent %s, %v; want BEGIN and INSERT alone", kinds(b), ok)
	}
	s.Attached(nil, 2)
	got, ev := server(t, s, tag("BEGIN"), ready('T'))
	if ev != None || got != "" {
		t.Fatalf("%q, event %v", got, ev)
	}
	got, ev = server(t, s, tag("INSERT 0 1"), ready('T'))
	if ev != Proceed || got != "" {
		t.Fatalf("%q, event %v, want Proceed", got, ev)
	}
	if b := s.Proceed(); kinds(b) != "cpbecSQ" {
		t.Fatalf("then sent %s", kinds(b))
	}
	if e := s.evidence; len(e) != 1 || e[0].Key.Seq != 2 {
		t.Fatalf("evidence %+v: a replay needs a key of its own", e)
	}
	got, _ = server(t, s, append(marked(), ready('T'), tag("COMMIT"), ready('I'))...)
	expectWords(t, "commit", got, "COMMIT ZI")
	if !s.Idle() {
		t.Error("not idle")
	}
}

func TestAReplayedAutocommitWriteIsComparedBeforeItCommits(t *testing.T) {
	for name, msgs := range map[string][]pgproto3.FrontendMessage{
		"extended": extended("insert into t values (1) returning a"),
		"simple":   {query("insert into t values (1) returning a")},
	} {
		t.Run(name, func(t *testing.T) {
			answer := []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns("a"), row("1"), tag("INSERT 0 1")}
			s := marking(t)
			client(t, s, msgs...)
			server(t, s, answer...)
			s.Lost("gone")
			s.Decided(commit.Aborted)
			s.Settle()
			s.Decidable(commit.Marker, [16]byte{15: 1})
			b, ok := s.BeginReplay()
			if want := map[string]string{"extended": "PBDEH", "simple": "PBDECH"}[name]; !ok || kinds(b) != want {
				t.Fatalf("sent %s, %v", kinds(b), ok)
			}
			got, ev := server(t, s, answer...)
			if got != "" || ev != Proceed {
				t.Fatalf("%q, event %v", got, ev)
			}
			if b := s.Proceed(); kinds(b) != "cpbecHS" {
				t.Fatalf("then sent %s", kinds(b))
			}
			got, _ = server(t, s, append(marked(), ready('I'))...)
			expectWords(t, "end", got, "ZI")
			if !s.Idle() {
				t.Error("not idle")
			}

			// And when a sequence has moved on, it never commits.
			s = marking(t)
			client(t, s, msgs...)
			server(t, s, answer...)
			s.Lost("gone")
			s.Decided(commit.Aborted)
			s.Settle()
			s.BeginReplay()
			answer[3] = row("2")
			if got, ev := server(t, s, answer...); ev != Diverged {
				t.Fatalf("%q, event %v", got, ev)
			}
			s.Refuse(Problem{Code: CodeSerialization, Message: "diverged"})
			expectWords(t, "divergence", words(t, s.TakeOut()), "ERROR 40001 ZI")
		})
	}
}

func TestAReplayThatIsLostIsBegunAgain(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	client(t, s, query("commit"))
	s.Lost("gone")
	s.Decided(commit.Aborted)
	s.Settle()
	for range 3 {
		s.Decidable(commit.Marker, [16]byte{15: 1})
		if b, ok := s.BeginReplay(); !ok || kinds(b) != "QQ" {
			t.Fatalf("sent %s, %v", kinds(b), ok)
		}
		server(t, s, tag("BEGIN"), ready('T'))
		if v, _ := s.Lost("gone again"); v != Replay {
			t.Fatalf("verdict %v: the COMMIT was not sent this time", v)
		}
	}
	// Lost when it has caught up and not gone on yet.
	s.BeginReplay()
	if _, ev := server(t, s, tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T')); ev != Proceed {
		t.Fatalf("event %v", ev)
	}
	if v, _ := s.Lost("once more"); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.Decidable(commit.Marker, [16]byte{15: 1})
	s.BeginReplay()
	server(t, s, tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T'))
	s.Proceed()
	// Now the COMMIT is on its way again, under another key.
	if v, _ := s.Lost("and again"); v != Resolve {
		t.Fatalf("verdict %v", v)
	}
	if e, _ := s.Doubt(); e.Key.Seq != 2 {
		t.Errorf("evidence %+v", e)
	}
}

func TestAReplayMeetsADeadlockAndIsBegunAgain(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	s.Lost("gone")
	s.BeginReplay()
	_, ev := server(t, s, tag("BEGIN"), ready('T'), &pgproto3.ErrorResponse{Severity: "ERROR", Code: "40P01"}, ready('E'))
	if ev != Again {
		t.Fatalf("event %v", ev)
	}
	if v, _ := s.Lost("deadlock"); v != Replay {
		t.Fatalf("verdict %v", v)
	}
}

func TestAFailedTransactionIsReplayedForItsSavepoint(t *testing.T) {
	run := func(savepoint bool) *Session {
		s := marking(t)
		inTransaction(t, s)
		if savepoint {
			client(t, s, query("savepoint a"))
			server(t, s, tag("SAVEPOINT"), ready('T'))
		}
		client(t, s, query("select 1/0"))
		server(t, s, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "22012"}, ready('E'))
		return s
	}
	if v, _ := run(false).Lost("gone"); v != Answered {
		t.Errorf("without a savepoint: verdict %v", v)
	}
	s := run(true)
	if v, _ := s.Lost("gone"); v != Replay {
		t.Fatalf("verdict %v", v)
	}
	s.BeginReplay()
	got, ev := server(t, s, tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T'), tag("SAVEPOINT"), ready('T'),
		&pgproto3.ErrorResponse{Severity: "ERROR", Code: "22012", Message: "division by zero"}, ready('E'))
	if got != "" || ev != None || s.Waits() || s.Status() != 'E' {
		t.Fatalf("%q, event %v, waits %v, status %c", got, ev, s.Waits(), s.Status())
	}
}

func TestWhatWasNotSentCanBeGivenAgain(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	m := s.Mark()
	b := fe(t, query("commit"))
	first := kinds(s.Client(b).Bytes())
	s.Sent()
	if !s.Undo(m) {
		t.Fatal("not undone")
	}
	if v, _ := s.Lost("gone"); v != Replay {
		t.Fatalf("verdict %v: the COMMIT was never sent", v)
	}
	s.Decidable(commit.Marker, [16]byte{15: 1})
	if b, _ := s.BeginReplay(); kinds(b) != "QQ" {
		t.Fatalf("replay of %s", kinds(b))
	}
	server(t, s, tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T'))
	if again := kinds(s.Client(b).Bytes()); again != first || again != "cpbecSQ" {
		t.Errorf("sent %s, then %s", first, again)
	}
}

func TestTheKeyStandsInTheInjectedMessages(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	b := s.Client(fe(t, query("commit"))).Bytes()
	var params [][]byte
	eachMessage(b, func(msg []byte) {
		if msg[0] != 'B' {
			return
		}
		var bind pgproto3.Bind
		if err := bind.Decode(msg[5:]); err != nil {
			t.Fatal(err)
		}
		params = bind.Parameters
		if len(bind.ResultFormatCodes) != 0 || binary.BigEndian.Uint32(msg[1:]) != uint32(len(msg)-1) {
			t.Errorf("bind %+v", bind)
		}
	})
	if len(params) != 3 || string(params[0]) != "00000000-0000-0000-0000-000000000001" ||
		strings.TrimLeft(string(params[1]), "0") != "1" || strings.Trim(string(params[2]), "0") != "" {
		t.Errorf("parameters %q", params)
	}
}

func TestACommitAndChainInFlightIsDecided(t *testing.T) {
	s := marking(t)
	inTransaction(t, s)
	client(t, s, query("commit and chain"))
	server(t, s, append(marked(), ready('T'))...)
	if v, _ := s.Lost("gone"); v != Resolve {
		t.Fatal("not to be decided: ", v)
	}
	s.Doubt()
	s.Decided(commit.Committed)
	if v, _ := s.Settle(); v != Answered {
		t.Fatal(v)
	}
	expectWords(t, "the commit", words(t, s.TakeOut()), "COMMIT ZT")
	// The transaction behind it was lost, and had done nothing.
	client(t, s, query("insert into t values (2)"))
	expectWords(t, "what follows", words(t, s.TakeOut()), "ERROR 40001 ZE")
}
