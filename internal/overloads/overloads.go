// Package overloads is for tests: it fills a schema with what has the names of the server's own operators, functions and types.
package overloads

import (
	"context"
	_ "embed"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

//go:embed overloads.sql
var script string

// Install has a role that may create things in the schema public, and nothing else, put there what takes the place of the server's own for everybody
// whose search path has public in front, which it makes the database's. The connection is a superuser's, and goes on with pg_catalog for
// its search path.
func Install(t testing.TB, ctx context.Context, admin *pgx.Conn) {
	t.Helper()
	if _, err := admin.Exec(ctx, script); err != nil {
		t.Fatal(err)
	}
}

// Seen is what of it has run so far, and as whom: whatever ran as a superuser is left out.
func Seen(t testing.TB, ctx context.Context, admin *pgx.Conn) []string {
	t.Helper()
	var runs int64
	if err := admin.QueryRow(ctx, "select case when is_called then last_value else 0 end from public.runs").Scan(&runs); err != nil {
		t.Fatal(err)
	}
	rows, err := admin.Query(ctx, "select distinct who || ': ' || what from public.seen order by 1")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if runs > 0 { // what was rolled back is counted all the same
		seen = append(seen, fmt.Sprintf("%d in all", runs))
	}
	return seen
}
