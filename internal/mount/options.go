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

// adoptBase gives a session that borrows its upstreams the run-time parameters of its startup, options included. The values
// are tried on a server, unless another client has begun with the same ones.
func (m *Conn) adoptBase(params map[string]string) (code, message string) {
	l := m.pool.lender
	for _, set := range l.initial {
		m.s.SetBase(set.Name, set.SQL)
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		switch {
		case name == "user" || name == "database" || strings.HasPrefix(name, protocolOption):
		case name == "replication":
			if value != "" && value != "0" && value != "false" && value != "off" && value != "no" {
				return "0A000", "fairlead: replication cannot go through a pool: connect to the server itself"
			}
		case name == "options":
			set, err := parseOptions(value)
			if err != nil {
				return "22023", "fairlead: startup parameter options: " + err.Error()
			}
			for _, o := range set {
				m.setBase(o.name, o.value)
			}
		default:
			m.setBase(name, value)
		}
	}
	if m.params = l.greeting(m.s.Wanted()); m.params != nil {
		return "", ""
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
		return session.CodeNoUpstream, "closed"
	}
	m.params = maps.Clone(up.Params)
	l.greet(m.s.Wanted(), m.params)
	m.up = up
	m.giveBack()
	return "", ""
}

// borrowSlack is by how much longer than connection_borrow_timeout a login waits.
const borrowSlack = 250 * time.Millisecond

var errBorrow = errors.New("connection_borrow_timeout is over")

// setBase notes a setting. Unlike SET, set_config takes a list as it stands in a startup packet.
func (m *Conn) setBase(name, value string) {
	if v, ok := m.pool.cfg.Login.RuntimeParams[name]; ok && v == value && len(m.pool.lender.initial) == 0 {
		return
	}
	m.s.SetBase(strings.ToLower(name), fmt.Sprintf("SELECT pg_catalog.set_config(%s, %s, false)", session.Quote(name), session.Quote(value)))
}

// startupProblem is what a client is told that could not be given a server; nothing when there is no error.
func startupProblem(ctx context.Context, err error) (code, message string) {
	var refused *refusal
	var waited *backend.NotLoggedInError
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &refused):
		if refused.Code == session.CodeStateLost {
			return "22023", "fairlead: startup parameters: " + refused.Detail
		}
		return refused.Code, refused.Message + " (" + refused.Detail + ")"
	case errors.As(err, &waited) && waited.Waited > 0:
		code := session.CodeNoUpstream
		if errors.As(err, &pg) {
			code = pg.Code
		}
		return code, err.Error()
	case errors.As(err, &pg):
		return pg.Code, pg.Message
	case ctx.Err() != nil:
		err = errors.Join(context.Cause(ctx), err)
	}
	return session.CodeNoUpstream, "fairlead: no server could be reached: " + err.Error()
}

// option is one of those in the startup parameter options.
type option struct{ name, value string }

// parseOptions reads -c name=value and --name=value, as a server does: separated by white space, a backslash in front of
// what would separate. Other switches of the server's are not for clients.
func parseOptions(s string) (list []option, err error) {
	words := optionWords(s)
	for i := 0; i < len(words); i++ {
		setting := ""
		switch w := words[i]; {
		case w == "-c":
			if i++; i == len(words) {
				return nil, errors.New("-c has no argument")
			}
			setting = words[i]
		case strings.HasPrefix(w, "-c"):
			setting = w[2:]
		case strings.HasPrefix(w, "--"):
			setting = w[2:]
		default:
			return nil, fmt.Errorf("%q is not known: -c name=value and --name=value are", w)
		}
		name, value, ok := strings.Cut(setting, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q needs a value: name=value", setting)
		}
		list = append(list, option{strings.ReplaceAll(name, "-", "_"), value})
	}
	return list, nil
}

func optionWords(s string) (words []string) {
	var b strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
			in = true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if in {
				words = append(words, b.String())
				b.Reset()
				in = false
			}
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if in {
		words = append(words, b.String())
	}
	return words
}
