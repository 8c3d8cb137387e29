package mount

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
)

// adoptBase gives a session that borrows its upstreams the run-time parameters of its startup, those in options first: what is named beats
// them, as on a server. The values are tried on a server, unless another client has begun with the same ones. A session that keeps its
// upstream has it from here on.
func (m *Conn) adoptBase(params map[string]string) *session.Problem {
	l := m.pool.lender
	for _, set := range l.initial {
		m.s.SetBase(set.Name, set.SQL)
	}
	// A server takes one after the other: a later value may be a part of one, as of DateStyle's, and an earlier one has to be possible too.
	earlier := make(map[string]string)
	set := func(name, value string) {
		name = strings.ToLower(name)
		earlier[name] = m.setBase(name, value, earlier[name])
	}
	if value := params["options"]; value != m.pool.cfg.Login.RuntimeParams["options"] || len(l.initial) > 0 {
		list, problem := parseOptions(value)
		if problem != nil {
			return problem
		}
		for _, o := range list {
			set(o.name, o.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		switch {
		case name == "user" || name == "database" || name == "options" || strings.HasPrefix(name, protocolOption):
		case name == "replication":
			if value != "" && value != "0" && value != "false" && value != "off" && value != "no" {
				return &session.Problem{Code: "0A000", Message: "fairlead: replication cannot go through a pool: connect to the server itself"}
			}
		default:
			set(name, value)
		}
	}
	whole := l.cfg().Whole
	if m.params = l.greeting(m.s.Wanted()); m.params != nil && !whole {
		return nil
	}
	ctx, leave := m.enter(writes)
	defer leave()
	// The queue for an upstream has the same bound; what it says when that is over comes first.
	ctx, stop := context.WithTimeoutCause(ctx, l.bounded(l.cfg().BorrowTimeout)+borrowSlack, errBorrow)
	defer stop()
	up, err := m.attach(ctx)
	if err != nil {
		return startupProblem(ctx, err)
	}
	if m.closed {
		m.part(up, true)
		return &session.Problem{Code: session.CodeNoUpstream, Message: "closed"}
	}
	m.params = maps.Clone(up.Params)
	l.greet(m.s.Wanted(), m.params)
	m.up = up
	if whole { // the client is given the server's own process ID, with a key of ours
		m.pid = up.PID
		return nil
	}
	m.giveBack()
	return nil
}

// borrowSlack is by how much longer than connection_borrow_timeout a login waits.
const borrowSlack = 250 * time.Millisecond

var errBorrow = errors.New("connection_borrow_timeout is over")

// setBase notes a setting, after what the client has set it to before, and returns both as SQL. Unlike SET, set_config takes a list as it stands in a startup packet.
func (m *Conn) setBase(name, value, before string) string {
	if v, ok := m.pool.cfg.Login.RuntimeParams[name]; ok && v == value && len(m.pool.lender.initial) == 0 && before == "" {
		return ""
	}
	sql := fmt.Sprintf("SELECT pg_catalog.set_config(%s, %s, false)", session.Quote(name), session.Quote(value))
	if before != "" {
		sql = before + ";\n" + sql
	}
	m.s.SetBase(name, sql)
	return sql
}

// startupProblem is what a client is told that could not be given a server, in the server's own words where it has refused; nil when there is no error.
func startupProblem(ctx context.Context, err error) *session.Problem {
	var refused *refusal
	var waited *backend.NotLoggedInError
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.server != nil:
		return serverProblem(refused.server)
	case errors.As(err, &refused):
		return &session.Problem{Code: refused.Code, Message: refused.Message + " (" + refused.Detail + ")"}
	case errors.As(err, &waited) && waited.Waited > 0:
		code := session.CodeNoUpstream
		if errors.As(err, &pg) {
			code = pg.Code
		}
		return &session.Problem{Code: code, Message: err.Error()}
	case errors.As(err, &pg):
		return serverProblem(pg)
	case ctx.Err() != nil:
		err = errors.Join(context.Cause(ctx), err)
	}
	return &session.Problem{Code: session.CodeNoUpstream, Message: "fairlead: no server could be reached: " + err.Error()}
}

// serverProblem is a server's error as it stands.
func serverProblem(pg *pgconn.PgError) *session.Problem {
	return &session.Problem{Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint, File: pg.File, Routine: pg.Routine}
}
