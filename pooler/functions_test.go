package pooler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// extensionsCluster has extensions, as a superuser makes them, in a schema of their own.
func extensionsCluster(t *testing.T, names ...string) (*rdstest.Cluster, *pgx.Conn) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	admin, err := c.AdminConn(testContext(t), c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(testContext(t)) })
	for _, name := range names {
		if _, err := admin.Exec(testContext(t), `create extension "`+name+`"`); err != nil {
			t.Skipf("the extension %s is not installed: %v", name, err)
		}
	}
	return c, admin
}

// twenty clients call functions, and hold their connections for no longer than that.
func twentyCall(t *testing.T, s *pooler.Server, dsn string, calls ...string) {
	t.Helper()
	for range 20 {
		conn := connect(t, dsn)
		for _, sql := range calls {
			exec(t, conn, sql)
			exec(t, conn, sql, pgx.QueryExecModeSimpleProtocol)
		}
	}
	if st := s.Stats(); st.Pinned != 0 || len(st.Pins) != 0 {
		t.Errorf("%d sessions are pinned by calls of %s: %v", st.Pinned, calls, st.Pins)
	}
}

func TestFunctionsOfExtensionsDoNotPin(t *testing.T) {
	c, _ := extensionsCluster(t, "isn", "pg_trgm", "citext", "hstore", "uuid-ossp", "cube", "earthdistance", "unaccent")
	s, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize, cfg.Clusters["main"].BorrowTimeout = 2, 15*time.Second
	})
	twentyCall(t, s, url(c, addr), "select is_valid('978-0-393-04002-9'::isbn13)", "select isbn13('0-393-04002-X')", "select similarity('a', 'b')",
		"select 'a=>1'::hstore -> 'a', akeys('a=>1')", "select uuid_generate_v4()", "select regexp_match('a'::citext, 'A'::citext)",
		"select earth_distance(ll_to_earth(1, 2), ll_to_earth(2, 3))", "select unaccent('é')")
}

func TestFunctionsOfPostGISDoNotPin(t *testing.T) {
	c, _ := extensionsCluster(t, "postgis")
	s, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize, cfg.Clusters["main"].BorrowTimeout = 2, 15*time.Second
	})
	twentyCall(t, s, url(c, addr), "select st_asgeojson(st_setsrid(st_makepoint(1, 2), 4326))",
		"select st_distance(st_makepoint(1, 2), st_makepoint(3, 4)), st_dwithin(st_makepoint(1, 2), st_makepoint(3, 4), 5)",
		"select st_extent(st_makepoint(1, 2)), st_collect(st_makepoint(1, 2))", "select public.st_intersects(st_makepoint(1, 2), st_makepoint(1, 2))")
}

func TestFunctionsThatMaySetSomethingPin(t *testing.T) {
	c, admin := extensionsCluster(t, "isn")
	exec(t, admin, "grant create on database "+pgx.Identifier{admin.Config().Database}.Sanitize()+" to app; grant create on schema public to app")
	for name, make := range map[string]string{
		"an overload in another schema":       "create schema other; create function other.is_valid(text) returns bool language plpgsql as $$begin perform set_config('work_mem', '7MB', false); return true; end$$",
		"one of an extension's that sets":     "",
		"an aggregate over a user's function": "create function public.step(int, int) returns int language plpgsql as $$begin return 1; end$$; create aggregate public.is_valid(int) (sfunc = public.step, stype = int)",
		"a function made after the question":  "late",
	} {
		t.Run(name, func(t *testing.T) {
			defer exec(t, admin, "drop schema if exists other cascade; drop aggregate if exists public.is_valid(int); drop function if exists public.step(int, int)")
			if make != "" && make != "late" {
				exec(t, admin, make)
			}
			s, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) { cfg.Clusters["main"].PoolSize = 3 })
			conn := connect(t, url(c, addr))
			call := "select is_valid('978-0-393-04002-9'::isbn13)"
			switch make {
			case "":
				call = "select isn_weak(true)"
			case "late":
				exec(t, conn, call)
				if st := s.Stats(); st.Pinned != 0 {
					t.Fatalf("pinned before: %v", st.Pins)
				}
				other := connect(t, url(c, addr))
				exec(t, other, strings.ReplaceAll("create schema other; create function other.is_valid(text) returns bool language plpgsql as $$begin return true; end$$", ";", ";"), pgx.QueryExecModeSimpleProtocol)
			}
			exec(t, conn, call)
			if st := s.Stats(); st.Pinned != 1 {
				t.Errorf("%d sessions are pinned: %v", st.Pinned, st.Pins)
			}
			_ = conn.Close(testContext(t))
		})
	}
}
