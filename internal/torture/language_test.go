package torture

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/fairlead-go/fairlead/internal/clients"
	"github.com/fairlead-go/fairlead/rdstest"
)

// TestLanguagesSayWhatTheirClientsWereTold has each program do what operations are made of.
func TestLanguagesSayWhatTheirClientsWereTold(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	missing := make(map[string]error)
	for _, l := range languages {
		missing[l.name] = Missing(ctx, l.name)
	}
	if len(languages) == countErrors(missing) {
		t.Skip("there is no client of another language: scripts/setup-languages installs them")
	}
	cluster, err := rdstest.New(ctx, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	dc, err := clients.Config(cluster, rdstest.Replication, map[string]string{"commit_resolution": "off"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			if err := missing[l.name]; err != nil {
				t.Skip(err)
			}
			front, err := openPooler(ctx, dc, Config{Workers: 3}, metric.NewMeterProvider())
			if err != nil {
				t.Fatal(err)
			}
			closed := false
			end := func() {
				if !closed {
					closed = true
					if err := front.close(); err != nil {
						t.Error(err)
					}
				}
			}
			defer end()
			p, err := l.start()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.stop(); err != nil {
					t.Error(err)
				}
			}()
			for _, named := range []bool{false, true} {
				conn := &line{program: p, pooler: front}
				says(ctx, t, &bulkSession{copySession{languageSession{line: conn, named: named}}})
				conn.close(ctx)
			}
			lost := &languageSession{line: &line{program: p, pooler: front}}
			if err := lost.exec(ctx, "select 1"); err != nil {
				t.Fatal(err)
			}
			end()
			if err := lost.exec(ctx, "select 1"); err == nil {
				t.Error("a statement without a pooler did not fail")
			}
			if lost.line.name != "" && lost.exec(ctx, "select 1") == nil {
				t.Error("a connection that was lost is still used")
			}
		})
	}
}

func countErrors(m map[string]error) (n int) {
	for _, err := range m {
		if err != nil {
			n++
		}
	}
	return n
}

// says checks one session.
func says(ctx context.Context, t *testing.T, s *bulkSession) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	has := func(query string, want ...string) {
		t.Helper()
		got, err := s.query(ctx, query)
		must(err)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	fails := func(err error, code string) {
		t.Helper()
		if sqlState(err) != code {
			t.Errorf("got %v, want SQLSTATE %s", err, code)
		}
	}
	must(s.exec(ctx, "drop table if exists said; create table said (v int unique deferrable initially deferred, w text)"))
	must(s.exec(ctx, "insert into said values ($2::int - $1, '100%')", 2, 9))
	must(s.prepared(ctx, "insert into said values ($1)", []any{8}, []any{9}))
	has("select v::text from said order by v", "7", "8", "9")
	fails(s.exec(ctx, "select 1/0"), "22012")
	fails(s.exec(ctx, "select 1/$1::int", 0), "22012")
	_, err := s.query(ctx, "select 1/$1::int", 0)
	fails(err, "22012")

	for iso, want := range map[string]string{readCommitted: readCommitted, serializable: serializable} {
		must(s.begin(ctx, iso))
		has("select current_setting('transaction_isolation')", want)
		must(s.exec(ctx, "delete from said"))
		must(s.rollback(ctx))
		must(s.begin(ctx, iso))
		must(s.exec(ctx, "delete from said where v = $1", 9))
		must(s.exec(ctx, "insert into said values (9)"))
		must(s.commit(ctx))
	}
	has("select count(*)::text from said", "3")

	// A commit that fails ends its transaction: what comes next commits by itself.
	must(s.begin(ctx, readCommitted))
	must(s.exec(ctx, "insert into said values ($1)", 9))
	fails(s.commit(ctx), "23505")
	must(s.exec(ctx, "delete from said where v = $1", 8))
	must(s.begin(ctx, readCommitted))
	must(s.rollback(ctx))
	has("select count(*)::text from said", "2")

	command := s.line.program.cmd.Args[0]
	if command == "node" {
		return
	}
	var want []string
	if command == "java" {
		must(s.batch(ctx, "insert into said values ($1)", []any{20}, []any{21}))
		fails(s.batch(ctx, "insert into said values (12 / $1)", []any{1}, []any{0}), "22012")
		want = []string{"20", "21"}
	}
	must(s.copyIn(ctx, "said", []string{"v", "w"}, [][]any{{30, "a"}, {31, "b"}}))
	fails(s.copyIn(ctx, "said", []string{"v"}, [][]any{{"x"}}), "22P02")
	has("select v::text from said where v > 9 order by v", append(want, "30", "31")...)
}
