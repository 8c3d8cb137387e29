package pooler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A server has told a client of its own notifications before it says that it is ready again.
func TestOnesOwnNotificationsStandBeforeReadyForQuery(t *testing.T) {
	_, addr := start(t, shared, shared.DSN()+"&session_state=relaxed", nil)
	admin := connect(t, url(shared, addr))
	exec(t, admin, `create table told (n int);
		create function tell() returns trigger language plpgsql as $$ begin notify own; return new; end $$;
		create function tell_of(text) returns int language plpgsql as $$ begin perform pg_notify('own', $1); return 1; end $$;
		create trigger t before insert on told for each row execute function tell()`)
	defer exec(t, admin, "drop table told; drop function tell, tell_of")
	conn, front := session(t, addr)
	run := func(sql string, extended bool) string {
		t.Helper()
		if extended {
			batch(front, sql)
			front.Send(&pgproto3.Sync{})
		} else {
			front.Send(&pgproto3.Query{String: sql})
		}
		if err := front.Flush(); err != nil {
			t.Fatal(err)
		}
		return heard(t, conn, front)
	}
	run("listen own", false)
	run("select 1", false) // the pool receives what is notified by now
	for i := range 10 {
		for _, c := range []struct {
			sql      string
			extended bool
		}{
			{"notify own, '%d'", false}, {"notify own, '%d'", true}, {"select pg_notify('own', '%d')", true}, {"select tell_of('%d')", false},
			{"insert into told values (%d)", true}, {"begin; notify own, '%d'; commit", false},
		} {
			sql := fmt.Sprintf(c.sql, i)
			if got := run(sql, c.extended); !strings.HasSuffix(got, " NotificationResponse ZI") {
				t.Errorf("%s: got %q, want the notification before the end", sql, got)
			}
		}
	}
	run("begin", false)
	if got := run("notify own, 'x'", false); got != "NOTIFY ZT" {
		t.Errorf("in a transaction: %q", got)
	}
	if got := run("commit", false); got != "COMMIT NotificationResponse ZI" {
		t.Errorf("at its end: %q", got)
	}
	if got := run("begin; notify own, 'y'; rollback", false); strings.Contains(got, "Notification") {
		t.Errorf("rolled back: %q", got)
	}
}
