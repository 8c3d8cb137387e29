package mount

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/catalog"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
	"github.com/fairlead-go/fairlead/topology"
)

// borrowNow gives an idle session an upstream that is as it left its last one, if there is one to be had at once. p is what
// it is to be sent. mu is held.
func (m *Conn) borrowNow(p []byte) {
	l := m.pool.lender
	if !m.ready || m.gate || m.writing || m.given || m.closed || m.end != nil || m.replay || m.decide || !m.lostAt.IsZero() ||
		!m.s.Idle() || m.s.HasUnsent() || m.s.NeedsNoServer(p) {
		return
	}
	x := l.try(m.s.Wanted(), m.pool.modes.version.Load())
	if x == nil {
		return
	}
	l.own(x, &m.mu)
	if x.recheck || x.up.Silence() >= pingAfter && m.s.Risky(p) {
		l.give(x)
		return
	}
	m.s.Borrow(x.memory, p)
	if m.s.Differs() || m.hub != nil && x.heardBy != m.hub {
		m.s.Forsake()
		l.give(x)
		return
	}
	m.s.Took(x.up.PID)
	m.speaks(x)
	m.decidable(x.mode)
	m.up, m.lent = x.up, x
	m.hold = m.hold[:0]
	if m.timed {
		m.applyDeadlines()
	}
	if m.waiters > 0 {
		m.tell()
	}
}

// lacks reports whether the upstream has to be prepared for what the client writes.
func (m *Conn) lacks(p []byte) bool {
	if m.lent == nil {
		return m.s.Needs()
	}
	return m.s.Missing(p) != nil
}

// borrow waits for an upstream and brings it to the session's state. It is called with the gate, and mu held, which it lets
// go of.
func (m *Conn) borrow(ctx context.Context) (*backend.Upstream, error) {
	l := m.pool.lender
	for {
		ticket := m.ticket
		wanted := m.s.Wanted()
		var x *lent
		var err error
		m.unlocked(func() { x, err = l.after(ctx, wanted, ticket) })
		if err != nil {
			return nil, err
		}
		l.own(x, &m.mu)
		if m.closed || m.broken {
			l.drop(x, false)
			return nil, errors.New("closed")
		}
		m.lent = x
		err = m.bring(ctx, x.up)
		if m.lent != x {
			return nil, errCrashed // which has ended it
		}
		if err == nil {
			m.heardSoFar(ctx, x)
			m.speaks(x)
			m.ticket = 0
			return x.up, nil
		}
		m.lent = nil
		m.s.Forsake()
		l.drop(x, true)
		if final(err) || ctx.Err() != nil || m.closed {
			return nil, err
		}
		m.ticket = m.pool.login.Cluster.Suspect(x.up.Instance.ID, err)
	}
}

// after is borrow, once it is certain that the instance lives: upstreams may be idle to one that does not.
func (l *lender) after(ctx context.Context, settings string, ticket topology.Ticket) (*lent, error) {
	if ticket != 0 {
		limited, cancel := context.WithTimeoutCause(ctx, l.pool.cfg.FailoverTimeout, errTimeout)
		_, _, err := l.pool.login.Cluster.Pick(limited, l.pool.login.Want, ticket)
		cancel()
		if err != nil {
			return nil, &backend.NotLoggedInError{Want: l.pool.login.Want, Err: err}
		}
	}
	return l.borrow(ctx, settings, ticket)
}

// tidy is what a lent upstream needs before the session's own wishes. mu is not held.
func (m *Conn) tidy(ctx context.Context, x *lent, risky bool) error {
	l := m.pool.lender
	if x.recheck || risky {
		limited, cancel := context.WithTimeoutCause(ctx, pingPatience, errSilent)
		err := x.up.Ping(limited)
		cancel()
		if err != nil {
			return err
		}
		x.recheck = false
	}
	x.memory.ForgetUnnamed()
	if l.cfg().Verify {
		if err := l.verify(ctx, x); err != nil {
			return err
		}
	}
	if x.memory.Statements() <= l.cfg().Statements {
		return nil
	}
	var msgs []byte
	for _, name := range x.memory.Oldest(l.cfg().Statements * 3 / 4) {
		b, err := (&pgproto3.Close{ObjectType: 'S', Name: name}).Encode(msgs)
		if err != nil {
			return err
		}
		msgs = b
	}
	return x.up.Exchange(ctx, append(msgs, wire.Sync, 0, 0, 0, 4), func(kind byte, _ []byte) bool { return kind == wire.ReadyForQuery })
}

// release is for a session that is Free: it gives a lent upstream back, unless something ties the session to it. mu is held.
func (m *Conn) release() {
	if m.cancels > 0 || m.reading || len(m.hold) > 0 || m.s.Inspects() || m.handsOver() || m.departing() {
		return
	}
	m.renewHub()
	if pins := m.s.Pins(); pins != "" {
		m.pin(pins)
		return
	}
	if m.pool.lender.cfg().Whole {
		return
	}
	m.giveBack()
}

func (m *Conn) giveBack() {
	x := m.lent
	m.s.Return()
	m.up, m.lent = nil, nil
	if m.timed {
		_ = x.up.SetDeadline(time.Time{}) // a closed socket is found out by its next user
	}
	x.up.Heard(true)
	l := m.pool.lender
	l.unpin(x)
	if h := m.hub; h != nil {
		l.own(x, &l.mu)
		if h.silent(m, x.up.PID, func() { x.heardBy = h; l.give(x) }) {
			return
		}
	}
	l.give(x)
}

// part ends an upstream that the session has. mu is held.
func (m *Conn) part(u *backend.Upstream, abort bool) {
	x := m.lent
	m.up, m.lent = nil, nil
	if x == nil {
		u.Close(abort)
		return
	}
	if m.hub != nil {
		m.hub.silent(m, x.up.PID, func() {})
	}
	m.pool.lender.unpin(x)
	m.pool.lender.drop(x, abort)
}

// inspect asks the server what a Free session holds there. mu is held, and let go of meanwhile.
func (m *Conn) inspect() {
	u, x := m.up, m.lent
	if len(m.hold) > 0 {
		return // when that has come
	}
	ctx, leave := m.enter(reads)
	defer leave()
	wonders := m.s.Wonders()
	var answer string
	var values map[string]string
	var err error
	m.unlocked(func() {
		answer, err = undisturbed(ctx, u, timeless+session.Inspect)
		if err == nil && wonders {
			err = m.pool.learnFunctions(ctx, u)
		}
	})
	m.s.Reconsider()
	tracked, unsettled, wanted := m.tracks && m.s.Opaque(), m.s.Unsettled(), m.s.Wanted()
	m.unlocked(func() {
		if err == nil && unsettled {
			err = restoreSettings(ctx, u, session.ResetTo(wanted))
		}
		if err == nil && tracked {
			values, err = m.pool.askSettings(ctx, u)
		}
	})
	x.memory.ForgetUnnamed()
	switch {
	case m.up != u:
	case err != nil:
		m.lose(lossOf(u, err))
	default:
		m.s.Inspected(answer)
		if unsettled {
			m.s.Settled(u.Params)
			m.flush()
		}
		if tracked {
			m.s.ReadBack(values)
		}
		m.release()
	}
}

// learnFunctions asks which functions of the database leave nothing in a session. What the server does not tell stays unknown.
func (p *Pool) learnFunctions(ctx context.Context, u *backend.Upstream) error {
	generation := p.functions.Generation()
	answer, err := undisturbed(ctx, u, catalog.FunctionsQuery)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" {
		answer, err = "[]", nil
	}
	if err != nil {
		return err
	}
	return p.functions.Learn(answer, generation)
}

// pin counts what keeps a session on its upstream, and tells of it once.
func (m *Conn) pin(why string) {
	m.pool.lender.pin(m.lent, why, !m.pins[why])
	if m.pins[why] {
		return
	}
	if m.pins == nil {
		m.pins = make(map[string]bool)
	}
	m.pins[why] = true
	m.pool.metrics.pinned(why)
	if log := m.pool.cfg.Logger; log != nil {
		log.Info("a session keeps its server connection to itself until this is gone", "cluster", m.pool.cfg.Name, "session", m.id,
			"application", m.s.Param("application_name"), "state", why, "remedy", "drop, close or unlock it, or DISCARD ALL")
	}
}

// pin counts an upstream that its session keeps, and the reason if that is a new one.
func (l *lender) pin(x *lent, why string, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !x.pinned {
		x.pinned = true
		l.stats.Pinned++
	}
	if fresh {
		l.stats.Pins[why]++
	}
}

// unpin is for an upstream that its session does not keep any more.
func (l *lender) unpin(x *lent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.pinned {
		x.pinned = false
		l.stats.Pinned--
	}
}

// snapshot is what pg_settings has, for comparison.
const snapshot = `select pg_catalog.md5(pg_catalog.string_agg(name operator(pg_catalog.||) '=' operator(pg_catalog.||) coalesce(setting, ''), pg_catalog.chr(10) order by name)) from pg_catalog.pg_settings where name operator(pg_catalog.<>) 'in_hot_standby'`

// verify compares what is known of an upstream with what the server says. An upstream that carries anything else is of no use.
func (l *lender) verify(ctx context.Context, x *lent) error {
	var wrong []string
	var failed error
	ask := func(sql string) (answer string) {
		if failed == nil {
			answer, failed = undisturbed(ctx, x.up, sql)
		}
		return answer
	}
	if held := ask(timeless + session.Inspect); held != "" {
		wrong = append(wrong, "state of another session's: "+held)
	}
	if channels := ask("select pg_catalog.string_agg(c, ',') from pg_catalog.pg_listening_channels() c"); channels != "" {
		wrong = append(wrong, "channels listened on: "+channels)
	}
	for name := range strings.SplitSeq(ask("select pg_catalog.string_agg(name, pg_catalog.chr(10)) from pg_catalog.pg_prepared_statements"), "\n") {
		if name != "" && !x.memory.Knows(name) {
			wrong = append(wrong, "prepared statement: "+name)
		}
	}
	if !x.memory.Unsure() {
		before := ask(snapshot)
		ask(session.ResetTo(x.memory.Settings()))
		if after := ask(snapshot); before != after {
			wrong = append(wrong, "settings other than "+fmt.Sprintf("%q", x.memory.Settings()))
		}
	}
	x.memory.Recount()
	if failed != nil || len(wrong) == 0 {
		return failed
	}
	l.count(func(s *LendingStats) { s.Unclean++ })
	if log := l.pool.cfg.Logger; log != nil {
		log.Error("a server connection carries state of another session; it is closed", "cluster", l.pool.cfg.Name,
			"instance", x.up.Instance.ID, "state", strings.Join(wrong, "; "))
	}
	return errUnclean
}

// errUnclean makes a lent upstream one that is not used.
var errUnclean = errors.New("the connection carries state of another session")
