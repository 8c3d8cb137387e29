package session

import (
	"testing"

	"github.com/fairlead-go/fairlead/internal/commit"
)

func TestACallWithoutReplayHoldsForItsUnits(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      func(t *testing.T, s *Session)
		verdict Verdict
		words   string
	}{
		{"in the call", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("select 1"))
		}, Answered, "ERROR 40001 ZI"},
		{"in its second unit", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("select 1"))
			server(t, s, tag("SELECT 1"), ready('I'))
			client(t, s, query("select 2"))
		}, Answered, "ERROR 40001 ZI"},
		{"after a call within the call", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			s.BeginWithoutReplay()
			client(t, s, query("select 1"))
			server(t, s, tag("SELECT 1"), ready('I'))
			s.EndWithoutReplay()
			client(t, s, query("select 2"))
		}, Answered, "ERROR 40001 ZI"},
		{"after the call, in its transaction", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			s.EndWithoutReplay()
			client(t, s, query("insert into t values (1)"))
		}, Answered, "ERROR 40001 ZE"},
		{"after the call, in the transaction that was open before", func(t *testing.T, s *Session) {
			inTransaction(t, s)
			s.BeginWithoutReplay()
			client(t, s, query("select 1"))
			server(t, s, tag("SELECT 1"), ready('T'))
			s.EndWithoutReplay()
			client(t, s, query("select 1"))
		}, Answered, "ERROR 40001 ZE"},
		{"before the call's first message", func(_ *testing.T, s *Session) { s.BeginWithoutReplay() }, Idle, ""},
		{"in a write", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("insert into t values (1)"))
		}, Answered, "ERROR 08007 ZI"},
		{"after the call", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("select 1"))
			server(t, s, tag("SELECT 1"), ready('I'))
			s.EndWithoutReplay()
			client(t, s, query("select 1"))
		}, Replay, ""},
		{"after its transaction", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			s.EndWithoutReplay()
			client(t, s, query("commit"))
			server(t, s, tag("COMMIT"), ready('I'))
			client(t, s, query("select 1"))
		}, Replay, ""},
		{"after a call that sent nothing", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			s.EndWithoutReplay()
			client(t, s, query("select 1"))
		}, Replay, ""},
		{"after one whose end was told twice", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			s.EndWithoutReplay()
			s.EndWithoutReplay()
			client(t, s, query("select 1"))
		}, Replay, ""},
		{"after one that was canceled", func(t *testing.T, s *Session) {
			s.BeginWithoutReplay()
			client(t, s, query("select 1"))
			s.NoReplay()
			server(t, s, tag("SELECT 1"), ready('I'))
			s.EndWithoutReplay()
			client(t, s, query("select 1"))
		}, Replay, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := idle(t)
			c.do(t, s)
			if v, _ := s.Lost("gone"); v != c.verdict {
				t.Errorf("verdict %v, want %v", v, c.verdict)
			}
			expectWords(t, c.name, words(t, s.TakeOut()), c.words)
		})
	}
}

func TestACommitInDoubtIsDecidedThoughNothingIsReplayed(t *testing.T) {
	s := marking(t)
	s.BeginWithoutReplay()
	inTransaction(t, s)
	client(t, s, query("commit"))
	server(t, s, append(marked(), ready('T'))...)
	if v, _ := s.Lost("gone"); v != Resolve {
		t.Fatalf("verdict %v, want %v", v, Resolve)
	}
	s.Decided(commit.Aborted)
	if v, _ := s.Settle(); v != Answered {
		t.Errorf("verdict %v, want %v", v, Answered)
	}
	expectWords(t, "an aborted commit", words(t, s.TakeOut()), "ERROR 40001 ZI")
}
