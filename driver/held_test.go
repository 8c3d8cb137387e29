package driver_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
)

func TestASettingMadeByAFunctionIsNotLostSilently(t *testing.T) {
	c := shared(t)
	ctx := testContext(t)
	setup := open(t, c, c.DSN())
	mustExec(t, setup, `create or replace function be_tenant(name text) returns text language sql as
		$$ select set_config('app.tenant', name, false) $$`)
	const tenant = "select current_setting('app.tenant', true)"
	for _, tc := range []struct{ name, parameters, code string }{
		{"strict", "", "08006"},
		{"tracked", "&track_settings=app.tenant,app.other", ""},
		{"relaxed", "&session_state=relaxed", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := open(t, c, c.DSN()+tc.parameters).Conn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			mustExec(t, conn, "select be_tenant('blue')")
			if got := one(t, ctx, conn, tenant); got != "blue" {
				t.Fatalf("before the loss the tenant is %q", got)
			}
			c.Writer().Front().Reset()
			var now sql.NullString
			err = conn.QueryRowContext(ctx, tenant).Scan(&now)
			if code(err) != tc.code {
				t.Fatalf("after the loss: %q, %v", now.String, err)
			}
			if tc.code != "" {
				if !strings.Contains(err.Error(), "session_state=strict") {
					t.Errorf("the error does not say why: %v", err)
				}
				mustExec(t, conn, "select be_tenant('blue')") // as its hint says
				now.String = one(t, ctx, conn, tenant)
			}
			if tc.name != "relaxed" && now.String != "blue" {
				t.Errorf("after the loss the tenant is %q", now.String)
			}
		})
	}
}

func one(t *testing.T, ctx context.Context, conn *sql.Conn, query string) (value string) {
	t.Helper()
	if err := conn.QueryRowContext(ctx, query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}
