package boundaries

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
)

// SQLSTATEs that the driver gives.
const (
	codeUndecided     = "08007"
	codeSerialization = "40001"
	codeStateLost     = "08006"
)

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
	return ""
}

func message(err error) string {
	var p *pq.Error
	if errors.As(err, &p) {
		return strings.TrimSuffix(fmt.Sprintf("%s (SQLSTATE %s); %s", p.Message, p.Code, p.Detail), "; ")
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.TrimSuffix(fmt.Sprintf("%v; %s", err, pg.Detail), "; ")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "hung: " + err.Error()
	}
	return fmt.Sprintf("%v (%T)", err, err)
}

// judge says what is wrong with a run.
func (o *outcome) judge(u *unit) (problems []string) {
	note := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if o.torn {
		note("a part of it is there, or what was rolled back")
	}
	for i, t := range o.told {
		n := o.times[i]
		switch {
		case n > 1:
			note("doubled: effect %d is there %d times", i, n)
		case t.sent && t.err == nil && n == 0:
			note("lost: effect %d was acknowledged and is not there", i)
		case t.sent && t.err != nil && n > 0 && sqlState(t.err) != codeUndecided:
			note("refused but happened: effect %d is there, and was answered with %s", i, message(t.err))
		case !t.sent && n > 0:
			note("refused but happened: effect %d is there, and its commit was never sent; the error was %s", i, message(o.err))
		}
	}
	if o.err != nil && !o.mayBe(u) {
		note("the caller was told: %s", message(o.err))
	}
	if o.after != nil {
		note("the session is not usable: %s; before that it was told: %v", message(o.after), o.err)
	}
	return problems
}

// mayBe reports whether callers have to be prepared for the error.
func (o *outcome) mayBe(u *unit) bool {
	var list []error
	if joined, ok := o.err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	} else {
		list = []error{o.err}
	}
	for _, err := range list {
		code := sqlState(err)
		if code == "" || code != codeUndecided && code != codeSerialization && code != u.fails && !slices.Contains(u.may, code) {
			return false
		}
	}
	return true
}

// verdicts are what a driver's own count of a session is called in the table, where the caller was told nothing.
var verdicts = map[string]string{
	"resumed_idle":         "unseen",
	"replayed_read":        "run again",
	"replayed_transaction": "replayed",
	"decided_committed":    "committed",
	"decided_aborted":      "aborted, replayed",
	"transaction_lost":     "answered",
	"not_committed":        "answered",
}

// verdict is the outcome in a few words.
func (o *outcome) verdict() string {
	if o.missed {
		return "not reached"
	}
	if o.err != nil {
		code := sqlState(o.err)
		switch {
		case code == codeUndecided && strings.Contains(o.err.Error(), "was committed"):
			return code + ", told that it is committed"
		case code == codeUndecided && o.undecidedAreThere():
			return code + " (it was committed)"
		case code == codeUndecided:
			return code + " (it was not committed)"
		case code == "":
			return "ERROR without a code"
		}
		return code
	}
	var names []string
	for _, reason := range o.reasons {
		name := verdicts[reason]
		if name == "" {
			name = strings.ReplaceAll(reason, "_", " ")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > 1 {
		names = slices.DeleteFunc(names, func(n string) bool { return n == "unseen" })
	}
	if len(names) == 0 {
		return "unseen"
	}
	slices.Sort(names)
	return strings.Join(names, " and ")
}

// undecidedAreThere reports whether an effect of which the caller was told that it is undecided has happened.
func (o *outcome) undecidedAreThere() bool {
	for i, t := range o.told {
		if sqlState(t.err) == codeUndecided && o.times[i] > 0 {
			return true
		}
	}
	return false
}
