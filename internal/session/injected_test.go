package session

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

func TestTheInjectedStatementIsPreparedOnce(t *testing.T) {
	write := extended("insert into t values (1)")
	again := marked()[2:] // without those of Close and Parse
	answer := []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("INSERT 0 1")}
	commits := func(t *testing.T, s *Session, want string, evidence []pgproto3.BackendMessage) {
		t.Helper()
		if got := sends(t, s, write...); got != want {
			t.Fatalf("sent %s, want %s", got, want)
		}
		server(t, s, append(append(answer[:4:4], evidence...), ready('I'))...)
	}
	const first, next = "PBDEcpbecHS", "PBDEbecHS"
	for name, c := range map[string]struct {
		between func(t *testing.T, s *Session)
		kept    bool
	}{
		"nothing":          {func(*testing.T, *Session) {}, true},
		"another read":     {func(t *testing.T, s *Session) { run(t, s, "select 1", "SELECT 1") }, true},
		"a setting":        {func(t *testing.T, s *Session) { run(t, s, "set app.a = '1'", "SET") }, true},
		"DEALLOCATE":       {func(t *testing.T, s *Session) { run(t, s, "deallocate x", "DEALLOCATE") }, false},
		"DEALLOCATE ALL":   {func(t *testing.T, s *Session) { run(t, s, "deallocate all", "DEALLOCATE ALL") }, false},
		"DISCARD ALL":      {func(t *testing.T, s *Session) { run(t, s, "discard all", "DISCARD ALL") }, false},
		"a block of code":  {func(t *testing.T, s *Session) { run(t, s, "do $$begin execute 'deallocate all'; end$$", "DO") }, false},
		"several at once":  {func(t *testing.T, s *Session) { run(t, s, "select 1; deallocate all", "SELECT 1", "DEALLOCATE ALL") }, false},
		"another upstream": {func(_ *testing.T, s *Session) { s.FailNext(Problem{}); s.local = local{} }, false},
		"another mode":     {func(_ *testing.T, s *Session) { s.Decidable(commit.Off, s.key); s.Decidable(commit.Marker, s.key) }, false},
		"a call from the server's side": {func(t *testing.T, s *Session) {
			client(t, s, &pgproto3.FunctionCall{Function: 1})
			server(t, s, &pgproto3.FunctionCallResponse{}, ready('I'))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := marking(t)
			commits(t, s, first, marked())
			commits(t, s, next, again)
			c.between(t, s)
			if c.kept {
				commits(t, s, next, again)
			} else {
				commits(t, s, first, marked())
				commits(t, s, next, again)
			}
		})
	}
	t.Run("it goes away while it is on its way", func(t *testing.T) {
		s := marking(t)
		if got := sends(t, s, append(write, query("deallocate all"))...); got != "PBDEcpbecHSQ" {
			t.Fatalf("sent %s", got)
		}
		server(t, s, append(append(answer[:4:4], marked()...), ready('I'), tag("DEALLOCATE ALL"), ready('I'))...)
		commits(t, s, first, marked())
	})
	t.Run("it is not prepared in a transaction that has failed", func(t *testing.T) {
		s := marking(t)
		sends(t, s, write...)
		server(t, s, append(answer[:3:3], &pgproto3.ErrorResponse{Severity: "ERROR", Code: "23505"}, ready('I'))...)
		commits(t, s, first, marked())
	})
	t.Run("a function has taken it away", func(t *testing.T) {
		for _, q := range [][]pgproto3.FrontendMessage{write, {query("insert into t values (1)")}} {
			s := marking(t)
			commits(t, s, first, marked())
			sends(t, s, q...)
			out, _ := server(t, s, append(answer[:4:4], &pgproto3.ErrorResponse{Severity: "ERROR", Code: "26000", Message: "gone"}, ready('I'))...)
			if !strings.Contains(out, CodeSerialization) || strings.Contains(out, "26000") || s.ProbeError != Unprepared {
				t.Errorf("the client got %q, and %q", out, s.ProbeError)
			}
			commits(t, s, first, marked())
			commits(t, s, first, marked())
		}
	})
}

// run is a simple Query and its answer.
func run(t *testing.T, s *Session, sql string, tags ...string) {
	t.Helper()
	client(t, s, query(sql))
	var msgs []pgproto3.BackendMessage
	for _, text := range tags {
		msgs = append(msgs, tag(text))
	}
	server(t, s, append(msgs, ready('I'))...)
}

func TestAStatementThatARuleMayRewriteIsLeftAsItIs(t *testing.T) {
	for sql, want := range map[string]string{
		"insert into ruled values (1)":                           "Q",
		"with a as (select 1) insert into ruled select * from a": "Q",
		"insert into plain values (1)":                           "PBDECcpbecHS",
		"select pay(1) /* ruled */":                              "PBDECcpbecHS",
	} {
		s := marking(t)
		s.MayBeRuled = func(text []byte) bool { return strings.Contains(string(text), "ruled") }
		if got := sends(t, s, query(sql)); got != want {
			t.Errorf("%s: sent %s, want %s", sql, got, want)
		}
	}
}
