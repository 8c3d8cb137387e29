package pooler_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/pooler"
)

// A client that would have too much kept is refused that, by name, and goes on.
func TestAClientKeepsNoMoreThanItMay(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) {
		cfg.ClientMemoryLimit, cfg.Clusters["main"].PoolSize, cfg.Logger = 1<<20, 3, nil
	}))
	long := strings.Repeat("x", 20_000)
	for name, c := range map[string]struct {
		first, sql string // %d is the number of the round
		free       string
	}{
		"settings":        {sql: "set app.x%d = '" + long + "'", free: "reset all"},
		"small settings":  {sql: "set app.x%d = 'x'", free: "reset all"},
		"set_config":      {sql: "select set_config('app.x%d', '" + long + "', false)", free: "reset all"},
		"a large setting": {sql: "set app.x%d = '" + strings.Repeat("x", 500_000) + "'", free: "reset all"},
		"channels":        {sql: "listen c%d", free: "unlisten *"},
		"savepoints":      {first: "begin", sql: "savepoint s%d", free: "rollback"},
		"SQL's PREPARE":   {sql: "prepare p%d as select '" + long + "'", free: "deallocate all"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, url(shared, addr)).PgConn()
			run := func(sql string) error {
				_, err := conn.Exec(testContext(t), sql).ReadAll()
				return err
			}
			if err := run(c.first); err != nil {
				t.Fatal(err)
			}
			err := error(nil)
			for i := 0; i < 12_000 && err == nil; i++ {
				err = run(fmt.Sprintf(c.sql, i))
			}
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "54000" || pg.Severity != "ERROR" || !strings.Contains(pg.Message, "client_memory_limit") {
				t.Fatalf("it is not refused: %v", err)
			}
			if c.first == "" {
				if err := run("select 1"); err != nil {
					t.Errorf("the client does not go on: %v", err)
				}
			}
			if err := run(c.free); err != nil {
				t.Errorf("%s: %v", c.free, err)
			}
			if err := run(c.first); err != nil {
				t.Fatal(err)
			}
			if err := run(fmt.Sprintf(c.sql, 1)); err != nil && name != "a large setting" {
				t.Errorf("after %s: %v", c.free, err)
			}
		})
	}
	t.Run("statements", func(t *testing.T) {
		conn := connect(t, url(shared, addr))
		var err error
		n := 0
		for ; n < 1000 && err == nil; n++ {
			_, err = conn.Prepare(testContext(t), fmt.Sprint("s", n), fmt.Sprintf("select %d, '%s'", n, long))
		}
		if code(err) != "54000" || n < 20 {
			t.Fatalf("after %d statements: %v", n, err)
		}
		value(t, conn, "select 'the client goes on'", pgx.QueryExecModeExec)
		if err := conn.Deallocate(testContext(t), "s0"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Prepare(testContext(t), "again", "select '"+long+"'"); err != nil {
			t.Errorf("behind a Close: %v", err)
		}
	})
	t.Run("one statement", func(t *testing.T) {
		conn := connect(t, url(shared, addr))
		for _, name := range []string{"", "named"} {
			if _, err := conn.PgConn().Prepare(testContext(t), name, "select '"+strings.Repeat("x", 3<<20)+"'", nil); code(err) != "54000" {
				t.Errorf("statement %q: %v", name, err)
			}
			value(t, conn, "select 'the client goes on'")
		}
	})
	t.Run("what is not kept may be large", func(t *testing.T) {
		conn := connect(t, url(shared, addr))
		size := 20 << 20
		if got := value(t, conn, "select length($1::text)::text", pgx.QueryExecModeExec, strings.Repeat("x", size)); got != fmt.Sprint(size) {
			t.Errorf("%s of %d bytes", got, size)
		}
		if got := value(t, conn, "select length('"+strings.Repeat("x", size)+"')::text", pgx.QueryExecModeSimpleProtocol); got != fmt.Sprint(size) {
			t.Errorf("%s of %d bytes", got, size)
		}
		exec(t, conn, "create temp table large(t text)")
		if _, err := conn.PgConn().CopyFrom(testContext(t), strings.NewReader(strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 20)), "copy large from stdin"); err != nil {
			t.Error(err)
		}
	})
}

// However many requests a client sends before it takes an answer, not much is kept of them.
func TestAnEndlessPipelineIsAnsweredAsItGoes(t *testing.T) {
	_, addr := start(t, shared, shared.DSN(), plain(func(cfg *pooler.Config) { cfg.Logger = nil }))
	for name, msgs := range map[string][]pgproto3.FrontendMessage{
		"Sync":            {&pgproto3.Sync{}},
		"Query":           {&pgproto3.Query{}},
		"without Sync":    {&pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Close{ObjectType: 'P', Name: "p"}},
		"Close of nobody": {&pgproto3.Close{ObjectType: 'S', Name: strings.Repeat("z", 500)}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, front := session(t, addr)
			front.Send(&pgproto3.Parse{Query: "select 1"})
			if err := front.Flush(); err != nil {
				t.Fatal(err)
			}
			var b []byte
			for _, m := range msgs {
				var err error
				if b, err = m.Encode(b); err != nil {
					t.Fatal(err)
				}
			}
			const rounds = 100_000
			sent := make(chan error, 1)
			go func() {
				all := []byte(strings.Repeat(string(b), rounds))
				_, err := conn.Write(all)
				end, _ := (&pgproto3.Sync{}).Encode(nil)
				end, _ = (&pgproto3.Query{String: "select 'the end'"}).Encode(end)
				if err == nil {
					_, err = conn.Write(end)
				}
				sent <- err
			}()
			for {
				msg, err := front.Receive()
				if err != nil {
					t.Fatal(err)
				}
				if row, ok := msg.(*pgproto3.DataRow); ok && string(row.Values[0]) == "the end" {
					break
				}
				if e, ok := msg.(*pgproto3.ErrorResponse); ok && e.Severity == "FATAL" {
					t.Fatalf("%s: %s", e.Code, e.Message)
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}
