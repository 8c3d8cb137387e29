package commit

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairlead-go/fairlead/topology"
)

// Decide finds out what became of a commit whose answer was lost. It asks the proven writer, over a connection that is
// logged in, idle and has the client's synchronous_commit; reign is that of the epoch in which the connection was opened.
// After Committed, the answer may be given; after Aborted, the work may be sent again. An error comes with Unknown and says
// why this attempt led to nothing; another one, over another connection, may lead further while time lasts. Unknown without
// an error is final.
//
// What the server has not decided yet is waited for until ctx ends.
func Decide(ctx context.Context, q Querier, e Evidence, reign topology.Reign) (Outcome, error) {
	var o Outcome
	var err error
	switch e.Mode {
	case Marker:
		o, err = resolve(ctx, q, &e, &reign)
	case LSN:
		o, err = judge(ctx, q, &e, &reign)
	}
	if err != nil {
		return Unknown, fmt.Errorf("commit: decide by %v: %w", e.Mode, err)
	}
	if o == Committed {
		// On the same server a commit shows before its synchronous standby has it.
		if err := Barrier(ctx, q, e.Mode); err != nil {
			return Unknown, err
		}
	}
	return o, nil
}

const (
	markerBarrier = Tag + readCommitted + `; select fairlead.barrier()`
	lsnBarrier    = Tag + ownPath + `; select pg_catalog.pg_logical_emit_message(true, 'fairlead', '')`
)

// Barrier waits until everything that is committed on the server is as durable as the connection's synchronous_commit asks
// for: it commits something itself. Before work is replayed on the server where its first attempt ran, it keeps the replay
// from building on what a failover would take away. For Off there is nothing that could be committed, and it returns at
// once.
//
// A cancel request for the connection must not be sent while it runs: PostgreSQL then ends the wait with no more than a
// warning.
func Barrier(ctx context.Context, q Querier, m Mode) error {
	sql := ""
	switch m {
	case Marker:
		sql = markerBarrier
	case LSN:
		sql = lsnBarrier
	default:
		return nil
	}
	if _, err := q.Query(ctx, sql); err != nil {
		return fmt.Errorf("commit: wait for what is committed to be durable: %w", err)
	}
	return nil
}

// wholeBoot tells whether both parts of a boot are known. Without the second, a recovery from a crash cannot be seen.
func wholeBoot(boot string) bool {
	started, reset, ok := strings.Cut(boot, ".")
	return ok && digits(started) && digits(reset)
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
