package mount

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

const (
	// modeLife is how long it is taken for granted that what makes commits decidable on a server still works there. The
	// answer depends on the server, the database and the role, and not on the connection.
	modeLife = 30 * time.Second
	// commitGrace is how long the server process of a commit in doubt may take to come to its end by itself. It may be
	// waiting for a standby, and then it is better not disturbed.
	commitGrace = 2 * time.Second
	// settlePoll is the time between two looks at a server process that is to end.
	settlePoll = 5 * time.Millisecond
)

// modes remembers how commits can be decided on the servers of a cluster, for one pool.
type modes struct {
	mu      sync.Mutex
	known   map[string]knownMode     // by instance and boot
	pending map[string]chan struct{} // closed when whoever asks the server has an answer, or has failed

	version atomic.Uint64 // counts changes of what was known
}

type knownMode struct {
	mode commit.Mode
	at   time.Time
}

func modeKey(in topology.Instance) string { return in.ID + "\x00" + in.Boot }

// commitMode finds out how commits on an upstream can be decided.
func (p *Pool) commitMode(ctx context.Context, up *backend.Upstream) (commit.Mode, error) {
	setting := p.cfg.CommitResolution
	if p.cfg.Mode != session.Full || p.login.Want != topology.WantWriter || setting == commit.SettingOff {
		return commit.Off, nil
	}
	key := modeKey(up.Instance)
	mode, done, err := p.modes.lookUp(ctx, key)
	if done == nil {
		return mode, err
	}
	defer done()
	mode, err = commit.Check(ctx, up, setting)
	if err != nil {
		if unusable := (*commit.UnusableError)(nil); errors.As(err, &unusable) {
			return commit.Off, &refusal{Problem: session.Problem{
				Code: "0A000", Message: "fairlead: commit_resolution=" + string(setting) + " does not work on this server",
				Detail: unusable.Err.Error(), Hint: unusable.Advice,
			}}
		}
		return commit.Off, err
	}
	p.modes.remember(key, mode)
	return mode, nil
}

// modeOf is commitMode, remembered for a lent upstream.
func (m *Conn) modeOf(ctx context.Context, up *backend.Upstream, x *lent) (commit.Mode, error) {
	version := m.pool.modes.version.Load()
	mode, err := m.pool.commitMode(ctx, up)
	if err == nil && mode != commit.Off {
		m.pool.catalog.Load() // it is wanted if it is not known
		err = m.pool.catalog.Renew(ctx, up, isRefusal)
	}
	if err == nil && x != nil {
		x.mode, x.modeAt, x.modeVersion = mode, time.Now(), version
	}
	return mode, err
}

// lookUp returns what is known, waiting for another session that is about to find out. When nothing is known, the caller is to
// find out, and to call done when he has remembered it or failed.
func (m *modes) lookUp(ctx context.Context, key string) (mode commit.Mode, done func(), err error) {
	for {
		m.mu.Lock()
		if known, ok := m.known[key]; ok && time.Since(known.at) < modeLife {
			m.mu.Unlock()
			return known.mode, nil, nil
		}
		other := m.pending[key]
		if other == nil {
			mine := make(chan struct{})
			if m.pending == nil {
				m.pending = make(map[string]chan struct{})
			}
			m.pending[key] = mine
			m.mu.Unlock()
			return commit.Off, func() {
				m.mu.Lock()
				delete(m.pending, key)
				m.mu.Unlock()
				close(mine)
			}, nil
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return commit.Off, nil, context.Cause(ctx)
		}
	}
}

func (m *modes) remember(key string, mode commit.Mode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.known == nil {
		m.known = make(map[string]knownMode)
	}
	if before, ok := m.known[key]; ok && before.mode != mode {
		m.version.Add(1)
	}
	for k, old := range m.known {
		if now.Sub(old.at) >= modeLife {
			delete(m.known, k)
		}
	}
	m.known[key] = knownMode{mode, now}
}

// decidable tells the session how commits on the upstream that it is given can be decided.
func (m *Conn) decidable(mode commit.Mode) {
	m.s.PrepareAlways = m.s.PrepareAlways || m.pool.prepare.Load()
	m.s.Decidable(mode, m.uuid)
}

// probeFailed is told that the statement that makes commits decidable has failed though it had worked.
func (p *Pool) probeFailed(up *backend.Upstream, why string) {
	if why == session.Unprepared {
		p.prepare.Store(true)
		return
	}
	p.modes.remember(modeKey(up.Instance), commit.Off)
	if p.cfg.Logger != nil {
		p.cfg.Logger.Warn("commits cannot be decided on this server for now: the injected statement failed",
			"cluster", p.cfg.Name, "instance", up.Instance.ID, "error", why)
	}
}

// decideAll asks the writer, over an upstream that is to be the session's, what became of the commits in doubt, and has
// the session draw its conclusions. mu is held, and let go of meanwhile.
func (m *Conn) decideAll(ctx context.Context, up *backend.Upstream) error {
	for {
		e, ok := m.s.Doubt()
		if !ok {
			break
		}
		reign := m.pool.login.Cluster.Snapshot().Reign
		var outcome commit.Outcome
		var err error
		m.unlocked(func() { outcome, err = commit.Decide(ctx, up, e, reign) })
		if log := m.pool.cfg.Logger; log != nil {
			log.Debug("commit in doubt", "instance", up.Instance.ID, "outcome", outcome, "evidence", e, "reign", reign, "error", err)
		}
		var pg *pgconn.PgError
		switch {
		case m.closed || m.broken:
			return errors.New("closed")
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR":
			outcome = commit.Unknown // the server lives, and does not tell
		case err != nil:
			return err
		}
		m.s.Decided(outcome)
	}
	verdict, reason := m.s.Settle()
	m.settle(verdict, reason)
	return nil
}

// sameServer reports whether two connections led to the same run of the same server, as far as that is known.
func sameServer(a, b topology.Instance) bool {
	return a.ID == b.ID && (a.Boot == "" || b.Boot == "" || a.Boot == b.Boot)
}

// endFormer ends the server process of the upstream that a session has lost, if it still lives on the server that it is
// on now: it may hold locks, and the fate of its transaction must be settled. The process is known by its number, its
// user and database, and its age: a number that was given out again belongs to a process that is younger than the
// connection was.
func endFormer(ctx context.Context, up *backend.Upstream, last *former, committing bool) error {
	age := time.Since(last.since)
	row := fmt.Sprintf(`from pg_catalog.pg_stat_activity where pid operator(pg_catalog.=) %d and usename operator(pg_catalog.=) session_user`+
		` and datname operator(pg_catalog.=) pg_catalog.current_database()`+
		` and (pg_catalog.clock_timestamp() operator(pg_catalog.-) backend_start) operator(pg_catalog.>=) interval '%d milliseconds'`,
		last.pid, max(0, (age-age/1000-time.Second)/time.Millisecond))
	begun := time.Now()
	for {
		state, err := up.Query(ctx, `select coalesce(state, 'unknown') `+row)
		if err != nil || state == "" {
			return unlessRefused(err)
		}
		if !committing || state != "active" || time.Since(begun) > commitGrace {
			if _, err := up.Query(ctx, `select pg_catalog.pg_terminate_backend(pid) `+row); err != nil {
				return unlessRefused(err)
			}
		}
		timer := time.NewTimer(settlePoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// isRefusal reports whether an error is that of a server that lives.
func isRefusal(err error) bool { return err != nil && unlessRefused(err) == nil }

// unlessRefused is nil for an error of a server that lives: a process that cannot be ended is waited for by those who
// need its locks.
func unlessRefused(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" {
		return nil
	}
	return err
}
