package driver_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fairlead-go/fairlead/driver"
)

var (
	errBusiness = errors.New("not enough in the account")
	errCause    = errors.New("the request is over")
)

// runners are both functions, with what f does with its transaction in common.
var runners = []struct {
	name string
	run  func(t testing.TB, ctx context.Context, s *script, f func(commit func() error) error) error
}{
	{"database/sql", func(t testing.TB, ctx context.Context, s *script, f func(func() error) error) error {
		return driver.RunTx(ctx, s.open(t), nil, func(tx *sql.Tx) error { return f(tx.Commit) })
	}},
	{"pgx", func(_ testing.TB, ctx context.Context, s *script, f func(func() error) error) error {
		return driver.RunPgxTx(ctx, pgxScript{s}, pgx.TxOptions{}, func(tx pgx.Tx) error {
			return f(func() error { return tx.Commit(ctx) })
		})
	}},
}

func inBubbles(t *testing.T, run func(t *testing.T, run func(context.Context, *script, func(func() error) error) error)) {
	t.Helper()
	for _, r := range runners {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run(t, func(ctx context.Context, s *script, f func(func() error) error) error {
					return r.run(t, ctx, s, f)
				})
			})
		})
	}
}

// errorsOf is an f that answers with one error after the other, and then with none.
func errorsOf(list ...error) func(func() error) error {
	return func(func() error) error {
		if len(list) == 0 {
			return nil
		}
		err := list[0]
		list = list[1:]
		return err
	}
}

func TestOnlySerializationFailuresAndDeadlocksRunATransactionAgain(t *testing.T) {
	retryable, final := pgError("40001"), pgError("23505")
	for _, c := range []struct {
		name   string
		script script
		f      []error
		want   error
		acts   []string
	}{
		{"no error", script{}, nil, nil, []string{"begin", "commit"}},
		{"f met one, and one of lib/pq's", script{}, []error{retryable, pqError("40P01")}, nil,
			[]string{"begin", "rollback", "begin", "rollback", "begin", "commit"}},
		{"f wraps one", script{}, []error{fmt.Errorf("pay: %w", retryable)}, nil, []string{"begin", "rollback", "begin", "commit"}},
		{"the commit met one", script{commit: []error{retryable}}, nil, nil, []string{"begin", "commit", "begin", "commit"}},
		{"BEGIN met one", script{begin: []error{retryable}}, nil, nil, []string{"begin", "begin", "commit"}},
		{"the rollback fails", script{rollback: []error{io.EOF}}, []error{retryable}, nil, []string{"begin", "rollback", "begin", "commit"}},
		{"f has an error of its own", script{}, []error{errBusiness}, errBusiness, []string{"begin", "rollback"}},
		{"whose rollback meets one", script{rollback: []error{retryable}}, []error{errBusiness}, errBusiness, []string{"begin", "rollback"}},
		{"f met another", script{}, []error{retryable, final}, final, []string{"begin", "rollback", "begin", "rollback"}},
		{"the commit met another", script{commit: []error{final}}, nil, final, []string{"begin", "commit"}},
		{"BEGIN met another", script{begin: []error{final}}, nil, final, []string{"begin"}},
		{"the commit rolled back", script{commit: []error{pgx.ErrTxCommitRollback}}, nil, pgx.ErrTxCommitRollback, []string{"begin", "commit"}},
		{"f met what is undecided", script{}, []error{errors.Join(retryable, pgError("08007"))}, retryable, []string{"begin", "rollback"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
				s := c.script
				s.begin, s.commit, s.rollback = slices.Clone(s.begin), slices.Clone(s.commit), slices.Clone(s.rollback)
				err := run(t.Context(), &s, errorsOf(c.f...))
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				s.expect(t, c.acts...)
			})
		})
	}
}

func TestACommitWithoutAnAnswerIsUndecided(t *testing.T) {
	fatal := &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01"}
	for _, c := range []struct {
		name      string
		err       error
		undecided bool
	}{
		{"the driver's own code", pgError("08007"), true},
		{"the connection was lost", io.ErrUnexpectedEOF, true},
		{"the context ended meanwhile", fmt.Errorf("timeout: %w", context.DeadlineExceeded), true},
		{"the server's last words", fatal, true},
		{"refused", pgError("23505"), false},
		{"refused, by lib/pq's account", pqError("23505"), false},
		{"never sent", pgError("08001"), false},
		{"rolled back", pgx.ErrTxCommitRollback, false},
		{"ended before", sql.ErrTxDone, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
				s := script{commit: []error{c.err}}
				err := run(t.Context(), &s, errorsOf())
				if !errors.Is(err, c.err) || driver.IsUndecided(err) != c.undecided {
					t.Errorf("got %v, undecided: %v, want %v", err, driver.IsUndecided(err), c.undecided)
				}
				s.expect(t, "begin", "commit")
			})
		})
	}
}

func TestTheEndOfTheContextEndsTheAttempts(t *testing.T) {
	retryable := pgError("40001")
	check := func(t *testing.T, err error, want ...error) {
		t.Helper()
		for _, w := range want {
			if !errors.Is(err, w) {
				t.Errorf("got %v, want it to wrap %v", err, w)
			}
		}
		if !driver.IsRetryable(err) || driver.IsUndecided(err) {
			t.Errorf("of %v it is known that nothing was done", err)
		}
	}
	t.Run("between two", func(t *testing.T) {
		inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errCause)
			defer cancel()
			attempts := 0
			err := run(ctx, &script{}, func(func() error) error { attempts++; return retryable })
			check(t, err, retryable, errCause)
			if attempts < 1000 {
				t.Errorf("%d attempts, though there was a deadline", attempts)
			}
		})
	})
	t.Run("in a later one", func(t *testing.T) {
		inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			first := true
			err := run(ctx, &script{}, func(func() error) error {
				if first {
					first = false
					return retryable
				}
				cancel(errCause)
				return ctx.Err()
			})
			check(t, err, retryable, errCause, context.Canceled)
		})
	})
	t.Run("before the commit", func(t *testing.T) {
		inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			s := &script{}
			first := true
			err := run(ctx, s, func(func() error) error {
				if first {
					first = false
					return retryable
				}
				cancel(errCause)
				return nil
			})
			check(t, err, retryable, errCause)
			synctest.Wait() // database/sql rolls back by itself
			s.expect(t, "begin", "rollback", "begin", "rollback")
		})
	})
	t.Run("while it commits", func(t *testing.T) {
		inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := &script{commit: []error{retryable, fmt.Errorf("timeout: %w", context.Canceled)}}
			s.committing = func(attempt int) {
				if attempt == 2 {
					cancel()
				}
			}
			err := run(ctx, s, errorsOf())
			if !driver.IsUndecided(err) || driver.IsRetryable(err) || errors.Is(err, retryable) {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestWithoutADeadlineTheAttemptsAreCounted(t *testing.T) {
	inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
		var at []time.Time
		retryable := pgError("40P01")
		err := run(t.Context(), &script{}, func(func() error) error { at = append(at, time.Now()); return retryable })
		if !errors.Is(err, retryable) || len(at) != 10 {
			t.Errorf("%d attempts, %v", len(at), err)
		}
		// The clock is the bubble's: all of it was spent waiting.
		low, high := 2500*time.Microsecond, 7500*time.Microsecond
		for i := 1; i < len(at); i++ {
			if wait := at[i].Sub(at[i-1]); wait < low || wait > high+1 {
				t.Errorf("%v before attempt %d, want %v to %v", wait, i+1, low, high)
			}
			low, high = min(2*low, 500*time.Millisecond), min(2*high, 1500*time.Millisecond)
		}
	})
}

func TestATransactionThatFHasEndedIsNotRunAgain(t *testing.T) {
	inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
		s := &script{}
		retryable := pgError("40001")
		err := run(t.Context(), s, func(commit func() error) error {
			if err := commit(); err != nil {
				t.Error(err)
			}
			return retryable
		})
		if !errors.Is(err, retryable) {
			t.Errorf("got %v", err)
		}
		s.expect(t, "begin", "commit")
	})
}

func TestAPanicRollsBack(t *testing.T) {
	inBubbles(t, func(t *testing.T, run func(context.Context, *script, func(func() error) error) error) {
		s := &script{}
		func() {
			defer func() {
				if r := recover(); r != "oops" {
					t.Errorf("recovered %v", r)
				}
			}()
			_ = run(t.Context(), s, func(func() error) error { panic("oops") })
		}()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = run(t.Context(), s, func(func() error) error { runtime.Goexit(); return nil })
		}()
		<-done
		s.expect(t, "begin", "rollback", "begin", "rollback")
	})
}

// What RunTx and RunPgxTx are for.
var (
	_                       = func(db *sql.DB) error { return driver.RunTx(context.Background(), db, nil, nil) }
	_                       = func(db *sql.Conn) error { return driver.RunTx(context.Background(), db, nil, nil) }
	_                       = func(db *pgx.Conn) error { return driver.RunPgxTx(context.Background(), db, pgx.TxOptions{}, nil) }
	_                       = func(db *pgxpool.Conn) error { return driver.RunPgxTx(context.Background(), db, pgx.TxOptions{}, nil) }
	_                       = func(db *pgxpool.Pool) error { return driver.RunPgxTx(context.Background(), db, pgx.TxOptions{}, nil) }
	_ sqldriver.ConnBeginTx = scriptConn{}
)
