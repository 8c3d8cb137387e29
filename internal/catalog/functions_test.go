package catalog

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
)

func TestFunctionsAreJudgedByTheCatalogs(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	conn, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, name := range []string{"isn", "pg_trgm", "citext", "hstore", "tablefunc", "dblink", "cube", "earthdistance"} {
		if _, err := conn.Exec(ctx, "create extension "+name); err != nil {
			t.Fatal(err)
		}
	}
	_, postgis := conn.Exec(ctx, "create extension postgis")
	if _, err := conn.Exec(ctx, `
		create function public.mine(int) returns int language sql as 'select $1';
		create schema other;
		create function other.similarity(int) returns int language sql as 'select 1';
		create or replace function public.earth() returns float8 language sql as $$select length(set_config('a.b', 'x', false))::float8$$;
		create aggregate public.akeys(text, bool) (sfunc = pg_catalog.set_config, stype = text)`); err != nil {
		t.Log(err)
	}
	var f Functions
	if f.Harmless([]string{"is_valid"}) || f.Fresh() {
		t.Error("it knows what nobody has told")
	}
	var text string
	if err := conn.QueryRow(ctx, FunctionsQuery).Scan(&text); err != nil {
		t.Fatal(err)
	}
	if err := f.Learn(text, f.Generation()); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"is_valid": true, "isbn13": true, "isn_weak": false, "show_trgm": true, "set_limit": false, "regexp_match": true, "strpos": true,
		"exist": true, "crosstab": false, "connectby": false, "dblink": false, "dblink_connect": false, "mine": false, "similarity": false,
		"earth": false, "translate": true, "earth_distance": false, "earth_box": false, "ll_to_earth": false, "no_such_function": false, "lower": false,
	}
	if postgis == nil {
		for _, name := range []string{"st_makepoint", "st_dwithin", "st_distance", "st_intersects", "st_asgeojson", "st_area", "st_buffer", "st_transform",
			"st_extent", "st_collect", "st_union", "st_setsrid", "st_x", "st_geomfromtext", "st_astext", "st_contains", "st_makeenvelope"} {
			want[name] = true
		}
		want["addgeometrycolumn"] = false
	} else {
		t.Log("without PostGIS:", postgis)
	}
	for name, harmless := range want {
		if f.Harmless([]string{name}) != harmless {
			t.Errorf("%s: harmless is %t", name, !harmless)
		}
	}
	if f.Harmless(nil) || f.Harmless([]string{"is_valid", "mine"}) || !f.Harmless([]string{"is_valid", "isbn13"}) {
		t.Error("all of the names have to be harmless")
	}
	if f.Changed(); f.Harmless([]string{"is_valid"}) {
		t.Error("what was changed counts as known")
	}
}
