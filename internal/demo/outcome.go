package demo

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// undecided is the SQLSTATE transaction_resolution_unknown.
const undecided = "08007"

// outcome says what a caller may conclude from an error. Before its commit is sent, a write has no effect, whatever the
// error says; for a statement that commits by itself, sending it is sending the commit.
func outcome(err error, commitSent bool) Outcome {
	if err == nil {
		return Acked
	}
	code := sqlState(err)
	var connect *pgconn.ConnectError
	switch {
	case code == undecided:
		return Undecided
	case !commitSent, errors.As(err, &connect):
		return Refused
	case code != "":
		if endsSession(code) {
			return Failed
		}
		return Refused
	case errors.Is(err, driver.ErrBadConn), pgconn.SafeToRetry(err):
		return Refused
	}
	return Failed
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// endsSession is true for the errors that a server sends when it goes away, which say nothing about the statement.
func endsSession(code string) bool {
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") || strings.HasPrefix(code, "XX")
}

// cause names an error for the summary: few names, and no addresses in them.
func cause(err error) string {
	if code := sqlState(err); code != "" {
		if name := causes[code]; name != "" {
			return code + " " + name
		}
		return "SQLSTATE " + code
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "still hanging at the end"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case strings.Contains(err.Error(), "read only connection"):
		return "connected to a reader"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &connect):
		return "cannot connect"
	}
	return "connection lost"
}

var causes = map[string]string{
	undecided: "outcome unknown",
	"40001":   "begin again",
	"25006":   "read-only server",
	"57P01":   "server shut down",
	"57P02":   "server crashed",
	"57P03":   "server starting",
}
