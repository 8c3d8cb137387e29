package commit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/topology"
)

// readCommitted makes the transaction of the rest of a query string one that may write and sees what others commit
// meanwhile, whatever the role's defaults are.
const readCommitted = `set transaction isolation level read committed, read write; ` + ownPath

// ownPath has the rest of a query string look for nothing outside the server's own schema.
const ownPath = `set local search_path to pg_catalog`

// resolve decides by the marker: it tries to write the row itself.
func resolve(ctx context.Context, q Querier, e *Evidence, reign *topology.Reign) (Outcome, error) {
	if e.Answered && !e.Marked {
		return Unknown, nil
	}
	answer, err := q.Query(ctx, resolveStatement(ctx, &e.Key, reign))
	if err != nil {
		return Unknown, err
	}
	switch answer {
	case answerCommitted:
		return Committed, nil
	case answerAborted:
		if e.Answered || e.NotReadOnly {
			return Aborted, nil
		}
		return Unknown, nil // a read-only transaction commits without a row
	case answerElsewhere:
		return Unknown, errors.New("the server is not the one that is the writer")
	}
	return Unknown, nil
}

// resolveStatement calls fairlead.resolve. It may have to wait for the old transaction, as long as ctx lasts: the role's own
// timeouts are for other things. When ctx has ended, the server gives up too.
func resolveStatement(ctx context.Context, k *Key, reign *topology.Reign) string {
	timeout := int64(0)
	if end, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(end).Milliseconds(), 1)
	}
	call := fmt.Sprintf(`fairlead.resolve('%s'::pg_catalog.uuid, %d)`, k.session(), k.Seq)
	// A writer that was superseded answers for a history that is no more. Its statistics may have been reset, but not its
	// start.
	if started, _, _ := strings.Cut(reign.Boot, "."); digits(started) {
		call = fmt.Sprintf(`case when %s operator(pg_catalog.=) %s then %s else '%s' end`, bootStart, started, call, answerElsewhere)
	}
	return fmt.Sprintf(Tag+readCommitted+`; set local lock_timeout = 0; set local statement_timeout = %d; select %s`, timeout, call)
}
