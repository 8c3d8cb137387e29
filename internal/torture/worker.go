package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// worker runs one operation after the other.
type worker struct {
	ledger
	id      int
	rng     *rand.Rand
	pools   *pools
	names   []string         // of the clients
	lines   map[string]*line // to those of other languages
	load    []operation
	faults  *atomic.Int64
	op      string
	client  string
	last    int // the last unit that was acknowledged and has left a row 0 in torture.writes; -1: none
	begun   atomic.Int64
	ended   atomic.Int64
	current atomic.Pointer[string] // what it is at
}

// modes are pgx's ways to run a statement. One is chosen for each session.
var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	pgx.QueryExecModeSimpleProtocol,
}

// run works until stop is closed.
func (w *worker) run(ctx context.Context, stop <-chan struct{}) {
	total := 0
	for _, o := range w.load {
		total += o.weight
	}
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(w.rng.IntN(6)) * time.Millisecond):
		}
		n := w.rng.IntN(total)
		for _, o := range w.load {
			if n -= o.weight; n < 0 {
				w.do(ctx, o)
				break
			}
		}
	}
}

func (w *worker) do(ctx context.Context, o operation) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	w.op, w.client = o.name, w.names[w.rng.IntN(len(w.names))]
	s := w.session()
	defer s.release()
	now := w.client + "/" + w.op + " since " + time.Now().Format("15:04:05.000")
	w.current.Store(&now)
	w.begun.Add(1)
	defer w.ended.Add(1)
	from := len(w.units)
	o.run(ctx, w, s)
	for _, u := range w.units[from:] {
		if !u.ended {
			w.end(u, errors.New("the operation did not get to it"), false)
		}
	}
}

func (w *worker) session() session {
	switch w.client {
	case clientSQL:
		return &sqlSession{db: w.pools.SQL}
	case clientPQ:
		return &sqlSession{db: w.pools.PQ}
	case clientPgx:
		return &pgxSession{pool: w.pools.pgx, mode: modes[w.rng.IntN(len(modes))]}
	case clientPooler:
		return &pgxSession{pool: w.pools.shared, mode: modes[w.rng.IntN(len(modes))]}
	}
	return w.languageSession()
}

func (w *worker) isolation() string { return isolation[w.rng.IntN(len(isolation))] }

// unit begins a unit that leaves this many rows.
func (w *worker) unit(rows int) *unit {
	u := &unit{unitID: unitID{w.id, len(w.units)}, op: w.op, client: w.client, rows: rows}
	w.units = append(w.units, u)
	return u
}

// end notes what the caller of a unit was told.
func (w *worker) end(u *unit, err error, commitSent bool) {
	u.ended, u.outcome, u.fault = true, outcomeOf(err, commitSent), int(w.faults.Load())
	u.expected = expected(err, commitSent)
	if err != nil {
		u.told = describe(err)
	}
	if !u.expected {
		w.problem(u, kindOther, fmt.Sprintf("unit %d-%d was told: %s", u.worker, u.seq, u.told))
	}
	if u.outcome == Acked && u.rows > 0 && !strings.Contains(u.op, "keyed") {
		w.last = u.seq
	}
}

// skip ends a unit that was not begun, for a reason that is another unit's.
func (w *worker) skip(u *unit, err error) {
	u.ended, u.outcome, u.fault, u.expected = true, Refused, int(w.faults.Load()), true
	u.told = "not begun: " + describe(err)
}

// fail ends a unit that did not get to begin, and reports whether that is so.
func (w *worker) fail(u *unit, err error) bool {
	if err != nil {
		w.end(u, err, false)
	}
	return err != nil
}

// must notes an error of what cannot fail for want of a server.
func (w *worker) must(u *unit, err error) {
	if err != nil {
		w.problem(u, kindOther, fmt.Sprintf("clean up after unit %d-%d (%s): %s", u.worker, u.seq, u.told, describe(err)))
	}
}

// compare checks what was delivered.
func (w *worker) compare(u *unit, err error, got []string, want ...string) {
	if err == nil && !slices.Equal(got, want) {
		w.problem(u, kindOther, fmt.Sprintf("unit %d-%d was given %v, want %v", u.worker, u.seq, got, want))
	}
}
