package boundaries

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// TestWorkIsWhatItsCallerWasTold is the short form of `make boundaries`.
func TestWorkIsWhatItsCallerWasTold(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts two clusters and cuts for a minute: make test runs it")
	}
	for name, cfg := range map[string]Config{
		"marker": {Mode: driver.ResolutionMarker, Clients: []string{clientPgx}, Units: []string{"insert, extended", "commit and chain", "prepared, twice"}},
		"lsn":    {Mode: driver.ResolutionLSN, Clients: []string{clientPQ}, Units: []string{"insert, simple", "select, extended", "read committed"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			cfg.Manners = []front.Manner{front.ResetBoth}
			result, err := Run(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range result.Problems {
				t.Error(p)
			}
			seen := make(map[string]bool)
			for _, a := range result.Accounts {
				for _, p := range a.Places {
					for _, v := range p.Verdicts {
						seen[v] = true
					}
				}
			}
			for _, want := range []string{"replayed", "committed"} {
				if !seen[want] {
					t.Errorf("no cut was %q: there were %v", want, seen)
				}
			}
			if seen["not reached"] {
				t.Error("a cut was not reached")
			}
		})
	}
}

func TestJudgeComparesWhatWasToldWithWhatIsThere(t *testing.T) {
	undecided, refused := &pgconn.PgError{Code: codeUndecided}, &pgconn.PgError{Code: codeSerialization}
	for name, c := range map[string]struct {
		outcome outcome
		want    string
	}{
		"acknowledged and there":     {outcome{told: []told{{sent: true}}, times: []int{1}}, ""},
		"acknowledged and not there": {outcome{told: []told{{sent: true}}, times: []int{0}}, "lost"},
		"twice":                      {outcome{told: []told{{sent: true}}, times: []int{2}}, "doubled"},
		"undecided and there":        {outcome{told: []told{{sent: true, err: undecided}}, times: []int{1}, err: undecided}, ""},
		"undecided and not there":    {outcome{told: []told{{sent: true, err: undecided}}, times: []int{0}, err: undecided}, ""},
		"refused and there":          {outcome{told: []told{{sent: true, err: refused}}, times: []int{1}, err: refused}, "refused but happened"},
		"never sent and there":       {outcome{told: []told{{}}, times: []int{1}, err: refused}, "refused but happened"},
		"never sent and not there":   {outcome{told: []told{{}}, times: []int{0}, err: refused}, ""},
		"half of it":                 {outcome{told: []told{{sent: true}}, times: []int{1}, torn: true}, "a part of it"},
		"an error without a code":    {outcome{told: []told{{sent: true, err: context.Canceled}}, times: []int{0}, err: context.Canceled}, "the caller was told"},
		"a session that is no use":   {outcome{told: []told{{sent: true}}, times: []int{1}, after: refused}, "not usable"},
	} {
		got := strings.Join(c.outcome.judge(&unit{effects: 1}), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}

func TestNoTwoUnitsHaveTheSameName(t *testing.T) {
	seen := make(map[string]bool)
	for _, name := range Units() {
		if seen[name] {
			t.Errorf("two are called %q: the table would mix them up", name)
		}
		seen[name] = true
	}
}

func TestPointsAreBeforeEachMessageAndBehindEachRow(t *testing.T) {
	var got []string
	for _, p := range points([]Message{
		{front.Client, "Query"}, {front.Server, "CommandComplete"}, {front.Server, "ReadyForQuery"}, {front.Client, "Sync"},
	}) {
		got = append(got, p.String())
	}
	want := "before message 1 of the client, after message 1 of the client, before message 2 of the client, after message 2 of the client, " +
		"before message 1 of the server, before message 2 of the server, after message 2 of the server"
	if strings.Join(got, ", ") != want {
		t.Errorf("points are %q", got)
	}
}

func TestPlacesWithTheSameVerdictsAreOneRow(t *testing.T) {
	messages := []Message{{front.Client, "Query BEGIN"}, {front.Server, "ReadyForQuery T"}}
	account := func(client string, verdicts ...string) Account {
		a := Account{Group: "Transactions", Unit: "read committed", Client: client, Messages: messages}
		for i, at := range points(messages) {
			a.Places = append(a.Places, Place{point: at, Verdicts: []string{verdicts[i]}})
		}
		return a
	}
	var b strings.Builder
	if err := WriteTable(&b, []*Result{
		{Mode: driver.ResolutionMarker, Runs: 8, Accounts: []Account{account(clientSQL, "replayed", "replayed", "replayed", "unseen"), account(clientPQ, "replayed", "replayed", "replayed", "unseen")}},
		{Mode: driver.ResolutionLSN, Runs: 8, Accounts: []Account{account(clientSQL, "replayed", "replayed", "40001", "unseen"), account(clientPQ, "replayed", "replayed", "40001", "unseen")}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"16 runs in all, marker and lsn.",
		"| read committed | replayed; unseen | replayed; 40001; unseen |",
		"| database/sql, lib/pq | server | before 1 Query BEGIN … after 1 Query BEGIN | replayed | replayed |",
		"| database/sql, lib/pq | client | before 1 ReadyForQuery T | replayed | 40001 |",
		"| database/sql, lib/pq | client | after 1 ReadyForQuery T | unseen | unseen |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
