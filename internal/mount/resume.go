package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
	"github.com/fairlead-go/fairlead/topology"
)

// inlineWrite is how much a resume writes, in bytes, before the caller reads: less than any socket buffer, so that
// the two sides cannot wait for each other.
const inlineWrite = 16 << 10

var (
	errCanceled = errors.New("the client canceled the statement")
	errTimeout  = errors.New("failover_timeout is over")
	errInsisted = errors.New("fairlead: the session was ended twice within a second")
)

// section is the time in which one caller has the upstream to himself. It ends with the deadline of the direction in
// which he was called.
type section struct {
	dir    direction
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// arm makes the deadline the section's own.
func (s *section) arm(deadline time.Time) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if deadline.IsZero() {
		return
	}
	if left := time.Until(deadline); left > 0 {
		s.timer = time.AfterFunc(left, func() { s.cancel(os.ErrDeadlineExceeded) })
		return
	}
	s.cancel(os.ErrDeadlineExceeded)
}

// enter takes the gate. It is called with mu held; leave gives the gate back, with mu held too.
func (m *Conn) enter(dir direction) (ctx context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	limit := m.limit()
	if !m.resumeBy.IsZero() {
		limit = min(limit, time.Until(m.resumeBy))
	}
	limited, release := context.WithTimeoutCause(ctx, limit, errTimeout)
	m.gate = true
	m.section = &section{dir: dir, cancel: cancel}
	m.section.arm(m.deadlines[dir])
	return limited, func() {
		m.section.arm(time.Time{})
		release()
		cancel(nil)
		m.gate, m.section = false, nil
		m.applyDeadlines()
		m.tell()
	}
}

// former is an upstream that was lost.
type former struct {
	instance topology.Instance
	pid      uint32
	since    time.Time // of its login
}

// lose ends the upstream: the session decides what becomes of the work in flight. mu is held.
func (m *Conn) lose(cause error) {
	u := m.up
	if u == nil {
		return
	}
	if log := m.pool.cfg.Logger; log != nil && errors.Is(cause, backend.ErrPath) {
		log.Info("a connection is given up, whose instance is well", "cluster", m.pool.cfg.Name, "session", m.id, "error", cause)
	}
	m.drop(cause)
	m.ticket = 0
	if u.Killed() == nil && !m.departing() {
		m.ticket = m.pool.login.Cluster.Suspect(u.Instance.ID, cause)
	}
}

// drop is lose without a suspicion against the instance.
func (m *Conn) drop(cause error) {
	u := m.up
	m.detach(true)
	if m.lostAt.IsZero() {
		m.lostAt = time.Now()
	}
	defer m.tell()
	if m.given {
		m.end = io.EOF
		return
	}
	verdict, reason := m.s.Lost(fmt.Sprintf("%s: %v%s", u.Instance.ID, cause, m.whyNotReplayed()))
	m.settle(verdict, reason)
}

// detach closes the upstream. What its server may still do with the work in flight is settled when the session has another.
func (m *Conn) detach(abort bool) {
	u := m.up
	m.last = &former{instance: u.Instance, pid: u.PID, since: u.Since}
	m.hold, m.doubt, m.confirm, m.notified, m.reshow, m.more = m.hold[:0], false, false, false, false, false
	m.part(u, abort)
}

// settle does what a verdict asks for.
func (m *Conn) settle(verdict session.Verdict, reason session.Reason) {
	m.replay, m.decide, m.reason = verdict == session.Replay, verdict == session.Resolve, reason
	if !m.replay && !m.decide {
		m.endResume()
	}
	m.pend = append(m.pend, m.s.TakeOut()...)
	switch verdict {
	case session.Answered:
		m.pool.metrics.verdict(reason, m.s.Obstacle())
	case session.Ended:
		m.pool.metrics.verdict(reason, m.s.Obstacle())
		m.end = io.EOF
	}
}

// refuse gives up the work in flight with an error, and the upstream that it may still run on.
func (m *Conn) refuse(p session.Problem) {
	if m.up != nil {
		m.detach(true)
	}
	verdict, reason := m.s.Refuse(p)
	m.settle(verdict, reason)
	m.lostAt = time.Time{}
	m.tell()
}

// resume brings the session to another upstream and sends it what is to be done there: the replay, or what no upstream
// was given yet. It returns nil when that was done or the client has been answered otherwise, and an error when the
// caller's time is over. mu is held, and let go of meanwhile.
func (m *Conn) resume(dir direction) error {
	m.beginResume()
	ctx, leave := m.enter(dir)
	defer leave()
	defer func() {
		if !m.replay && !m.decide && !m.s.Waits() {
			m.endResume()
		}
	}()
	for {
		up, err := m.attach(ctx)
		if m.closed || m.broken {
			if up != nil {
				m.part(up, true)
			}
			return net.ErrClosed
		}
		if err != nil {
			return m.notResumed(ctx, dir, err)
		}
		m.up, m.hold, m.last = up, m.hold[:0], nil
		if m.lent == nil {
			up.OnLeave(m.leaves)
		}
		m.s.Attached(up.Params, up.PID)
		if m.pool.cfg.Notices && !m.lostAt.IsZero() {
			m.s.Tell(fmt.Sprintf("fairlead: the session goes on with %s (%s)", up.Instance.ID, m.reason))
		}
		m.flush()
		if m.replay && m.s.Replays() > 1 {
			m.pause(ctx)
		}
		b, ok := m.toSend()
		if !ok {
			m.refuse(session.Problem{
				Code:    session.CodeSerialization,
				Message: "fairlead: the statement in flight did not take effect, and cannot be repeated: some of its rows were delivered already",
				Hint:    "Run it again.",
			})
			return nil
		}
		if m.send(b) {
			m.resumed()
			return nil
		}
		if m.up != nil || !m.replay && !m.decide && !m.s.HasUnsent() || m.s.Answering() || m.end != nil {
			return nil
		}
	}
}

// toSend is what a fresh upstream is to be given.
func (m *Conn) toSend() (b []byte, ok bool) {
	if m.replay {
		m.replay = false
		return m.s.BeginReplay()
	}
	if !m.s.HasUnsent() {
		return nil, true
	}
	return m.s.Resend(), true
}

// pause keeps a replay that meets the same obstacle again and again from running in circles.
func (m *Conn) pause(ctx context.Context) {
	d := time.Millisecond << min(m.s.Replays(), 8)
	m.mu.Unlock()
	defer m.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// proceed sends what waited for a replay to catch up. mu is held.
func (m *Conn) proceed() {
	m.more = false
	_, leave := m.enter(reads)
	defer leave()
	m.send(m.s.Proceed())
}

// attach logs in to an instance, has commits in doubt decided there and brings it to the session's state. A server that
// is lost on the way is followed by another one, until ctx ends. mu is held, and let go of meanwhile.
func (m *Conn) attach(ctx context.Context) (*backend.Upstream, error) {
	if m.pool.lender != nil {
		return m.borrow(ctx)
	}
	for {
		ticket := m.ticket
		var up *backend.Upstream
		var err error
		m.unlocked(func() { up, err = m.pool.login.Connect(ctx, ticket, &m.mu) })
		if err != nil {
			return nil, err
		}
		if err = m.bringOwn(ctx, up); err == nil {
			return up, nil
		}
		if final(err) || ctx.Err() != nil || m.closed {
			return nil, err
		}
		m.ticket = m.pool.login.Cluster.Suspect(up.Instance.ID, err)
	}
}

// bringOwn is bring for an upstream that is closed if that fails, whatever the reason.
func (m *Conn) bringOwn(ctx context.Context, up *backend.Upstream) (err error) {
	brought := false
	defer func() {
		if !brought {
			up.Close(true)
		}
	}()
	err = m.bring(ctx, up)
	brought = err == nil
	return err
}

// final reports whether no other upstream is tried after this.
func final(err error) bool {
	var refused *refusal
	return errors.As(err, &refused) || errors.Is(err, errInsisted)
}

// bring makes an upstream one that the session can go on with.
func (m *Conn) bring(ctx context.Context, up *backend.Upstream) error {
	last, decide, x := m.last, m.decide, m.lent
	if m.insisted != nil && last != nil && sameServer(last.instance, up.Instance) {
		return errInsisted
	}
	m.insisted = nil
	risky := x != nil && up.Silence() >= pingAfter && (m.decide || m.replay || m.s.Risky(m.first))
	var err error
	var mode commit.Mode
	ends := last != nil && (decide || m.replay) && sameServer(last.instance, up.Instance)
	m.unlocked(func() {
		if x != nil {
			err = m.tidy(ctx, x, risky)
		}
		if err == nil {
			mode, err = m.modeOf(ctx, up, x)
		}
		if err == nil && ends {
			err = endFormer(ctx, up, last, decide)
		}
	})
	if err != nil {
		return err
	}
	if m.decide {
		if err := m.decideAll(ctx, up); err != nil {
			return err
		}
	}
	m.decidable(mode)
	plan := plan{replay: m.replay}
	if x != nil {
		m.s.Borrow(x.memory, m.first)
		plan.restore = m.s.Difference()
	} else {
		plan.restore = m.s.Restore()
	}
	if m.replay {
		plan.missing = m.s.MissingForReplay()
	} else {
		plan.missing = m.s.MissingUnsent()
	}
	if plan.restore == "" && !plan.replay && len(plan.missing) == 0 {
		if x != nil {
			m.s.Same()
		}
		return nil
	}
	var made []*session.Statement
	m.unlocked(func() { made, err = m.pool.restore(ctx, up, plan) })
	if err != nil {
		return err
	}
	if x != nil {
		m.s.Same()
	}
	m.s.Restored(plan.missing, made)
	return nil
}

// send writes to a fresh upstream; false when that was lost over it. Much is written in the background, since the
// server may not read on before its answers are read.
func (m *Conn) send(b []byte) bool {
	u := m.up
	if len(b) == 0 {
		return true
	}
	u.Begin()
	_ = u.SetWriteDeadline(m.until(writes)) // a closed socket is found out by the write
	if len(b) > inlineWrite {
		m.writing = true
		go func() {
			var err error
			if p := contain.Run(func() { _, err = u.Write(b) }); p != nil {
				p.Log(m.pool.cfg.Logger, "write of a replay", "cluster", m.pool.cfg.Name)
				err = p
			}
			m.mu.Lock()
			defer m.done()
			m.writing = false
			m.tell()
			if err != nil {
				u.Kill(err)
			}
		}()
		return true
	}
	_, err := m.writeTo(u, b)
	if err != nil && m.up == u {
		m.lose(lossOf(u, err))
		return false
	}
	return m.up == u
}

// resumed notes that the session has an upstream again.
func (m *Conn) resumed() {
	if m.lostAt.IsZero() {
		return
	}
	m.pool.metrics.resumed(m.reason, time.Since(m.lostAt))
	m.lostAt = time.Time{}
}

// notResumed answers for an upstream that could not be had.
func (m *Conn) notResumed(ctx context.Context, dir direction, err error) error {
	cause := context.Cause(ctx)
	var refused *refusal
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		if m.s.Busy() || m.s.Status() != wire.StatusIdle {
			m.giveUp()
		}
		return os.ErrDeadlineExceeded
	case errors.Is(cause, errCanceled):
		m.refuse(canceled)
	case errors.As(err, &refused):
		m.refuse(refused.Problem)
	case m.again != nil && errors.Is(cause, errTimeout):
		m.refuseLate()
	case errors.Is(err, errInsisted):
		m.pend = append(m.pend, fatal(m.insisted.words.Code, m.insisted.words.Message, err)...)
		m.end = io.EOF
	case dir == reads && m.s.Idle() && !m.s.HasUnsent():
		// A listener: nobody waits for an answer, and notifications cannot be had.
		m.pend = append(m.pend, fatal("57P01", "fairlead: no server could be reached to go on listening on", err)...)
		m.end = io.EOF
	default:
		m.refuse(unreachable(err))
	}
	return nil
}

// unreachable is the answer to work for which no upstream was found. A server's own refusal keeps its SQLSTATE.
func unreachable(err error) session.Problem {
	p := session.Problem{
		Code: session.CodeNoUpstream, Message: "fairlead: no server could be reached for this statement, which was not run",
		Detail: err.Error(), Hint: "The session is usable: the next statement tries again.",
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		p.Code, p.Message = pg.Code, "fairlead: the login to another server was refused: "+pg.Message
	}
	return p
}

func fatal(code, message string, err error) []byte {
	b, encodeErr := (&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message, Detail: err.Error(),
	}).Encode(nil)
	if encodeErr != nil {
		return nil
	}
	return b
}

// plan is what a session needs of a fresh upstream.
type plan struct {
	restore string // SQL
	missing []*session.Statement
	replay  bool
}

// refusal is an error that the client is to see as it is.
type refusal struct {
	session.Problem
	server *pgconn.PgError // whose error it comes of; nil: none
}

func (r *refusal) Error() string { return r.Code + ": " + r.Message }

// restore brings a fresh upstream to what a session needs, and returns the statements that are there.
func (p *Pool) restore(ctx context.Context, up *backend.Upstream, plan plan) ([]*session.Statement, error) {
	if plan.restore != "" {
		if err := restoreSettings(ctx, up, plan.restore); err != nil {
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Severity == "ERROR" {
				return nil, &refusal{server: pg, Problem: session.Problem{
					Code: session.CodeStateLost, Message: "fairlead: the session's settings could not be restored on another server",
					Detail: pg.Code + ": " + pg.Message, Hint: "Nothing was run. RESET what fails, or open another connection.",
				}}
			}
			return nil, err
		}
	}
	if plan.replay {
		path, err := up.Query(ctx, "SELECT pg_catalog.current_setting('search_path')")
		if err != nil {
			return nil, err
		}
		if !sqltext.SearchPathSafe(path) {
			return nil, &refusal{Problem: session.Problem{
				Code:    session.CodeSerialization,
				Message: "fairlead: the work in flight was lost with its connection and cannot be repeated: search_path hides pg_catalog",
				Detail:  "search_path is " + path, Hint: "Run it again.",
			}}
		}
	}
	return prepareAll(ctx, up, plan.missing, wire.StatusIdle)
}
