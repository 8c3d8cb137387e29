package session

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// simPlan is how a connection ends.
type simPlan struct {
	cut      bool
	in       int  // so many bytes does the server get and work on
	out      int  // so many of its answer arrive
	words    int  // 0: nothing, 1: FATAL, 2: a warning before its end
	writeErr bool // a write that the server gets nothing of fails
}

// simConn is a connection to a server.
type simConn struct {
	b      *simBackend
	plan   simPlan
	in     []byte // written
	worked int    // up to where the server has worked on it
	out    int    // delivered
	dead   bool
	spoke  bool
}

// work has the server take what it was sent.
func (c *simConn) work() {
	end := len(c.in)
	if c.plan.cut {
		end = min(end, c.plan.in)
	}
	for !c.dead {
		n, ok := wire.Size(c.in[c.worked:end])
		if !ok || n > end-c.worked {
			return
		}
		c.b.handle(c.in[c.worked : c.worked+n])
		c.worked += n
	}
}

func (c *simConn) die() {
	if !c.dead {
		c.work()
		c.dead = true
		c.b.abort()
	}
}

func (c *simConn) write(p []byte) (none bool, err error) {
	if c.dead {
		return true, fmt.Errorf("closed")
	}
	if c.plan.cut && c.plan.writeErr && len(c.in)+len(p) > c.plan.in {
		none = len(c.in) >= c.plan.in
		c.in = append(c.in, p...)
		c.die()
		return none, fmt.Errorf("broken pipe")
	}
	c.in = append(c.in, p...)
	return false, nil
}

// available is what can be read at once; ended that no more will ever come.
func (c *simConn) available() (b []byte, ended bool) {
	if c.dead {
		return nil, true
	}
	c.work()
	end := c.b.flushed
	if c.plan.cut && end > c.plan.out {
		end, ended = c.plan.out, true
	}
	if c.plan.cut && len(c.in) > c.plan.in {
		ended = true
	}
	if ended && c.plan.words > 0 {
		// A server's last words stand between messages.
		n := 0
		eachMessage(c.b.out[:end], func(m []byte) { n += len(m) })
		if end = n; end < c.out {
			end = c.out
		} else if end == c.out && !c.spoke {
			c.spoke = true
			return c.words(), false
		} else if end > c.out {
			ended = false // the words come next
		}
	}
	return c.b.out[min(c.out, end):end], ended
}

func (c *simConn) words() []byte {
	m := []pgproto3.BackendMessage{
		&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01", Message: "terminating connection"},
		&pgproto3.NoticeResponse{Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: "57P02", Message: "terminating connection"},
	}[c.plan.words-1]
	b, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// simMount drives the session as the driver's mount does.
type simMount struct {
	t   *rapid.T
	c   *modelClient
	s   *Session
	w   *simWorld
	key [16]byte

	mode   commit.Mode
	losses int  // how many more there may be
	calm   bool // servers have no whims any more
	// whimsical has all servers but the first answer something differently.
	whimsical bool
	span      int // bytes among which a cut is chosen
	piece     int // the most that one read gives; 0: all

	up     *simConn
	hold   []byte
	replay bool
	decide bool
	more   bool
	doubt  bool
	reshow bool
	ended  bool
	conns  int
	steps  int

	verdicts map[Verdict]int
	log      func(format string, args ...any)
}

func (m *simMount) deliver(b []byte) {
	if len(b) > 0 {
		m.c.read(b)
	}
}

func (m *simMount) flush() { m.deliver(m.s.TakeOut()) }

// step keeps a mistake of the model or the machine from going on for ever.
func (m *simMount) step() {
	if m.steps++; m.steps > 5000 {
		m.c.insist("there is no end")
	}
}

func (m *simMount) owes() bool { return m.s.Busy() || m.s.HasUnsent() }

// read reads once, and reports whether there was anything to do.
func (m *simMount) read() bool {
	m.step()
	switch {
	case m.ended:
		return false
	case m.up == nil && !m.owes():
		return false
	case m.up == nil:
		m.resume()
	case m.doubt:
		m.stillWriter()
	case m.more:
		m.more = false
		m.send(m.s.Proceed())
	default:
		return m.readUpstream()
	}
	return true
}

func (m *simMount) readUpstream() bool {
	u := m.up
	if m.reshow {
		m.reshow = false
		m.take(append([]byte(nil), m.hold...))
		return true
	}
	b, ended := u.available()
	if len(b) == 0 && !ended {
		return false
	}
	if m.piece > 0 && len(b) > m.piece && !u.spoke {
		b, ended = b[:m.piece], false
	}
	if !u.spoke {
		u.out += len(b)
	}
	if len(b) > 0 {
		m.take(append(append([]byte(nil), m.hold...), b...))
	}
	if ended && m.up == u {
		m.lose("the connection was cut")
	}
	return true
}

func (m *simMount) take(b []byte) {
	v := m.s.Server(b)
	m.flush()
	if v.Deliver > v.Keep || v.Keep > len(b)-v.Cut {
		m.c.fail("delivers %d and keeps from %d of %d bytes", v.Deliver, v.Keep, len(b)-v.Cut)
	}
	m.deliver(b[:v.Deliver])
	m.hold = append(m.hold[:0], b[v.Keep:len(b)-v.Cut]...)
	m.s.ProbeError = ""
	switch v.Event {
	case Gone:
		m.lose("57P01")
	case ReadOnly:
		m.doubt = true
	case Proceed:
		m.more = true
	case Again:
		m.lose("again")
	case Diverged:
		m.log("diverged: %s", m.s.Divergence())
		m.refuse(Problem{Code: CodeSerialization, Message: "fairlead: diverged"})
	case Broken:
		m.c.fail("the session calls the server's answer broken")
		m.lose("broken")
	}
}

func (m *simMount) stillWriter() {
	m.doubt, m.reshow = false, true
	m.s.AcceptReadOnly()
}

// write is the client's; it returns when all was taken.
func (m *simMount) write(p []byte) {
	for len(p) > 0 && !m.ended {
		m.step()
		if m.up == nil && !m.s.Answering() {
			m.resume()
		}
		if u := m.up; u != nil && m.s.Waits() {
			for m.up == u && m.s.Waits() && !m.more && !m.doubt && m.readOrHang() {
			}
			if m.up == u && m.doubt {
				m.stillWriter()
				continue
			}
			if m.up == u && m.more {
				m.more = false
				m.send(m.s.Proceed())
			}
		}
		if m.up != nil && !m.s.Waits() {
			if missing := m.s.Missing(p); missing != nil {
				m.prepare(missing)
			}
		}
		if m.ended {
			return
		}
		if !m.s.Answering() && (m.up == nil || m.s.Waits()) {
			continue
		}
		p = p[m.dispatch(p):]
	}
}

func (m *simMount) readOrHang() bool {
	m.step()
	if m.readUpstream() {
		return true
	}
	m.c.insist("a replay waits for answers that do not come")
	return false
}

func (m *simMount) dispatch(p []byte) int {
	mark := m.s.Mark()
	out := m.s.Client(p)
	m.flush()
	n := len(p) - len(out.Rest)
	switch {
	case out.Lost:
		m.c.fail("the session calls what the client sent broken")
		m.ended = true
		return n
	case out.Empty():
		return n
	case m.up == nil:
		m.c.fail("the session wants to send %q, and has no upstream", out.Bytes())
		return n
	}
	u := m.up
	m.s.Sent()
	none, err := u.write(out.Bytes())
	if err == nil {
		return n
	}
	undone := none && m.s.Undo(mark)
	m.log("write failed, none %t, undone %t", none, undone)
	m.lose("the write failed")
	if undone {
		return 0
	}
	return n
}

func (m *simMount) lose(cause string) {
	m.drop()
	m.settle(m.s.Lost(cause))
}

func (m *simMount) drop() {
	m.up.die()
	m.up, m.hold, m.doubt, m.reshow, m.more = nil, nil, false, false, false
}

func (m *simMount) settle(v Verdict, r Reason) {
	m.log("verdict %d %s", v, r)
	m.verdicts[v]++
	m.replay, m.decide = v == Replay, v == Resolve
	m.flush()
	if v == Ended {
		m.ended = true
	}
}

func (m *simMount) refuse(p Problem) {
	if m.up != nil {
		m.drop()
	}
	m.settle(m.s.Refuse(p))
}

// resume brings the session to another server.
func (m *simMount) resume() {
	for {
		m.step()
		up := m.attach()
		if up == nil {
			m.refuse(Problem{Code: CodeNoUpstream, Message: "fairlead: no server"})
			return
		}
		m.up, m.hold = up, nil
		m.s.Attached(map[string]string{"standard_conforming_strings": "on"}, uint32(m.conns))
		m.flush()
		var b []byte
		ok := true
		if m.replay {
			m.replay = false
			b, ok = m.s.BeginReplay()
			m.log("replay")
		} else if m.s.HasUnsent() {
			b = m.s.Resend()
		}
		if !ok {
			m.refuse(Problem{Code: CodeSerialization, Message: "fairlead: did not take effect, cannot be repeated"})
			return
		}
		if m.send(b) {
			return
		}
		if m.up != nil || !m.replay && !m.decide && !m.s.HasUnsent() || m.s.Answering() || m.ended {
			return
		}
	}
}

func (m *simMount) send(b []byte) bool {
	u := m.up
	if len(b) == 0 {
		return true
	}
	m.log("sends %s", frontendWords(b))
	if _, err := u.write(b); err != nil && m.up == u {
		m.lose("the write failed")
		return false
	}
	return m.up == u
}

// attach connects; nil when no server is to be had.
func (m *simMount) attach() *simConn {
	for {
		m.conns++
		up := &simConn{b: newSimBackend(m.w)}
		if m.losses > 0 {
			m.losses--
			switch rapid.IntRange(0, 11).Draw(m.t, "end") {
			case 0:
				m.log("no server")
				return nil
			case 1: // lost during what follows
				m.log("a server that is lost at once")
				if m.decide {
					if e, ok := m.s.Doubt(); ok && rapid.Bool().Draw(m.t, "decided") {
						m.s.Decided(m.truth(e))
					}
				}
				continue
			case 2:
				up.plan = simPlan{cut: true, in: rapid.IntRange(0, m.span).Draw(m.t, "in"), out: 1 << 30}
			default:
				up.plan = simPlan{
					cut: true, in: rapid.IntRange(0, m.span).Draw(m.t, "in"), out: rapid.IntRange(0, m.span).Draw(m.t, "out"),
					words: max(0, rapid.IntRange(-4, 2).Draw(m.t, "words")), writeErr: rapid.IntRange(0, 3).Draw(m.t, "write error") == 0,
				}
			}
			up.b.eager = rapid.IntRange(0, 3).Draw(m.t, "eager") == 0
		}
		m.log("connection %d: %+v", m.conns, up.plan)
		if !m.bring(up) {
			return nil
		}
		m.drawWhim(up.b)
		return up
	}
}

// whimCodes are errors that a replay may meet though its statements did not.
var whimCodes = []string{"23503", "22012", "25006", "40001", "53200", ""}

func (m *simMount) drawWhim(b *simBackend) {
	if m.calm || m.whimsical && m.conns == 1 || !m.whimsical && rapid.IntRange(0, 2).Draw(m.t, "whim") > 0 {
		return
	}
	b.whim = simWhim{at: rapid.IntRange(1, 5).Draw(m.t, "whim at"), code: rapid.SampledFrom(whimCodes).Draw(m.t, "whim code"),
		rows: rapid.IntRange(0, 3).Draw(m.t, "whim rows")}
	m.log("whim: %+v", b.whim)
}

// bring makes an upstream one that the session can go on with.
func (m *simMount) bring(up *simConn) bool {
	if m.decide {
		for {
			e, ok := m.s.Doubt()
			if !ok {
				break
			}
			m.s.Decided(m.truth(e))
		}
		m.settle(m.s.Settle())
	}
	m.s.Decidable(m.mode, m.key)
	restore := m.s.Restore()
	var missing []*Statement
	if m.replay {
		missing = m.s.MissingForReplay()
	} else {
		missing = m.s.Missing(m.s.Unsent())
	}
	if restore != "" {
		m.log("restores %s", strings.ReplaceAll(restore, "\n", " "))
		at := len(up.b.out)
		up.b.query(restore)
		eachMessage(up.b.out[at:], func(msg []byte) {
			if msg[0] == wire.ErrorResponse {
				m.c.fail("the settings %q cannot be restored", restore)
			}
		})
	}
	m.prepareAll(up.b, missing)
	up.b.out, up.b.flushed = nil, 0
	return true
}

// prepareAll makes statements on a server, each in a segment of its own; a refusal ends no transaction.
func (m *simMount) prepareAll(b *simBackend, list []*Statement) {
	whim := b.whim
	b.whim = simWhim{}
	defer func() { b.whim = whim }()
	for _, st := range list {
		m.log("prepares %q %q", st.Name(), st.Text())
		at, inBlock := len(b.out), b.status() == wire.StatusTransaction
		if st.Parse == nil {
			b.query(st.SQL)
		} else {
			b.handle(st.Parse)
			b.handle(encodeFrontend(&pgproto3.Describe{ObjectType: 'S', Name: st.Name()}))
			b.handle(msgSync)
		}
		made := []*Statement{st}
		eachMessage(b.out[at:], func(msg []byte) {
			if msg[0] == wire.ErrorResponse {
				made = nil
			}
		})
		if inBlock {
			b.tx.failed = false
		}
		m.s.Restored([]*Statement{st}, made)
	}
}

// prepare makes statements on the upstream that the session has.
func (m *simMount) prepare(missing []*Statement) {
	u := m.up
	if m.s.Busy() {
		if _, err := u.write(msgFlush); err != nil {
			m.lose("the write failed")
			return
		}
		for m.up == u && m.s.Busy() && !m.doubt && m.readOrHang() {
		}
		if m.up == u && m.doubt {
			m.stillWriter()
			return
		}
	}
	if m.up != u {
		return
	}
	u.work()
	if u.plan.cut && len(u.in) > u.plan.in {
		m.lose("lost while statements were prepared")
		return
	}
	at, flushed := len(u.b.out), u.b.flushed
	m.prepareAll(u.b, missing)
	u.b.out, u.b.flushed = u.b.out[:at], flushed
}

// truth is what the writer says of a commit in doubt.
func (m *simMount) truth(e commit.Evidence) (o commit.Outcome) {
	defer func() { m.log("decided %+v: %s", e, o) }()
	if rapid.IntRange(0, 9).Draw(m.t, "does not tell") == 0 {
		return commit.Unknown
	}
	switch e.Mode {
	case commit.Marker:
		if e.Answered && !e.Marked {
			return commit.Unknown
		}
		key := string(e.Key.Params()[0]) + " " + fmt.Sprint(e.Key.Seq)
		if m.w.marks[key] {
			return commit.Committed
		}
		m.w.tried[key] = commit.Aborted
		if e.Answered || e.NotReadOnly {
			return commit.Aborted
		}
	case commit.LSN:
		if !e.Answered || e.XID == 0 {
			return commit.Unknown
		}
		if want := m.w.boots[e.XID]; e.Boot != want {
			m.t.Fatalf("evidence of boot %s for a commit on %s", e.Boot, want)
		}
		if m.w.fates[e.XID] {
			return commit.Committed
		}
		return commit.Aborted
	}
	return commit.Unknown
}

func frontendWords(b []byte) string {
	var list []string
	eachMessage(b, func(msg []byte) {
		w := string(msg[0])
		switch msg[0] {
		case wire.Query:
			w += fmt.Sprintf(" %q", strings.TrimRight(string(wire.Body(msg)), "\x00"))
		case wire.Parse:
			n, t := parseParts(msg)
			w += fmt.Sprintf(" %s %q", n, t)
		}
		list = append(list, w)
	})
	return strings.Join(list, ", ")
}
