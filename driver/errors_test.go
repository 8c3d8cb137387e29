package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/fairlead-go/fairlead/driver"
)

func pgError(code string) error {
	return &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "made up"}
}

func pqError(code pqerror.Code) error {
	return &pq.Error{Severity: "ERROR", Code: code, Message: "made up"}
}

func TestErrorsSayWhetherTheWorkMayBeDoneAgain(t *testing.T) {
	for _, c := range []struct {
		name                 string
		err                  error
		undecided, retryable bool
	}{
		{"none", nil, false, false},
		{"no SQLSTATE", io.EOF, false, false},
		{"serialization failure", pgError("40001"), false, true},
		{"deadlock", pgError("40P01"), false, true},
		{"undecided", pgError("08007"), true, false},
		{"unique violation", pgError("23505"), false, false},
		{"rolled back for another reason", pgError("40003"), false, false},
		{"no server could be reached", pgError("08001"), false, false},
		{"of lib/pq, serialization failure", pqError("40001"), false, true},
		{"of lib/pq, undecided", pqError("08007"), true, false},
		{"wrapped", fmt.Errorf("pay: %w", fmt.Errorf("insert: %w", pgError("40001"))), false, true},
		{"wrapped with another", fmt.Errorf("pay: %w: %w", context.Canceled, pgError("40P01")), false, true},
		{"behind another that has a SQLSTATE", errors.Join(pgError("23505"), pgError("40001")), false, true},
		{"undecided behind a retryable one", errors.Join(pgError("40001"), fmt.Errorf("log: %w", pgError("08007"))), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := driver.IsUndecided(c.err); got != c.undecided {
				t.Errorf("IsUndecided(%v) = %v", c.err, got)
			}
			if got := driver.IsRetryable(c.err); got != c.retryable {
				t.Errorf("IsRetryable(%v) = %v", c.err, got)
			}
		})
	}
}
