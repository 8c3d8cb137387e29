package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// stored is how often each row of a unit is there.
type stored map[unitID]map[int]int

// audit compares what the ledgers say with the tables of a writer on which no session of the load is left.
func audit(ctx context.Context, conn *pgx.Conn, ledgers []*ledger) ([]Problem, error) {
	if err := endOthers(ctx, conn); err != nil {
		return nil, err
	}
	found, err := readStored(ctx, conn)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	counted := make(map[unitID]int)
	if problems, err = auditCounters(ctx, conn, counted); err != nil {
		return nil, err
	}
	for _, l := range ledgers {
		for _, u := range l.units {
			problems = append(problems, judge(u, found[u.unitID])...)
			if n := counted[u.unitID]; u.op == "tx-counter" && (n > 0) != (found[u.unitID][0] > 0) {
				problems = append(problems, problemOf(u, kindTorn, fmt.Sprintf("%d rows in history, %d in writes", n, found[u.unitID][0])))
			}
			delete(found, u.unitID)
		}
	}
	for id := range found {
		problems = append(problems, Problem{Kind: kindOther, Text: fmt.Sprintf("unit %d-%d is in the tables, and nobody wrote it", id.worker, id.seq)})
	}
	return problems, nil
}

func problemOf(u *unit, kind, text string) Problem {
	return Problem{Kind: kind, Client: u.client, Op: u.op, Text: fmt.Sprintf("unit %d-%d, %v after fault %d: %s; it was told: %q", u.worker, u.seq, u.outcome, u.fault, text, u.told)}
}

// judge compares one unit with its rows.
func judge(u *unit, rows map[int]int) []Problem {
	var problems []Problem
	note := func(kind, format string, args ...any) {
		problems = append(problems, problemOf(u, kind, fmt.Sprintf(format, args...)))
	}
	there, doubled, strange := 0, 0, 0
	for part, n := range rows {
		if part >= u.rows {
			strange++
			continue
		}
		there++
		if n > 1 {
			doubled++
		}
	}
	switch {
	case u.never && len(rows) > 0:
		note(kindRefused, "it was rolled back, and %d rows of it are there", len(rows))
		return problems
	case strange > 0:
		note(kindTorn, "%d rows are there that it had rolled back", strange)
	case there > 0 && there < u.rows:
		note(kindTorn, "%d of %d rows are there", there, u.rows)
	}
	if doubled > 0 {
		note(kindDoubled, "%d rows are there more than once: %v", doubled, rows)
	}
	if u.outcome == Acked && there == 0 && u.rows > 0 {
		note(kindLost, "none of %d rows is there", u.rows)
	}
	if u.outcome == Refused && there > 0 {
		note(kindRefused, "%d of %d rows are there", there, u.rows)
	}
	return problems
}

func readStored(ctx context.Context, conn *pgx.Conn) (stored, error) {
	found := make(stored)
	var id unitID
	var part, n int
	rows, err := conn.Query(ctx, `select worker, seq, part, count(*) from (select worker, seq, part from torture.writes
		union all select worker, seq, part from torture.keyed) t group by 1, 2, 3`)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&id.worker, &id.seq, &part, &n}, func() error {
			if found[id] == nil {
				found[id] = make(map[int]int)
			}
			found[id][part] = n
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("torture: read what is stored: %w", err)
	}
	return found, nil
}

// auditCounters looks for updates that got lost or happened twice: the history of each counter is to be 1, 2, 3 and so on.
func auditCounters(ctx context.Context, conn *pgx.Conn, counted map[unitID]int) ([]Problem, error) {
	var problems []Problem
	var id, n, had, distinct int
	rows, err := conn.Query(ctx, `select c.id, c.n, count(h.n), count(distinct h.n) filter (where h.n between 1 and c.n)
		from torture.counters c left join torture.history h using (id) group by c.id, c.n order by c.id`)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&id, &n, &had, &distinct}, func() error {
			if n != had || n != distinct {
				problems = append(problems, Problem{Kind: kindTorn, Op: "tx-counter", Text: fmt.Sprintf(
					"counter %d is %d, and has %d rows of history, %d of them distinct", id, n, had, distinct)})
			}
			return nil
		})
	}
	var u unitID
	if err == nil {
		rows, err = conn.Query(ctx, "select worker, seq, count(*) from torture.history group by 1, 2")
	}
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&u.worker, &u.seq, &n}, func() error {
			counted[u] = n
			if n > 1 {
				problems = append(problems, Problem{Kind: kindDoubled, Op: "tx-counter", Text: fmt.Sprintf("unit %d-%d has %d rows of history", u.worker, u.seq, n)})
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("torture: read the counters: %w", err)
	}
	return problems, nil
}

// endOthers waits until no session of the load is left, and ends those that stay: what they were sent must have happened or
// not before it is counted.
func endOthers(ctx context.Context, conn *pgx.Conn) error {
	for i := 0; ; i++ {
		what := "count(*)"
		if i > 100 {
			what = "count(pg_terminate_backend(pid))"
		}
		var n int
		if err := conn.QueryRow(ctx, "select "+what+" from pg_stat_activity where usename = 'app' and backend_type = 'client backend'").Scan(&n); err != nil {
			return fmt.Errorf("torture: wait for the end of all sessions: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
