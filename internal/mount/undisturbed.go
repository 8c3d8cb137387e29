package mount

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/backend"
)

// On a server connection the settings of the session that has it, or had it before, are in force. A statement_timeout of a few
// milliseconds can end the mount's own statements on a busy machine: then they are run again, and where they may change it, without it.

// timeless has the rest of a query string run without statement_timeout, which stays as it is afterwards.
const timeless = "SET LOCAL statement_timeout TO 0; "

// attempts bounds how often a statement is run that statement_timeout ends.
const attempts = 5

// undisturbed runs SQL that changes nothing if it is ended.
func undisturbed(ctx context.Context, up *backend.Upstream, sql string) (first string, err error) {
	for range attempts {
		if first, err = up.Query(ctx, sql); !isTimedOut(err) {
			break
		}
	}
	return first, err
}

// restoreSettings brings a connection to settings. What it was left with counts no more.
func restoreSettings(ctx context.Context, up *backend.Upstream, sql string) error {
	_, err := up.Query(ctx, sql)
	if stateOf(err) == "26000" {
		return errUnclean // what was to be deallocated for the next session is not there
	}
	if !isTimedOut(err) {
		return err
	}
	if _, err := undisturbed(ctx, up, "SET statement_timeout TO 0"); err != nil {
		return err
	}
	_, err = undisturbed(ctx, up, sql)
	return err
}

// isTimedOut reports whether a server has ended a statement over a timeout of the session's.
func isTimedOut(err error) bool { return stateOf(err) == "57014" }

// stateOf returns the SQLSTATE of a server's error, an empty string where there is none.
func stateOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
