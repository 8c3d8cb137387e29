package mount

import (
	"errors"
	"os"
	"time"

	"github.com/fairlead-go/fairlead/internal/session"
)

// canceled is the answer to work that its client has canceled.
var canceled = session.Problem{Code: "57014", Message: "canceling statement due to user request"}

// limit is how long a resume may take.
func (m *Conn) limit() time.Duration {
	if m.pool.lender == nil {
		return m.pool.cfg.FailoverTimeout
	}
	return m.pool.cfg.FailoverTimeout + m.pool.lender.cfg().BorrowTimeout
}

// beginResume sets the time at which the resume that begins is over, until its replay has come again to where the client is. It is one
// bound for all of its attempts: whatever the servers answer, and whether they answer. mu is held.
func (m *Conn) beginResume() {
	if m.resumeBy.IsZero() {
		m.resumeBy = time.Now().Add(m.limit())
	}
}

// endResume lifts the bound. mu is held.
func (m *Conn) endResume() {
	if m.resumeBy.IsZero() {
		return
	}
	m.resumeBy, m.again = time.Time{}, nil
	if !m.gate {
		m.applyDeadlines() // otherwise whoever has the gate does, when it is given back
	}
}

// until is when the upstream's I/O in a direction ends: with the client's deadline, or with the resume's. mu is held.
func (m *Conn) until(dir direction) time.Time {
	d := m.deadlines[dir]
	if !m.resumeBy.IsZero() && (d.IsZero() || m.resumeBy.Before(d)) {
		return m.resumeBy
	}
	return d
}

// overdue reports whether a replay has not caught up in time. mu is held.
func (m *Conn) overdue() bool {
	return m.s.Waits() && !m.resumeBy.IsZero() && !time.Now().Before(m.resumeBy)
}

// refuseLate gives up a replay that is overdue. mu is held.
func (m *Conn) refuseLate() {
	p := session.Problem{
		Code:    session.CodeSerialization,
		Message: "fairlead: the work in flight was lost with its connection, and repeating it has taken longer than failover_timeout",
		Hint:    "Nothing of it was committed. Run the transaction again.",
	}
	if m.again != nil {
		p.Detail = m.again.Error()
	}
	m.refuse(p)
}

// interrupted is what follows when a wait for the upstream's answers was ended by something else than the upstream. The gate is held, and
// so is mu.
func (m *Conn) interrupted(cause, err error) error {
	switch {
	case errors.Is(cause, errCanceled):
		m.refuse(canceled)
	case errors.Is(cause, errTimeout) && m.s.Waits():
		m.refuseLate()
	case errors.Is(cause, errTimeout):
		m.lose(err)
	default:
		m.lose(err)
		return os.ErrDeadlineExceeded
	}
	return nil
}
