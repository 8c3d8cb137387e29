package pooler_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// What a client's failed pipeline has not made, or not closed, is neither missed nor left for the next one.
func TestAFailedPipelineLeavesNoNames(t *testing.T) {
	parse := func(name string) pgproto3.FrontendMessage { return &pgproto3.Parse{Name: name, Query: "select 1"} }
	wrong := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "select 1/0"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	for name, segments := range map[string][][]pgproto3.FrontendMessage{
		"a name taken twice behind the error": {append(append([]pgproto3.FrontendMessage{}, wrong...), parse("a"), parse("a"), parse("a"))},
		"a name taken again behind the error": {{parse("a")}, append(append([]pgproto3.FrontendMessage{}, wrong...), parse("a"))},
		"a Close behind the error": {
			{&pgproto3.Query{String: "prepare a as select 1"}},
			append(append([]pgproto3.FrontendMessage{}, wrong...), &pgproto3.Close{ObjectType: 'S', Name: "a"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) { cfg.Clusters["main"].VerifyClean = pooler.VerifyOn })
			_, front := session(t, addr)
			for _, messages := range segments {
				for _, m := range messages {
					front.Send(m)
				}
				if _, simple := messages[0].(*pgproto3.Query); !simple {
					front.Send(&pgproto3.Sync{})
				}
				if err := front.Flush(); err != nil {
					t.Fatal(err)
				}
				toReady(t, front)
			}
			other := connect(t, url(shared, addr))
			exec(t, other, "set app.tenant = 'other'")
			if got := value(t, other, "select current_setting('app.tenant')"); got != "other" {
				t.Error(got)
			}
			if got := value(t, other, "select count(*)::text from pg_prepared_statements where name = 'a'"); got != "0" {
				t.Errorf("%s statements of another client's", got)
			}
		})
	}
}

// toReady reads up to a ReadyForQuery, over errors too.
func toReady(t testing.TB, front *pgproto3.Frontend) {
	t.Helper()
	for {
		m, err := front.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return
		}
	}
}
