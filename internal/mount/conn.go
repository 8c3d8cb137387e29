package mount

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
	"github.com/fairlead-go/fairlead/topology"
)

const (
	// smallRead is the size, in bytes, below which a caller's buffer is not read into: whole messages would not fit.
	smallRead = 512
	// firstBuffer and largestBuffer bound the buffer for messages that the caller's own cannot take, in bytes; longer
	// ones are streamed.
	firstBuffer   = 8 << 10
	largestBuffer = 1 << 20
	// bulkBuffer is what is read at once, in bytes, while the server sends faster than the caller reads: a system call costs
	// more than copying what it brings.
	bulkBuffer = 64 << 10
)

// bulkBuffers are those that are not in use.
var bulkBuffers = sync.Pool{New: func() any { return new([bulkBuffer]byte) }}

// Conn is the server side of the protocol in front of one client connection. Write sends straight to the upstream and
// Read reads straight from it, in the caller's goroutine; the session looks at message headers on the way. When the
// upstream is lost, the caller who noticed brings the session to another one.
//
// Any number of goroutines may call its methods: pgx reads and writes at once during COPY, and sets deadlines from a
// third. mu guards all fields and is never held across I/O. gate is the right to use the upstream alone.
type Conn struct {
	pool    *Pool
	cluster *topology.Cluster // the pool's
	id      uint64
	key     []byte   // the cancel key that the client was given
	pid     uint32   // the process ID that the client was given
	uuid    [16]byte // of the session, where its commits are marked

	mu   sync.Mutex
	s    *session.Session
	up   *backend.Upstream
	lent *lent         // up, when it is borrowed
	news chan struct{} // closed when something has changed that others wait for, and made anew

	gate    bool     // somebody has the upstream to himself
	section *section // what he does
	reading bool     // a Read is inside up.Read
	writing bool     // a write of the mount's own goes on in the background

	tracks bool            // settings are read back
	ticket topology.Ticket // of the suspicion that the last loss raised
	replay bool            // the unit is to be replayed on the next upstream
	decide bool            // commits of the unit are to be decided there
	more   bool            // a replay has caught up, and has more to send
	last   *former         // the upstream that was lost

	terminated   string         // the server that an administrator last ended a connection of the session's on
	terminatedAt time.Time      // when that was
	insisted     *endedError    // it was done again: the session ends, unless the server has
	reason       session.Reason // why the session took its last verdict
	lostAt       time.Time      // when the upstream was lost; zero while there is one
	resumeBy     time.Time      // when the resume that goes on ends, whatever the server answers; zero: none does
	again        error          // what the last replay of it met
	doubt        bool           // the message in hold is a 25006 that may mean that this is not the writer any more
	confirm      bool           // the message in hold acknowledges a commit, and its server is under suspicion
	notified     bool           // it is held back only until the hub has received what its unit has notified
	reshow       bool           // hold is to be shown to the session again

	start []byte // bytes of the startup packet, until it is whole
	ready bool   // the startup is over

	undiscerned *atomic.Bool // see Undiscerned; nil: calls without replay are told
	exempted    bool         // the session replays nothing, because of that

	params map[string]string // what the client is told of its server in the startup

	pend  []byte            // whole messages for the client
	first []byte            // what is to be written once there is an upstream
	hold  []byte            // an incomplete message from the upstream
	big   []byte            // where messages are read that the caller's buffer cannot take; pend may be a part of it
	inBig bool              // hold is, or was, the beginning of big
	bulk  *[bulkBuffer]byte // where to read while much comes; pend may be a part of it
	slow  bool              // not much comes any more

	kicked  bool            // a Read was called out of up.Read
	hub     *hub            // receives notifications for the session; nil: none
	unheard time.Time       // until when the hub is not asked again
	deaf    error           // why notifications cannot be had any more
	onNews  func()          // see OnNews
	cancels int             // CancelRequests on their way to up
	pins    map[string]bool // what has kept the session on a lent upstream so far

	deadlines [2]time.Time // by direction
	timed     bool         // there has been one
	waiters   int          // those inside wait
	crowded   bool         // somebody waits inside Settle
	closed    bool
	broken    bool          // it has crashed
	given     bool          // the client gave up: nothing is resumed any more
	departed  chan struct{} // closed when the upstream of a client that has left is clean, or ended; nil: see depart
	end       error         // what Read returns once pend is empty
}

type direction int

const (
	reads direction = iota
	writes
)

var _ net.Conn = (*Conn)(nil)

func newConn(p *Pool, id uint64) *Conn {
	m := &Conn{pool: p, cluster: p.login.Cluster, id: id, key: make([]byte, 4), news: make(chan struct{}), s: session.New(p.cfg.Mode, p.cfg.JournalLimit)}
	m.s.RefuseLocks, m.s.TrustFunctions = p.cfg.RefuseLocks, p.cfg.TrustFunctions
	m.s.MayBeRuled = p.mayBeRuled
	m.tracks = len(p.cfg.TrackSettings) > 0
	if p.lender != nil {
		m.s.Share(id)
		m.s.Functions = &p.functions
		m.s.NoBlocks, m.s.MemoryLimit = p.lender.cfg().NoBlocks, p.lender.cfg().ClientMemory
	}
	return m
}

// Read implements net.Conn. Where upstreams are lent, it returns 0 and no error if what it was called for has come to nothing that the
// client is told: whoever asks [Conn.Due] has to ask again.
func (m *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, ok, err := m.readOnce(p)
	if !ok {
		n, _, err = m.readOnce(p) // it has crashed, and says so
	}
	return n, err
}

// readOnce is Read; not ok, that it has crashed.
func (m *Conn) readOnce(p []byte) (n int, ok bool, err error) {
	m.mu.Lock()
	defer m.done()
	n, err = m.read(p)
	return n, true, err
}

// read is Read with mu held.
func (m *Conn) read(p []byte) (int, error) {
	resumed := false
	for {
		switch {
		case len(m.pend) > 0:
			n := copy(p, m.pend)
			if m.pend = m.pend[n:]; len(m.pend) == 0 {
				m.pend = nil
				if m.bulk != nil && (m.slow || !m.s.Busy()) {
					bulkBuffers.Put(m.bulk)
					m.bulk = nil
				}
			}
			return n, nil
		case m.end != nil:
			return 0, m.end
		case m.closed:
			return 0, net.ErrClosed
		case m.hears():
			m.say()
		case m.gate:
			if err := m.wait(reads); err != nil {
				return 0, err
			}
		case m.given && (m.up == nil || !m.s.Busy() && !m.s.Waits()):
			m.terminate() // the client said so while it was owed something, and the server may know
		case !m.ready:
			// Nothing that the upstream sends is for the client before its startup message.
			if err := m.wait(reads); err != nil {
				return 0, err
			}
		case resumed && !m.handsOver() && !m.due():
			return 0, nil
		case m.up == nil && !m.owes():
			// An idle session needs no upstream until its next Write.
			if err := m.wait(reads); err != nil {
				return 0, err
			}
		case m.up == nil:
			if err := m.resume(reads); err != nil {
				return 0, err
			}
			resumed = m.pool.lender != nil
			if m.lent != nil && m.up != nil && !m.gate && m.s.Free() {
				m.release() // it was needed to decide a commit, and nothing is to come from it
			}
		case m.doubt:
			m.stillWriter()
		case m.confirm:
			m.confirmAck()
		case m.more:
			m.proceed()
		case m.handsOver():
			m.handOver()
		default:
			if n, err := m.readUpstream(p); n > 0 || err != nil {
				return n, err
			}
		}
	}
}

// owes reports whether the client waits for something that only another upstream can give: an answer, or notifications.
func (m *Conn) owes() bool {
	return m.ready && !m.given && (m.s.Busy() || m.s.HasUnsent() || m.s.Listening() && m.s.Idle())
}

// readUpstream reads once from the upstream and takes in what came. It returns 0, nil when the caller has to look again.
// It is called with mu held and lets go of it while it reads.
func (m *Conn) readUpstream(p []byte) (int, error) {
	u := m.up
	h := len(m.hold)
	buf, own, bulk := p, false, false
	size, _ := wire.Size(m.hold)
	switch {
	case size > bulkBuffer: // read to where it can stay until it is whole
		buf, own = m.buffer(), true
	case m.bulk != nil && h < bulkBuffer/2:
		buf, own, bulk = m.bulk[:], true, true
	case len(p) < smallRead || h > len(p)/2:
		buf, own = m.buffer(), true
	}
	m.show(buf)
	var n int
	var err error
	if m.reshow {
		m.reshow = false
	} else {
		m.reading = true
		n, err = m.readFrom(u, buf[h:])
		m.reading = false
		if m.gate {
			m.tell()
		}
		if m.kicked && m.up == u {
			m.applyDeadlines()
			if m.kicked = false; isTimeout(err) {
				err = nil
			}
			if n == 0 && err == nil && !m.gate && m.s.Free() {
				m.release()
				return 0, nil
			}
		}
		if m.up != u {
			return 0, nil
		}
	}
	var before []byte
	deliver := 0
	if h+n > 0 && (n > 0 || err == nil) {
		before, deliver = m.take(buf[:h+n], len(buf))
	}
	if m.crowded && !m.s.Crowded() {
		m.crowded = false
		m.tell()
	}
	if m.lent != nil && m.up == u && m.s.Inspects() && m.s.Free() && !m.gate {
		m.inspect()
	}
	if m.up == u && !m.gate && m.handsOver() {
		m.handOver()
	}
	if err == nil && m.up == u && u.Leaves() {
		m.moveOn()
	}
	if err != nil && m.up == u {
		if !isTimeout(err) {
			m.lose(lossOf(u, err))
		} else if m.overdue() && !m.gate {
			m.refuseLate()
		} else if !m.gate && deliver == 0 && len(before) == 0 {
			return 0, err // the caller's deadline
		}
	}
	if m.slow = n < len(p)-h; m.bulk == nil && !m.slow && len(p) >= firstBuffer && len(p) < bulkBuffer/2 {
		m.bulk = bulkBuffers.Get().(*[bulkBuffer]byte)
	}
	if len(before) == 0 && len(m.pend) == 0 {
		switch {
		case !own:
			return deliver, nil
		case bulk, deliver > bulkBuffer:
			m.pend = buf[:deliver:deliver]
			return 0, nil
		}
	}
	// What the session said on the way stands before what it let through, and what it says of a loss behind it.
	m.pend = append(append(before, buf[:deliver]...), m.pend...)
	return 0, nil
}

// readFrom reads from an upstream. mu is held, and let go of meanwhile.
func (m *Conn) readFrom(u *backend.Upstream, b []byte) (int, error) {
	u.Expect(m.s.Due())
	m.mu.Unlock()
	defer m.mu.Lock()
	return u.Read(b)
}

// buffer returns a buffer with room for the message that begins in hold.
func (m *Conn) buffer() []byte {
	need := max(firstBuffer, len(m.hold)+smallRead)
	if n, ok := wire.Size(m.hold); ok {
		need = max(need, min(n, max(largestBuffer, 2*len(m.hold))))
	}
	if len(m.big) < need || len(m.pend) > 0 {
		m.big = make([]byte, need)
	}
	return m.big
}

// show puts what is held at the beginning of a buffer, if it is not there.
func (m *Conn) show(buf []byte) {
	if len(m.hold) > 0 && &m.hold[0] != &buf[0] {
		copy(buf, m.hold)
	}
}

// keep holds b, which is what a message begins with, or nothing.
func (m *Conn) keep(b []byte) {
	if len(b) > 0 && len(m.big) > 0 && &b[0] == &m.big[0] {
		m.hold, m.inBig = b[:len(b):len(b)], true
		return
	}
	if m.inBig {
		m.hold, m.inBig = nil, false
	}
	m.hold = append(m.hold[:0], b...)
}

// take shows bytes of the upstream's to the session. deliver is how many at the start of b are for the client, before
// what it is to get ahead of them. The incomplete rest is kept.
func (m *Conn) take(b []byte, room int) (before []byte, deliver int) {
	m.s.Guard(m.cluster.Suspicious())
	v := m.s.Server(b)
	before = m.s.TakeOut()
	whole := len(b) == room && v.Cut == 0
	m.keep(b[v.Keep : len(b)-v.Cut])
	if m.s.ProbeError != "" {
		m.pool.probeFailed(m.up, m.s.ProbeError)
		m.s.ProbeError = ""
	}
	if !m.resumeBy.IsZero() && !m.s.Waits() {
		m.endResume()
	}
	if m.s.Defined {
		m.s.Defined = false
		m.pool.catalog.Forget()
	}
	switch v.Event {
	case session.None:
		m.up.Heard(!m.s.Busy())
		if v.Keep == 0 && whole && room >= largestBuffer && m.s.Stream(b) {
			m.hold = m.hold[:0]
			return before, len(b)
		}
		if m.lent != nil && m.s.Free() {
			m.big = nil
			m.release()
		}
		if len(m.big) > firstBuffer && len(m.hold) == 0 && v.Deliver < len(m.big)/2 {
			m.big = nil
		}
	case session.Gone:
		m.gone(v.Err)
	case session.ReadOnly:
		m.doubt = true
	case session.Acked:
		m.confirm = true
	case session.Notified:
		m.confirm, m.notified = true, true
	case session.Proceed:
		m.up.Heard(false)
		m.more = true
	case session.Again:
		m.again = fmt.Errorf("the replay met %s: %s", v.Err.Code, v.Err.Message)
		m.drop(m.again)
	case session.Canceled:
		m.refuse(canceled)
	case session.Diverged:
		m.refuse(session.Problem{
			Code:    session.CodeSerialization,
			Message: "fairlead: the work in flight was repeated on another server, and the answer is not the one already delivered",
			Detail:  m.s.Divergence(),
			Hint:    "Nothing of it was committed. Run the transaction again.",
		})
	case session.Broken:
		m.lose(errors.New("the server sent " + cmp.Or(m.s.BrokenBy(), "what is not PostgreSQL's protocol")))
	}
	return before, v.Deliver
}

// gone is a server's announcement that it ends the connection. An administrator who ends an idle session twice within a
// second means the session and not the connection: then it ends, too. A server that shuts down says the same to all; whether
// that was it shows when another is found.
func (m *Conn) gone(words wire.Error) {
	server, ended := modeKey(m.up.Instance), &endedError{words: words}
	if words.Code == "57P01" && m.terminated == server && time.Since(m.terminatedAt) < time.Second && m.s.Idle() {
		m.insisted = ended
	}
	m.terminated, m.terminatedAt = "", time.Now()
	if words.Code == "57P01" {
		m.terminated = server
	}
	m.lose(ended)
}

// Close implements net.Conn.
func (m *Conn) Close() error {
	first, departing := m.close()
	if !first {
		return net.ErrClosed
	}
	if !departing {
		m.pool.left(m)
	}
	return nil
}

// close is Close but for the pool's account, which is left to who cleans up behind a client that departs. It is not the first if that
// was done before.
func (m *Conn) close() (first, departing bool) {
	m.mu.Lock()
	defer m.done()
	if m.closed {
		return false, false
	}
	m.closed, first = true, true
	return true, m.endAll()
}

// endAll ends what the session has, or reports that it departs. mu is held.
func (m *Conn) endAll() (departing bool) {
	if m.broken {
		m.tell()
		return false // it has ended already
	}
	if m.section != nil {
		m.section.cancel(net.ErrClosed)
	}
	if m.hub != nil {
		m.hub.keep(m, nil)
		m.hub = nil
	}
	busy := m.s.Busy() || m.s.Status() != wire.StatusIdle
	switch {
	case m.up == nil || m.departing():
	case busy:
		if !m.depart() {
			m.part(m.up, true)
		}
	default:
		m.partIdle()
	}
	departing = m.departing() // then that ends what is left of it
	m.tell()
	return departing
}

// SetDeadline implements net.Conn.
func (m *Conn) SetDeadline(t time.Time) error { return m.setDeadlines(t, reads, writes) }

// SetReadDeadline implements net.Conn.
func (m *Conn) SetReadDeadline(t time.Time) error { return m.setDeadlines(t, reads) }

// SetWriteDeadline implements net.Conn.
func (m *Conn) SetWriteDeadline(t time.Time) error { return m.setDeadlines(t, writes) }

func (m *Conn) setDeadlines(t time.Time, dirs ...direction) error {
	m.mu.Lock()
	defer m.done()
	if m.closed {
		return net.ErrClosed
	}
	for _, d := range dirs {
		m.deadlines[d] = t
	}
	m.timed = m.timed || !t.IsZero()
	m.tell()
	if m.section != nil {
		m.section.arm(m.deadlines[m.section.dir])
		return nil // the holder of the gate sets those of the upstream when he is done
	}
	m.applyDeadlines()
	return nil
}

func (m *Conn) applyDeadlines() {
	if m.up == nil {
		return
	}
	// A closed socket refuses deadlines; whoever reads or writes finds out by himself.
	_ = m.up.SetReadDeadline(m.until(reads))
	_ = m.up.SetWriteDeadline(m.until(writes))
}

// wait lets go of mu until something has changed, or the deadline of that direction has come.
func (m *Conn) wait(dir direction) error {
	news, deadline := m.news, m.deadlines[dir]
	m.waiters++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.waiters--
	}()
	if deadline.IsZero() {
		<-news
		return nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-news:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// tell wakes all who wait.
func (m *Conn) tell() {
	close(m.news)
	m.news = make(chan struct{})
}

// flush puts what the session has to say behind what is already on its way to the client.
func (m *Conn) flush() {
	if out := m.s.TakeOut(); len(out) > 0 {
		m.pend = append(m.pend, out...)
		m.tell()
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// lossOf prefers why the registry closed the connection to what reading a closed connection says.
func lossOf(u *backend.Upstream, err error) error {
	if cause := u.Killed(); cause != nil {
		return cause
	}
	return err
}

// endedError is a server's own announcement that it ends the connection.
type endedError struct{ words wire.Error }

func (e *endedError) Error() string {
	return e.words.Severity + " " + e.words.Code + ": " + e.words.Message
}
