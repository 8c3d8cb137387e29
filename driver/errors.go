package driver

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that decide whether work may be done again.
const (
	stateUndecided     = "08007" // transaction_resolution_unknown
	stateSerialization = "40001" // serialization_failure
	stateDeadlock      = "40P01" // deadlock_detected
)

// IsUndecided reports whether err leaves open what became of the work: its commit was in flight when the connection was
// lost, and nobody can say whether it took effect (SQLSTATE 08007). Do not do the work again without having looked
// whether it is done.
//
// It looks at all errors that err wraps or joins, whichever driver they came from.
func IsUndecided(err error) bool {
	return anyState(err, func(state string) bool { return state == stateUndecided })
}

// IsRetryable reports whether err says that the work took no effect and is worth doing again at once, from the beginning
// of its transaction: a serialization failure, or a transaction that was lost with its server and could not be replayed
// (SQLSTATE 40001), or a deadlock (40P01). It is what [RunTx] and [RunPgxTx] go by.
//
// 08001 is not among them. It says as well that nothing was run, but that no server could be reached in all of
// failover_timeout: whether to wait as long again is the application's to say. An error that is undecided too is not
// retryable.
//
// It looks at all errors that err wraps or joins, whichever driver they came from.
func IsRetryable(err error) bool {
	return !IsUndecided(err) && anyState(err, func(state string) bool {
		return state == stateSerialization || state == stateDeadlock
	})
}

// anyState reports whether an error in the tree of err has a SQLSTATE that matches. errors.As would show no more than the
// first that has one.
func anyState(err error, match func(state string) bool) bool {
	for err != nil {
		if e, ok := err.(interface{ SQLState() string }); ok && match(e.SQLState()) {
			return true
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, joined := range e.Unwrap() {
				if anyState(joined, match) {
					return true
				}
			}
			return false
		default:
			return false
		}
	}
	return false
}

// undecidedError is the error of a COMMIT that has no answer.
type undecidedError struct{ err error }

func (e *undecidedError) Error() string {
	return "whether it took effect is not known: " + e.err.Error()
}

func (e *undecidedError) Unwrap() error { return e.err }

// SQLState makes it an error that IsUndecided knows, like those that the server side of the connection gives.
func (e *undecidedError) SQLState() string { return stateUndecided }

// answered reports whether err is the answer of a server that went on living: what it refuses, it has not done. The last
// words of one that ends the connection say nothing of the work.
func answered(err error) bool {
	var pgx *pgconn.PgError
	if errors.As(err, &pgx) {
		severity := pgx.SeverityUnlocalized
		if severity == "" {
			severity = pgx.Severity
		}
		return severity == "ERROR"
	}
	var pq interface {
		SQLState() string
		Fatal() bool
	}
	return errors.As(err, &pq) && !pq.Fatal()
}
