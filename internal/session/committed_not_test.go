package session

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
)

// Clients go on after a COMMIT that failed as in no transaction: a server has rolled back.
func TestACommitThatFailedHasEndedItsTransaction(t *testing.T) {
	failed := &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "40001"}
	for name, c := range map[string]struct {
		before []string
		msgs   []pgproto3.FrontendMessage
		answer []pgproto3.BackendMessage
		rest   []pgproto3.FrontendMessage // what the client sends after the loss
		want   string
	}{
		"simple":           {msgs: []pgproto3.FrontendMessage{query("commit")}, want: "ZI"},
		"and chain":        {msgs: []pgproto3.FrontendMessage{query("commit and chain")}, want: "ZI"},
		"with a savepoint": {before: []string{"savepoint a"}, msgs: []pgproto3.FrontendMessage{query("commit")}, want: "ZI"},
		"extended": {
			msgs: extended("commit"), answer: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}},
			want: "ZI",
		},
		"extended, its Sync not sent": {
			msgs: extended("commit")[:4], answer: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}},
			rest: []pgproto3.FrontendMessage{&pgproto3.Sync{}}, want: "ZI",
		},
		"with more behind it": {msgs: []pgproto3.FrontendMessage{query("commit"), query("rollback")}, want: "ZI ERROR 40001 ZI"},
		"another statement":   {msgs: []pgproto3.FrontendMessage{query("insert into t values (2)")}, want: "ZE"},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t)
			inTransaction(t, s)
			for _, sql := range c.before {
				client(t, s, query(sql))
				server(t, s, tag("SAVEPOINT"), ready('T'))
			}
			client(t, s, c.msgs...)
			server(t, s, append(c.answer, failed)...)
			if v, _ := s.Lost("gone"); v == Replay {
				s.Refuse(Problem{Code: CodeSerialization, Message: "diverged"}) // the error does not come again
			}
			got := words(t, s.TakeOut())
			if c.rest != nil {
				client(t, s, c.rest...)
				got = words(t, s.TakeOut())
			}
			expectWords(t, "after the loss", got, c.want)
			if (c.want == "ZE") == s.Idle() {
				t.Errorf("idle: %v", s.Idle())
			}
		})
	}
}

// A server that is sent evidence says ParseComplete and BindComplete before it commits, and the client has them then.
func TestACommitOfWhichTheClientHasTheFirstAnswersEndsItsTransaction(t *testing.T) {
	named := []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}}
	for name, c := range map[string]struct {
		prepare bool
		msgs    []pgproto3.FrontendMessage
		given   []pgproto3.BackendMessage
		want    string
	}{
		"none":                 {msgs: extended("commit"), want: "1 2 n ERROR 40001 ZI"},
		"its Parse":            {msgs: extended("commit"), given: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}}, want: "2 n ERROR 40001 ZI"},
		"its Parse and Bind":   {msgs: extended("commit"), given: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}}, want: "n ERROR 40001 ZI"},
		"all before its end":   {msgs: extended("commit"), given: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}}, want: "ERROR 40001 ZI"},
		"prepared":             {prepare: true, msgs: named, want: "2 n ERROR 40001 ZI"},
		"prepared, its Bind":   {prepare: true, msgs: named, given: []pgproto3.BackendMessage{&pgproto3.BindComplete{}}, want: "n ERROR 40001 ZI"},
		"something else there": {msgs: extended("select b from t"), given: []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}}, want: "ERROR 40001 ZE"},
	} {
		t.Run(name, func(t *testing.T) {
			s := marking(t)
			if c.prepare {
				client(t, s, &pgproto3.Parse{Name: "s", Query: "commit"}, &pgproto3.Sync{})
				server(t, s, &pgproto3.ParseComplete{}, ready('I'))
			}
			inTransaction(t, s)
			client(t, s, query("select a from t"))
			server(t, s, row("1"), tag("SELECT 1"), ready('T'))
			client(t, s, c.msgs...)
			server(t, s, c.given...)
			if v, _ := s.Lost("gone"); v == Resolve {
				s.Decided(commit.Aborted)
				s.Settle()
			}
			s.BeginReplay()
			again := []pgproto3.BackendMessage{tag("BEGIN"), ready('T'), tag("INSERT 0 1"), ready('T'), row("2"), tag("SELECT 1"), ready('T')}
			if _, ev := server(t, s, append(again, c.given...)...); ev != Diverged {
				t.Fatalf("event %v", ev)
			}
			s.Refuse(Problem{Code: CodeSerialization, Message: "diverged"})
			expectWords(t, "the divergence", words(t, s.TakeOut()), c.want)
		})
	}
}

func TestATransactionThatWasChainedIsLostAndNotLeft(t *testing.T) {
	for name, c := range map[string]struct {
		msgs   []pgproto3.FrontendMessage
		answer []pgproto3.BackendMessage
		want   string
	}{
		"simple":              {[]pgproto3.FrontendMessage{query("commit and chain")}, []pgproto3.BackendMessage{tag("COMMIT")}, "ZT"},
		"simple, in a string": {[]pgproto3.FrontendMessage{query("commit; begin; commit and chain")}, []pgproto3.BackendMessage{tag("COMMIT"), tag("BEGIN"), tag("COMMIT")}, "ZT"},
		"extended": {extended("commit and chain"), []pgproto3.BackendMessage{
			&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, tag("COMMIT"),
		}, "ZT"},
		"ended": {[]pgproto3.FrontendMessage{query("commit")}, []pgproto3.BackendMessage{tag("COMMIT")}, "ZI"},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t)
			inTransaction(t, s)
			client(t, s, c.msgs...)
			server(t, s, c.answer...)
			v, _ := s.Lost("gone")
			if v != Answered {
				t.Fatalf("verdict %v", v)
			}
			expectWords(t, "after the loss", words(t, s.TakeOut()), c.want)
			if c.want == "ZI" {
				return
			}
			client(t, s, query("insert into t values (2)"))
			client(t, s, query("rollback"))
			expectWords(t, "then", words(t, s.TakeOut()), "ERROR 40001 ZE ROLLBACK ZI")
		})
	}
}
