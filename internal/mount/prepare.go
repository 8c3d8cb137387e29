package mount

import (
	"context"
	"errors"
	"os"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// prepare makes statements on the upstream that the session has, before it is given work that uses them.
func (m *Conn) prepare(missing []*session.Statement) error {
	ctx, leave := m.enter(writes)
	defer leave()
	u := m.up
	if err := m.alone(u); err != nil || m.up != u {
		return err
	}
	if err := m.quiesce(ctx); err != nil || m.up != u || m.doubt || m.confirm {
		return err
	}
	u.Unread(m.hold)
	m.hold = m.hold[:0]
	status := m.s.Status()
	var made []*session.Statement
	var err error
	m.unlocked(func() { made, err = prepareAll(ctx, u, missing, status) })
	var refused *refusal
	switch {
	case m.up != u:
		return nil
	case err == nil:
		m.s.Restored(missing, made)
	case errors.As(err, &refused):
		m.detach(true)
		m.s.FailNext(refused.Problem)
	case errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded):
		m.lose(err)
		return os.ErrDeadlineExceeded
	default:
		m.lose(lossOf(u, err))
	}
	return nil
}

// savepoint is the name of what keeps a transaction from a statement that the server refuses to prepare.
const savepoint = "fairlead_prepare"

// prepareAll makes statements on an upstream, each in a segment of its own, and notes what the server says of them, which is compared
// with what the client was told when they are used. It returns those that are there; one that the server refuses is left out: using it will say
// so. In a transaction block, where status is T, such a refusal undoes nothing.
func prepareAll(ctx context.Context, up *backend.Upstream, list []*session.Statement, status byte) ([]*session.Statement, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var f segments
	inBlock := status == wire.StatusTransaction
	if inBlock {
		f.command("SAVEPOINT " + savepoint)
	}
	for _, st := range list {
		f.prepare(st)
		if inBlock {
			f.command("ROLLBACK TO SAVEPOINT " + savepoint)
		}
	}
	if inBlock {
		f.command("RELEASE SAVEPOINT " + savepoint)
		f.tidy()
	}
	if f.err != nil {
		return nil, f.err
	}
	i, sum, failed := 0, uint64(0), false
	var made []*session.Statement
	var broken *wire.Error
	err := up.Exchange(ctx, f.msgs, func(kind byte, msg []byte) bool {
		st := f.of[i]
		switch kind {
		case wire.ErrorResponse:
			failed = true
			if e := wire.ParseError(wire.Body(msg)); broken == nil && (st == nil || passing(e.Code)) {
				broken = &e
			}
		case wire.ParameterDescription:
			sum = session.DescriptionSum(0, msg)
		case wire.RowDescription, wire.NoData:
			if st != nil {
				st.Found(session.DescriptionSum(sum, msg), session.RowsSum(msg))
			}
		case wire.ReadyForQuery:
			if st != nil && !failed {
				made = append(made, st)
			}
			i, sum, failed = i+1, 0, false
		}
		return i == len(f.of)
	})
	switch {
	case err != nil:
		return nil, err
	case broken != nil:
		return nil, &refusal{Problem: session.Problem{
			Code: broken.Code, Message: broken.Message,
			Detail: "fairlead: the server said so when the session's prepared statements were prepared again", Hint: "Nothing was run. Run it again.",
		}}
	}
	return made, nil
}

// passing reports whether an error tells of the moment, and nothing of the statement that met it: conflicts, a lack of
// resources, a cancel.
func passing(code string) bool {
	switch code[:min(2, len(code))] {
	case "40", "53", "55", "57", "58", "XX":
		return true
	}
	return false
}

// segments are messages, each few of which the server answers with a ReadyForQuery.
type segments struct {
	msgs []byte
	of   []*session.Statement // whose segments they are; nil: of none
	err  error
}

func (f *segments) add(list ...pgproto3.FrontendMessage) {
	for _, m := range list {
		b, err := m.Encode(f.msgs)
		if err != nil {
			f.err = err
			return
		}
		f.msgs = b
	}
}

// command runs SQL and leaves the client's unnamed statement and portal alone.
func (f *segments) command(sql string) {
	f.add(
		&pgproto3.Close{ObjectType: 'P', Name: savepoint}, &pgproto3.Close{ObjectType: 'S', Name: savepoint},
		&pgproto3.Parse{Name: savepoint, Query: sql}, &pgproto3.Bind{DestinationPortal: savepoint, PreparedStatement: savepoint},
		&pgproto3.Execute{Portal: savepoint}, &pgproto3.Sync{},
	)
	f.of = append(f.of, nil)
}

// tidy leaves nothing of the commands on the server, whatever came of them.
func (f *segments) tidy() {
	f.add(&pgproto3.Close{ObjectType: 'P', Name: savepoint}, &pgproto3.Close{ObjectType: 'S', Name: savepoint}, &pgproto3.Sync{})
	f.of = append(f.of, nil)
}

func (f *segments) prepare(st *session.Statement) {
	f.of = append(f.of, st)
	if st.Gone {
		f.add(&pgproto3.Close{ObjectType: 'S', Name: st.Name()}, &pgproto3.Sync{})
		return
	}
	if st.Parse == nil {
		f.add(&pgproto3.Query{String: st.SQL})
		return
	}
	if st.Replace {
		f.add(&pgproto3.Close{ObjectType: 'S', Name: st.Name()})
	}
	f.msgs = append(f.msgs, st.Parse...)
	f.add(&pgproto3.Describe{ObjectType: 'S', Name: st.Name()}, &pgproto3.Sync{})
}
