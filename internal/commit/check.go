package commit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Querier runs SQL by the simple protocol and returns the first column of the first row, "" when there is none. Errors of the
// server are *pgconn.PgError.
type Querier interface {
	Query(ctx context.Context, sql string) (first string, err error)
}

const (
	// checkMarker runs the statement and takes its row back. It writes even if the role's transactions are read-only by
	// default: its client may ask for others.
	checkMarker      = Tag + `begin; select ` + tryMark + `; rollback`
	checkMarkerWrite = Tag + `begin read write; select ` + tryMark + `; rollback`
	tryMark          = `pg_catalog.concat_ws(' ', pg_catalog.pg_is_in_recovery(), fairlead.mark(pg_catalog.gen_random_uuid(), 1, 0))`

	isAurora = `exists (select from pg_catalog.pg_proc where proname operator(pg_catalog.=) 'aurora_replica_status')`
	// A function that runs with its caller's rights is none that Migration has made: whoever may create a schema could have put it there.
	hasMark = `exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace` +
		` where n.nspname operator(pg_catalog.=) 'fairlead' and p.proname operator(pg_catalog.=) 'mark' and p.prosecdef)`
	// offer asks what may be tried, so that what cannot work does not put an error into the server's log at each login.
	offer = Tag + `select pg_catalog.concat_ws(' ', case when ` + hasMark + ` then 'marker' end, case when not ` + isAurora + ` then 'lsn' end)`
)

// UnusableError says that a server and a role do not allow what the setting asks for. Trying again does not help.
type UnusableError struct {
	Setting Setting
	Advice  string // what can be done about it
	Err     error
}

// Error tells what was refused, and what can be done about it.
func (e *UnusableError) Error() string {
	return fmt.Sprintf("commit: commit_resolution=%s does not work here: %v (%s)", e.Setting, e.Err, e.Advice)
}

// Unwrap returns the server's error.
func (e *UnusableError) Unwrap() error { return e.Err }

const (
	adviceMarker = "run what `fairlead commits-table` prints once in this database, as a role that may create a schema, or set commit_resolution=auto"
	adviceLSN    = "it needs PostgreSQL 13 or later with PostgreSQL's own replication; elsewhere commit_resolution=marker works"
)

// Check finds the mode for a connection that is logged in, idle and outside of a transaction, by running the very statement
// that will be injected: one that failed there would undo the client's work. It leaves nothing behind. A setting other than
// auto that does not work is an [*UnusableError]. Any other error is of a kind that may pass: it tells nothing of how
// commits can be decided.
func Check(ctx context.Context, q Querier, s Setting) (Mode, error) {
	mode, advice := Marker, adviceMarker
	switch s {
	case SettingOff:
		return Off, nil
	case SettingAuto, "":
		return checkAuto(ctx, q)
	case SettingMarker:
	case SettingLSN:
		mode, advice = LSN, adviceLSN
	default:
		_, err := ParseSetting(string(s))
		return Off, err
	}
	switch err := try(ctx, q, mode); {
	case err == nil:
		return mode, nil
	case refused(err):
		return Off, &UnusableError{Setting: s, Advice: advice, Err: err}
	default:
		return Off, fmt.Errorf("commit: check the %v statement: %w", mode, err)
	}
}

func checkAuto(ctx context.Context, q Querier) (Mode, error) {
	offered, err := q.Query(ctx, offer)
	if err != nil && !refused(err) {
		return Off, fmt.Errorf("commit: ask how commits can be decided: %w", err)
	}
	for _, mode := range []Mode{Marker, LSN} {
		if !strings.Contains(offered, mode.String()) {
			continue
		}
		err := try(ctx, q, mode)
		if err == nil {
			return mode, nil
		}
		if !refused(err) {
			return Off, fmt.Errorf("commit: check the %v statement: %w", mode, err)
		}
	}
	return Off, nil
}

// try runs the statement of a mode.
func try(ctx context.Context, q Querier, m Mode) error {
	if m == Marker {
		return tryMarker(ctx, q)
	}
	return tryLSN(ctx, q)
}

// tryMarker tells whether markers can be written.
func tryMarker(ctx context.Context, q Querier) error {
	for _, sql := range []string{checkMarker, checkMarkerWrite} {
		answer, err := q.Query(ctx, sql)
		if err != nil {
			// A string that fails leaves its transaction behind, if it leaves a connection.
			if _, end := q.Query(ctx, "rollback"); end != nil && refused(err) {
				return end
			}
			return err
		}
		replica, answer, _ := strings.Cut(answer, " ")
		var e Evidence
		if err := e.readMarker([]byte(answer)); err != nil {
			return &answerError{err}
		}
		if e.Marked || replica == "t" {
			return nil // what a replica is, it refuses to everybody alike: there will be no commit to decide
		}
	}
	return &answerError{errors.New("every transaction is read-only")}
}

// tryLSN tells whether transaction ids and positions in the WAL can be read.
func tryLSN(ctx context.Context, q Querier) error {
	answer, err := q.Query(ctx, strings.Replace(lsnStatement, "$1", "true", 1))
	if err != nil {
		return err
	}
	var e Evidence
	if err := e.readLSN([]byte(answer)); err != nil {
		return &answerError{err}
	}
	if e.LSN != 0 {
		return nil
	}
	// A replica does not run the functions in question, and may be promoted while its connections live on.
	aurora, err := q.Query(ctx, Tag+`select `+isAurora)
	if err == nil && aurora != "f" {
		return &answerError{errors.New("an Aurora replica has no log of its own")}
	}
	return err
}

// answerError is an answer that makes a mode unusable.
type answerError struct{ error }

// Unwrap returns the underlying error.
func (e *answerError) Unwrap() error { return e.error }

// refused tells answers that will be the same next time from failures that may pass.
func refused(err error) bool {
	if answer := (*answerError)(nil); errors.As(err, &answer) {
		return true
	}
	pg := (*pgconn.PgError)(nil)
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return false
	}
	switch pg.SeverityUnlocalized {
	case "FATAL", "PANIC":
		return false
	}
	switch pg.Code[:2] {
	case "08", "40", "53", "57", "58": // connection, rollback, resources, intervention (also a statement timeout), system
		return false
	}
	return true
}
