package pooler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// A server does not go on with what nobody waits for, however long the statement is.
func TestALongStatementEndsWithItsClient(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.Clusters["main"].PoolSize = 3 }))
	watch := connect(t, url(shared, addr))
	running := func() string {
		return value(t, watch, "select count(*)::text from pg_stat_activity where state = 'active' and query like '%desert' || 'ed%'")
	}
	for _, size := range []int{0, 30 << 10, 100 << 10, 2 << 20} {
		long := strings.Repeat("x", size)
		for name, msgs := range map[string][]pgproto3.FrontendMessage{
			"a query": {&pgproto3.Query{String: "select pg_sleep(300), 'deserted' /*" + long + "*/"}},
			"a portal": {&pgproto3.Parse{Query: "select pg_sleep(300), 'deserted', $1::text"},
				&pgproto3.Bind{Parameters: [][]byte{[]byte(long)}}, &pgproto3.Execute{}, &pgproto3.Sync{}},
			"a portal without Sync": {&pgproto3.Parse{Query: "select pg_sleep(300), 'deserted', $1::text"},
				&pgproto3.Bind{Parameters: [][]byte{[]byte(long)}}, &pgproto3.Execute{}, &pgproto3.Flush{}},
		} {
			t.Run(fmt.Sprintf("%s of %d bytes", name, size), func(t *testing.T) {
				conn, front := session(t, addr)
				for _, m := range msgs {
					front.Send(m)
				}
				if err := front.Flush(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the statement runs", func() bool { return running() == "1" })
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the statement is canceled", func() bool { return running() == "0" })
			})
		}
	}
}
