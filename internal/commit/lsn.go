package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/topology"
)

// The first and the longest pause between two questions for a transaction that is still in progress.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 100 * time.Millisecond
)

const identity = Tag + ownPath + `; select pg_catalog.concat_ws(' ', pg_catalog.pg_is_in_recovery(), ` + system + `, ` + boot + `)`

// ruling is what the evidence and the reign say, before the server is asked.
type ruling uint8

const (
	undecidable ruling = iota
	lost               // the commit record did not reach this writer's history, and its transaction id may belong to another by now
	asked              // this writer's history has all that could have been before the commit record: it knows
)

// rule holds the evidence against what was observed of the reign. It is only ever sure of a reign that followed immediately
// the run of the server that the commit was sent to: with another recovery between them, a position in the WAL proves
// nothing.
func rule(e *Evidence, reign *topology.Reign) ruling {
	switch {
	case !e.Answered || e.XID == 0 || e.LSN == 0 || e.Timeline == 0 || e.System == "" || !wholeBoot(e.Boot):
		return undecidable
	case reign.SystemID != e.System:
		return undecidable
	case reign.Boot == e.Boot && reign.Timeline == e.Timeline:
		return asked // the server never stopped; only the connection was lost
	case reign.Before != e.Boot:
		return undecidable
	}
	switch reign.Origin {
	case topology.OriginPromoted:
		if reign.Timeline != e.Timeline+1 || reign.End == 0 {
			return undecidable
		}
	case topology.OriginRecovered:
		if reign.Timeline != e.Timeline || reign.End == 0 {
			return undecidable
		}
	case topology.OriginRestarted:
		if reign.Timeline != e.Timeline {
			return undecidable
		}
		return asked // it wrote down everything before it stopped, and gives no transaction id out again
	default:
		return undecidable
	}
	// The commit record would begin at e.LSN or behind it.
	if e.LSN >= reign.End {
		return lost
	}
	return asked
}

// judge decides by the transaction's id.
func judge(ctx context.Context, q Querier, e *Evidence, reign *topology.Reign) (Outcome, error) {
	r := rule(e, reign)
	if r == undecidable {
		return Unknown, nil
	}
	// The connection may lead to a run of the server that nobody has observed yet, or to a writer that was superseded.
	self, err := q.Query(ctx, identity)
	if err != nil {
		return Unknown, err
	}
	if want := fmt.Sprintf("f %s %s", reign.SystemID, reign.Boot); self != want {
		return Unknown, fmt.Errorf("the server is not the one that is the writer: %q, not %q", self, want)
	}
	if r == lost {
		return Aborted, nil
	}
	return status(ctx, q, e.XID)
}

// status asks for the fate of a transaction until it has one.
func status(ctx context.Context, q Querier, xid uint64) (Outcome, error) {
	sql := fmt.Sprintf(Tag+ownPath+`; select pg_catalog.pg_xact_status('%d'::pg_catalog.xid8)`, xid)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return Unknown, fmt.Errorf("transaction %d is still in progress: %w", xid, context.Cause(ctx))
		}
		state, err := q.Query(ctx, sql)
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "22023" {
			return Unknown, nil // "in the future": the server does not know the id
		}
		if err != nil {
			return Unknown, err
		}
		switch state {
		case answerCommitted:
			return Committed, nil
		case answerAborted:
			return Aborted, nil
		case "in progress":
			timer.Reset(pause)
		default:
			return Unknown, nil // too old
		}
	}
}
