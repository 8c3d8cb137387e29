package torture

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
)

// Outcome is what the caller of a unit of work was told.
type Outcome uint8

// What a caller can be told.
const (
	Acked     Outcome = iota // it happened
	Refused                  // it did not happen
	Undecided                // SQLSTATE 08007: nobody knows
	Failed                   // an error that says neither
)

// String returns the constant's name in lower case.
func (o Outcome) String() string {
	return [...]string{"acked", "refused", "undecided", "failed"}[o]
}

// The SQLSTATEs that a caller is to expect.
const (
	codeUndecided     = "08007"
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeChangedResult = "0A000"
)

// outcomeOf says what follows from an error. Before its commit is sent, nothing of a unit can have happened, whatever
// the error says; that of a statement that commits by itself is sent with it.
func outcomeOf(err error, commitSent bool) Outcome {
	code := sqlState(err)
	switch {
	case err == nil:
		return Acked
	case code == codeUndecided && commitSent:
		return Undecided
	case !commitSent:
		return Refused
	case code == "", strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "XX"):
		return Failed
	}
	return Refused
}

// expected reports whether an application that was told of what this package promises has to be prepared for the error.
func expected(err error, commitSent bool) bool {
	switch sqlState(err) {
	case codeSerialization, codeDeadlock:
		return true
	case codeUndecided:
		return commitSent
	}
	return err == nil
}

// sqlState is the code that an error has from a server or from the driver.
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	var p *pq.Error
	if errors.As(err, &p) {
		return string(p.Code)
	}
	var l *languageError
	if errors.As(err, &l) {
		return l.code
	}
	return ""
}

// describe is an error with everything that a server or the driver has said.
func describe(err error) string {
	if err == nil {
		return ""
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.TrimSuffix(fmt.Sprintf("%v; %s", err, pg.Detail), "; ")
	}
	var p *pq.Error
	if errors.As(err, &p) {
		return strings.TrimSuffix(fmt.Sprintf("%s (SQLSTATE %s); %s", p.Message, p.Code, p.Detail), "; ")
	}
	var l *languageError
	if errors.As(err, &l) {
		return l.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "hung: " + err.Error()
	}
	return fmt.Sprintf("%v (%T)", err, err)
}

var varying = regexp.MustCompile(`app-\d+|\d+\.\d+\.\d+\.\d+(:\d+)?|:\d+|0x[0-9a-f]+|\b\d{3,}\b|->`)

// reason is an error without what differs from one time to the next.
func reason(text string) string { return varying.ReplaceAllString(text, "*") }
