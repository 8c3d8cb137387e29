package catalog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
)

func TestANameCountsWhereverItMayStand(t *testing.T) {
	long := strings.Repeat("x", 70)
	s := newSnapshot([]string{"orders", "Mixed", `odd "name`, long[:63]})
	for text, want := range map[string]bool{
		"insert into orders values (1)":               true,
		"INSERT INTO public.Orders values (1)":        true,
		`insert into "orders" values (1)`:             true,
		`insert into"orders"values (1)`:               true,
		"insert into orders_2 values (1)":             false,
		"insert into my_orders values (1)":            false,
		"insert into reorders values (1)":             false,
		`update "Mixed" set n = 1`:                    true,
		`delete from "odd ""name"`:                    true,
		`delete from "odd name"`:                      false,
		`insert into U&"ord\0065rs" values (1)`:       true,
		"insert into " + long + " values (1)":         true,
		"insert into t select 1 /* not of orders */":  true,
		"insert into t values ('plain')":              false,
		"insert into t(a,b)values(1,2)returning a, b": false,
	} {
		if got := s.MayBeRuled([]byte(text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
	if !(*Snapshot)(nil).MayBeRuled([]byte("insert into t values (1)")) {
		t.Error("what was not read is taken for plain")
	}
	if newSnapshot(nil).MayBeRuled([]byte(`insert into U&"t" values (1)`)) {
		t.Error("there are no rules")
	}
	if !newSnapshot([]string{"größe"}).MayBeRuled([]byte("insert into gr\xf6\xdfe values (1)")) {
		t.Error("the client's encoding is another one")
	}
}

// conn asks a server.
type conn struct{ *pgx.Conn }

func (c conn) Query(ctx context.Context, sql string) (answer string, err error) {
	err = c.QueryRow(ctx, sql).Scan(&answer)
	return answer, err
}

func TestWhatHasRulesIsReadFromTheServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	var cache Cache
	ruled := func(name string) bool {
		t.Helper()
		s := cache.Load()
		if err := cache.Renew(ctx, conn{admin}, func(error) bool { return false }); err != nil {
			t.Fatal(err)
		}
		if s == nil {
			s = cache.Load()
		}
		return s.MayBeRuled([]byte("insert into " + name + " values (1)"))
	}
	do := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		cache.Forget()
	}
	do("create table plain (n int); create table watched (n int); create view seen as select * from watched")
	for _, name := range []string{"plain", "watched", "seen"} {
		if ruled(name) {
			t.Errorf("%s has no rules", name)
		}
	}
	do("create schema other; create table other.watched_2 (n int); create rule r as on insert to watched do also select 1; create rule r as on update to other.watched_2 do instead nothing")
	for name, want := range map[string]bool{"plain": false, "watched": true, "watched_2": true, "seen": true} {
		if got := ruled(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
	cache.Forget()
	failed := errors.New("lost")
	if err := cache.Renew(ctx, failing{failed}, func(error) bool { return false }); !errors.Is(err, failed) || !cache.Wanted() || cache.Load() != nil {
		t.Errorf("after an error (%v) it must still be unknown and wanted", err)
	}
	if err := cache.Renew(ctx, failing{failed}, func(error) bool { return true }); err != nil || cache.Wanted() || !ruled("plain") {
		t.Errorf("what a server does not tell (%v) is unknown, and not asked for again at once", err)
	}
}

type failing struct{ err error }

func (f failing) Query(context.Context, string) (string, error) { return "", f.err }
