package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/wire"
	"github.com/fairlead-go/fairlead/topology"
)

// readBack asks the upstream for the settings that functions of the user's own make.
func (m *Conn) readBack() error {
	ctx, leave := m.enter(writes)
	defer leave()
	u := m.up
	if err := m.alone(u); err != nil || m.up != u {
		return err
	}
	u.Unread(m.hold)
	m.hold = m.hold[:0]
	var values map[string]string
	var err error
	m.unlocked(func() { values, err = m.pool.askSettings(ctx, u) })
	switch {
	case m.up != u:
	case err == nil:
		m.s.ReadBack(values)
	case errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded):
		m.lose(err)
		return os.ErrDeadlineExceeded
	default:
		m.lose(fmt.Errorf("read settings back: %w", lossOf(u, err)))
	}
	return nil
}

// readCatalog asks the upstream what the pool has to know of its database.
func (m *Conn) readCatalog() error {
	ctx, leave := m.enter(writes)
	defer leave()
	u := m.up
	if err := m.alone(u); err != nil || m.up != u {
		return err
	}
	u.Unread(m.hold)
	m.hold = m.hold[:0]
	m.mu.Unlock()
	err := m.pool.catalog.Renew(ctx, u, isRefusal)
	m.mu.Lock()
	switch {
	case m.up != u:
	case err == nil:
		m.s.ForgetUnnamed() // a Query takes its place
	case errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded):
		m.lose(err)
		return os.ErrDeadlineExceeded
	default:
		m.lose(lossOf(u, err))
	}
	return nil
}

// mayBeRuled reports whether a rule may rewrite the statement of a text, as far as is known.
func (p *Pool) mayBeRuled(text []byte) bool { return p.catalog.Load().MayBeRuled(text) }

// askSettings reads the settings that are tracked.
func (p *Pool) askSettings(ctx context.Context, u *backend.Upstream) (map[string]string, error) {
	text, err := undisturbed(ctx, u, p.readBack)
	if err != nil {
		return nil, err
	}
	var known map[string]*string
	if err := json.Unmarshal([]byte(text), &known); err != nil {
		return nil, fmt.Errorf("the answer to a query for settings: %w", err)
	}
	values := make(map[string]string)
	for name, v := range known {
		if v != nil {
			values[name] = *v
		}
	}
	return values, nil
}

// readBackQuery asks for settings as one JSON object; those that are not set at all are null.
func readBackQuery(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		literal := "'" + strings.ReplaceAll(name, "'", "''") + "'"
		b.WriteString(literal + ", pg_catalog.current_setting(" + literal + ", true)")
	}
	return commit.Tag + "SELECT pg_catalog.json_build_object(" + b.String() + ")"
}

// alone has a Read that is inside the upstream leave it. The gate is taken.
func (m *Conn) alone(u *backend.Upstream) error {
	for m.reading && m.up == u {
		_ = u.SetReadDeadline(time.Unix(1, 0))
		if err := m.wait(writes); err != nil {
			return err
		}
	}
	if m.up == u {
		_ = u.SetReadDeadline(time.Time{})
	}
	return nil
}

// quiesce reads all answers that are outstanding. It makes the server send them first: without a Sync it may keep them.
func (m *Conn) quiesce(ctx context.Context) error {
	if !m.s.Busy() {
		return nil
	}
	u := m.up
	if _, err := u.Write([]byte{wire.Flush, 0, 0, 0, 4}); err != nil {
		m.lose(lossOf(u, err))
		return nil
	}
	return m.readWhile(ctx, u, m.s.Busy)
}

// catchUp sees a replay through before the client's next messages are taken.
func (m *Conn) catchUp() error {
	ctx, leave := m.enter(writes)
	defer leave()
	u := m.up
	if err := m.alone(u); err != nil || m.up != u {
		return err
	}
	err := m.readWhile(ctx, u, func() bool { return m.s.Waits() && !m.more })
	if err == nil && m.up == u && m.more {
		m.more = false
		m.send(m.s.Proceed())
	}
	return err
}

// readWhile takes in what the upstream sends while the condition holds; the client gets it later.
func (m *Conn) readWhile(ctx context.Context, u *backend.Upstream, condition func() bool) error {
	stop := context.AfterFunc(ctx, func() { _ = u.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for m.up == u && condition() && !m.doubt && !m.confirm {
		buf := m.buffer()
		h := len(m.hold)
		m.show(buf)
		var n int
		var err error
		again := m.reshow
		if m.reshow = false; !again {
			n, err = m.readFrom(u, buf[h:])
		}
		if (n > 0 || again) && m.up == u {
			before, deliver := m.take(buf[:h+n], len(buf))
			m.pend = append(append(m.pend, before...), buf[:deliver]...)
			if limit := m.s.MemoryLimit; limit > 0 && len(m.pend) > 2*limit && m.up == u {
				m.excess() // the client sends on, and has not taken what it was answered
				return nil
			}
		}
		if err != nil && m.up == u {
			if cause := context.Cause(ctx); cause != nil && isTimeout(err) {
				return m.interrupted(cause, err)
			}
			m.lose(lossOf(u, err))
		}
	}
	return nil
}

// peek looks whether an upstream that was not heard of for a while has died meanwhile. What it sent is taken in.
func (m *Conn) peek() {
	u := m.up
	if m.reading || !u.Readable() {
		return
	}
	ctx, leave := m.enter(writes)
	defer leave()
	for m.up == u && u.Readable() && ctx.Err() == nil && len(m.pend) < largestBuffer {
		_ = u.SetReadDeadline(time.Now().Add(time.Millisecond))
		buf := m.buffer()
		h := len(m.hold)
		m.show(buf)
		n, err := m.readFrom(u, buf[h:])
		if n > 0 && m.up == u {
			before, deliver := m.take(buf[:h+n], len(buf))
			m.pend = append(append(m.pend, before...), buf[:deliver]...)
		}
		if err != nil && !isTimeout(err) && m.up == u && ctx.Err() == nil {
			m.lose(lossOf(u, err))
		}
	}
}

// stillWriter finds out what a 25006 means: a read-only transaction of the client's own, or a server that is not the
// writer any more. A statement that was refused so has had no effect.
func (m *Conn) stillWriter() {
	u := m.up
	m.doubt, m.reshow = false, true
	if m.pool.login.Want != topology.WantWriter || m.pool.cfg.Topology == topology.KindNone {
		m.s.AcceptReadOnly()
		return
	}
	ctx, leave := m.enter(reads)
	defer leave()
	ticket := m.pool.login.Cluster.Suspect(u.Instance.ID, errors.New("it refused a write as read-only (25006)"))
	in, err := m.pick(ctx, ticket)
	if m.up != u {
		return
	}
	if err != nil || in.ID == u.Instance.ID {
		m.s.AcceptReadOnly()
		return
	}
	m.s.Refused()
	m.lose(fmt.Errorf("%s is not the writer any more: %s is", u.Instance.ID, in.ID))
}

// pick waits for the writer. mu is held, and let go of meanwhile.
func (m *Conn) pick(ctx context.Context, after topology.Ticket) (in topology.Instance, err error) {
	m.unlocked(func() { in, _, err = m.pool.login.Cluster.Pick(ctx, topology.WantWriter, after) })
	return in, err
}

// confirmAck holds an acknowledgement back until its server has proved, after it came, that it is the writer still: a
// server that was frozen while another one took over may have sent it.
func (m *Conn) confirmAck() {
	u := m.up
	m.confirm, m.reshow = false, true
	if m.notified {
		m.notified = false
		m.hearOwn()
		return
	}
	cluster := m.pool.login.Cluster
	if m.pool.login.Want != topology.WantWriter || m.pool.cfg.Topology == topology.KindNone {
		m.s.AcceptAck()
		return
	}
	ctx, leave := m.enter(reads)
	defer leave()
	in, err := m.pick(ctx, cluster.Now())
	switch {
	case m.up != u:
	case err == nil && sameServer(in, u.Instance):
		m.s.AcceptAck()
	case err == nil:
		m.lose(fmt.Errorf("%s is not the writer any more: %s is", u.Instance.ID, in.ID))
	default:
		m.lose(fmt.Errorf("%s could not be confirmed as the writer: %w", u.Instance.ID, err))
	}
}
