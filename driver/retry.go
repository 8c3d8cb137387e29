package driver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
)

// maxAttempts bounds how often a transaction is run that has no deadline. RunTx documents it.
const maxAttempts = 10

// The wait before another attempt grows from the first to the longest.
const (
	firstWait   = 5 * time.Millisecond
	longestWait = time.Second
)

// RunTx runs f in a transaction of db, a *sql.DB or *sql.Conn, and commits it. When f returns an error, panics, or ends
// its goroutine, the transaction is rolled back.
//
// It runs all of it again, in a new transaction, when [IsRetryable] is true of the error that BeginTx, f or the commit
// returned: SQLSTATE 40001 or 40P01 somewhere in it, and nowhere 08007. It does so for no other error. So that this is
// right and possible:
//
//   - f may run several times. It sets what it gives back anew each time, and has no effects but through tx.
//   - f returns the errors of the statements that it runs, wrapped or not. An error that it swallows makes the commit
//     fail, and is not seen here.
//   - f leaves commit and rollback to RunTx. If it does either itself, its error is final, for the work may be done.
//
// Between attempts it waits, for a random time around 5 ms that doubles up to around one second. It goes on until ctx
// ends, or, if ctx has no deadline, until ten attempts have failed or ctx is canceled.
//
// An error of f that is final is returned as it is. If it is ctx that ends the attempts, the error wraps its cause and the
// last error that was retryable.
//
// An error for which [IsUndecided] is true means that the transaction may have been committed: those with SQLSTATE 08007,
// and those of a commit that got no answer at all, because ctx ended meanwhile or because the connection was lost to a
// driver that leaves it at that. Any other error means that RunTx has not committed it.
func RunTx(ctx context.Context, db interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}, opts *sql.TxOptions, f func(tx *sql.Tx) error) error {
	return repeat(ctx, func() (attempt, error) {
		tx, err := db.BeginTx(ctx, opts)
		if err != nil {
			return attempt{}, err
		}
		return attempt{work: func() error { return f(tx) }, commit: tx.Commit, rollback: tx.Rollback}, nil
	})
}

// RunPgxTx is [RunTx] for pgx's own interface: db is a *pgx.Conn, *pgxpool.Conn or *pgxpool.Pool. A *pgx.Conn that is
// closed stays so: the attempt that follows fails.
func RunPgxTx(ctx context.Context, db interface {
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}, opts pgx.TxOptions, f func(tx pgx.Tx) error) error {
	return repeat(ctx, func() (attempt, error) {
		tx, err := db.BeginTx(ctx, opts)
		if err != nil {
			return attempt{}, err
		}
		return attempt{
			work:     func() error { return f(tx) },
			commit:   func() error { return tx.Commit(ctx) },
			rollback: func() error { return tx.Rollback(ctx) },
		}, nil
	})
}

// attempt is a transaction that was begun.
type attempt struct{ work, commit, rollback func() error }

// repeat runs transactions until one is committed or its error is final.
func repeat(ctx context.Context, begin func() (attempt, error)) error {
	_, bounded := ctx.Deadline()
	var waits *backoff.ExponentialBackOff
	var last error
	for n := 1; ; n++ {
		again, err := once(ctx, begin)
		switch {
		case err == nil:
			return nil
		case !again:
			if last != nil && endedBy(ctx, err) && !IsUndecided(err) {
				return fmt.Errorf("fairlead: transaction not run again: %w: %w", withCause(ctx, err), last)
			}
			return err
		case !bounded && n == maxAttempts:
			return fmt.Errorf("fairlead: transaction failed %d times: %w", n, err)
		}
		last = err
		if waits == nil {
			waits = backoff.NewExponentialBackOff(
				backoff.WithInitialInterval(firstWait), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0.5),
				backoff.WithMaxInterval(longestWait), backoff.WithMaxElapsedTime(0),
			)
		}
		if err := sleep(ctx, waits.NextBackOff()); err != nil {
			return fmt.Errorf("fairlead: transaction not run again: %w: %w", err, last)
		}
	}
}

// endedBy reports whether an error came of the end of ctx.
func endedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

func withCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once runs one transaction, and reports whether another may be run for its error.
func once(ctx context.Context, begin func() (attempt, error)) (again bool, err error) {
	a, err := begin()
	if err != nil {
		return IsRetryable(err), fmt.Errorf("fairlead: begin a transaction: %w", err)
	}
	returned := false
	defer func() {
		if !returned {
			_ = a.rollback() // the panic says more
		}
	}()
	err = a.work()
	returned = true
	if err == nil && ctx.Err() != nil {
		// A commit that was sent would be in doubt when it is cut off at once.
		err = context.Cause(ctx)
	}
	if err != nil {
		// A rollback that fails changes nothing: the transaction ends with its connection. But one that finds the
		// transaction ended was preceded by f's own, which may have been a commit.
		ended := isEnded(a.rollback()) && ctx.Err() == nil
		return !ended && IsRetryable(err), err
	}
	if err := a.commit(); err != nil {
		return IsRetryable(err), fmt.Errorf("fairlead: commit: %w", outcome(err))
	}
	return false, nil
}

// outcome marks the error of a commit as undecided if it is. What pgx says of an error being safe to retry is not asked
// for: it says so as well of a connection that was lost over a reply.
func outcome(err error) error {
	if IsUndecided(err) || IsRetryable(err) || answered(err) || isEnded(err) || errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	return &undecidedError{err}
}

func isEnded(err error) bool { return errors.Is(err, sql.ErrTxDone) || errors.Is(err, pgx.ErrTxClosed) }
