package pooler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/pooler"
)

// What a text leaves in its session stays there, however long the text is and however it comes: no other client meets it, and the
// client has it, or learns that it has not.
func TestALongTextLeavesNothingWithOthers(t *testing.T) {
	const (
		inForce = "select current_setting('search_path')"
		held    = "select (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())::text" +
			" || (select count(*) from pg_cursors)::text || (select count(*) from pg_class where relnamespace = pg_my_temp_schema())::text" +
			" || (select count(*) from pg_listening_channels())::text"
	)
	_, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize, cfg.Clusters["main"].BorrowTimeout = 2, 20*time.Second
	})
	other := connect(t, url(shared, addr))
	exec(t, other, `create schema if not exists unread; create or replace function unread.enter(v text) returns text language sql as
		$$ select set_config('search_path', v, false) $$`, pgx.QueryExecModeSimpleProtocol)
	cleanPath, cleanHeld := value(t, other, inForce), value(t, other, held)
	for _, size := range []int{100 << 10, 300 << 10, 3 << 19} {
		long := "'" + strings.Repeat("x", size) + "'"
		comment := "/*" + long + "*/"
		for _, c := range []struct {
			name     string
			before   []string
			sql      string
			extended bool
			path     string // what the client has to have then, if not what it began with
		}{
			{name: "set first", sql: "set search_path = unread; select " + long, path: "unread"},
			{name: "set last", sql: "select " + long + "; set search_path = unread", path: "unread"},
			{name: "set behind a comment", sql: comment + " set search_path = unread", path: "unread", extended: true},
			{name: "set and reset", sql: "set search_path = unread; select " + long + "; reset search_path"},
			{name: "discard all", before: []string{"set search_path = unread"}, sql: comment + " discard all"},
			{name: "set_config", sql: "select set_config('search_path', 'unread', false), " + long, path: "unread", extended: true},
			{name: "set_config behind it", sql: "select " + long + "; select set_config('search_path', 'unread', false)", path: "unread"},
			{name: "a function", sql: "select unread.enter('unread'), " + long, path: "unread", extended: true},
			{name: "a function behind it", sql: "select " + long + "; select unread.enter('unread')", path: "unread"},
			{name: "a committed transaction", sql: "begin; set search_path = unread; select " + long + "; commit", path: "unread"},
			{name: "a transaction rolled back", sql: "begin; set search_path = unread; select " + long + "; rollback"},
			{name: "commit and set", before: []string{"begin"}, sql: "select " + long + "; commit; set search_path = unread", path: "unread"},
			{name: "rollback to a savepoint", before: []string{"begin", "set search_path = unread", "savepoint a"}, sql: comment + " rollback to a", path: "unread", extended: true},
			{name: "savepoint", before: []string{"begin"}, sql: comment + " savepoint a; set search_path = unread; rollback to a; select 1"},
			{name: "release", before: []string{"begin", "savepoint a", "savepoint b", "set search_path = unread"}, sql: comment + " release b", path: "unread", extended: true},
			{name: "a lock", sql: "select pg_advisory_lock(4711), " + long, extended: true},
			{name: "a cursor", sql: comment + " declare c cursor with hold for select 1", extended: true},
			{name: "a temporary table", sql: comment + " create temp table tt(a int)", extended: true},
			{name: "listen", sql: comment + " listen unread", extended: true},
			{name: "prepare", sql: comment + " prepare unread_p as select 1", extended: true},
			{name: "execute", before: []string{"prepare unread_e as select set_config('search_path', 'unread', false)"}, sql: comment + " execute unread_e", path: "unread"},
		} {
			for _, extended := range []bool{false, true} {
				if extended && !c.extended {
					continue
				}
				t.Run(fmt.Sprintf("%s, %d kB, extended %t", c.name, size>>10, extended), func(t *testing.T) {
					conn := connect(t, url(shared, addr))
					defer func() { _ = conn.Close(context.Background()) }()
					for _, sql := range append(c.before, c.sql) {
						mode := pgx.QueryExecModeSimpleProtocol
						if extended {
							mode = pgx.QueryExecModeExec
						}
						exec(t, conn, sql, mode)
					}
					if len(c.before) > 0 && c.before[0] == "begin" {
						exec(t, conn, "commit", pgx.QueryExecModeSimpleProtocol)
					}
					for range 3 {
						if path, rest := value(t, other, inForce), value(t, other, held); path != cleanPath || rest != cleanHeld {
							t.Errorf("another client has search_path = %s, and holds %s", path, rest)
						}
					}
					want := c.path
					if want == "" {
						want = cleanPath
					}
					var got string
					err := conn.QueryRow(testContext(t), inForce, pgx.QueryExecModeSimpleProtocol).Scan(&got)
					var pg *pgconn.PgError
					if errors.As(err, &pg) && pg.Code == "08006" {
						return
					}
					if err != nil || got != want {
						t.Errorf("the client has search_path = %s, %v: want %s", got, err, want)
					}
				})
			}
		}
	}
}
