package backend

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/wire"
	"github.com/fairlead-go/fairlead/topology"
)

// ErrKilled is what reads and writes of an Upstream lead to after the registry has closed it. The cause is in Cause.
var ErrKilled = errors.New("backend: connection closed because its instance is not the one that is wanted any more")

// Upstream is a connection to a server that is logged in. One mount owns it; only Kill may be called by others.
type Upstream struct {
	Instance topology.Instance
	Epoch    uint64
	PID      uint32
	Since    time.Time         // of the end of the login
	Params   map[string]string // ParameterStatus values; kept up by Exchange, not by Read

	conn     net.Conn
	wire     *countedConn // under TLS: what really left
	hijacked *pgconn.HijackedConn
	early    []byte // read by Exchange, not asked for by it
	registry *Registry
	login    *Login
	want     topology.Want

	owner   sync.Locker // the mount's lock, which the registry's guards against a change; guards what follows, which is touched for every query: no atomics of its own
	waiting bool        // work is in flight
	owes    bool        // the server has all that it needs to answer it
	heard   uint32      // tick at which the server was last heard of, or the work began
	looked  uint32      // tick at which the socket was last looked into
	path    path        // what is known of the path while work is unanswered
	begun   uint32      // tick at which the work in flight began
	// sentBefore is what had been sent then.
	sentBefore int64

	doubt atomic.Bool // see Doubtful

	reading atomic.Uint32 // tick at which a read began that is not over; 0: nobody reads
	writing atomic.Uint32 // the same of a write
	sent    atomic.Int64  // bytes

	killed atomic.Pointer[error]
	closed atomic.Bool

	leaveAt atomic.Int64 // from when on it Leaves, in Unix nanoseconds; 0: it does not
	onLeave func()       // see OnLeave; guarded by the registry's lock
	leaving *time.Timer  // calls it; guarded by the registry's lock; nil: nothing does
}

// Read reads what the server sent.
func (u *Upstream) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		if u.early = u.early[n:]; len(u.early) == 0 {
			u.early = nil
		}
		return n, nil
	}
	if u.registry.asleep.Load() {
		u.registry.wake() // whoever reads though nothing was asked waits for notifications
	}
	u.reading.Store(u.registry.tick.Load())
	n, err := u.conn.Read(p)
	u.reading.Store(0)
	return n, err
}

// Write sends p. none reports that provably not one byte of it left this process.
func (u *Upstream) Write(p []byte) (none bool, err error) {
	var before int64
	if u.wire != nil {
		before = u.wire.written.Load()
	}
	u.writing.Store(u.registry.tick.Load())
	n, err := u.conn.Write(p)
	u.writing.Store(0)
	u.sent.Add(int64(n))
	if err == nil {
		return false, nil
	}
	if u.wire != nil {
		return u.wire.written.Load() == before, err
	}
	return n == 0, err
}

// watch puts the upstream into the registry.
func (u *Upstream) watch() {
	u.heard = u.registry.tick.Load()
	u.registry.add(u)
}

// Own gives the upstream to another owner. The locks of both owners are held, and no work is in flight.
func (u *Upstream) Own(owner sync.Locker) {
	u.registry.mu.Lock()
	u.owner = owner
	u.registry.mu.Unlock()
}

// Begin says that work is in flight, which the server is to answer; the pulse watches it from here on.
func (u *Upstream) Begin() {
	u.owes = true
	if !u.waiting {
		now := u.registry.tick.Load()
		u.waiting, u.heard, u.begun, u.sentBefore = true, now, now, u.sent.Load()
		if u.registry.asleep.Load() {
			u.registry.wake()
		}
	}
}

// Expect says whether the server is to answer what is in flight, or waits for more of the client's: COPY data, a Sync. A server
// that waits is silent, and its process idle, on any path.
func (u *Upstream) Expect(answer bool) { u.owes = answer }

// Heard says that the server has sent something; idle that nothing is in flight any more.
func (u *Upstream) Heard(idle bool) {
	u.waiting, u.heard = !idle, u.registry.tick.Load()
	if u.doubt.Load() {
		u.doubt.Store(false)
	}
}

// Doubtful reports whether the path to the server may be dead: another one to the same instance is, and nothing was heard over
// this one since.
func (u *Upstream) Doubtful() bool { return u.doubt.Load() }

// Silence is for how long nothing was sent or heard, about. It is called with the owner's lock.
func (u *Upstream) Silence() time.Duration {
	if u.waiting {
		return 0
	}
	return u.registry.since(u.heard)
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are those of net.Conn.
func (u *Upstream) SetDeadline(t time.Time) error { return u.conn.SetDeadline(t) }

// SetReadDeadline is net.Conn's.
func (u *Upstream) SetReadDeadline(t time.Time) error { return u.conn.SetReadDeadline(t) }

// SetWriteDeadline is net.Conn's.
func (u *Upstream) SetWriteDeadline(t time.Time) error { return u.conn.SetWriteDeadline(t) }

// Kill closes the socket from outside; whoever reads or writes wakes up. The first cause is kept.
func (u *Upstream) Kill(cause error) {
	if u.killed.CompareAndSwap(nil, &cause) {
		u.abort()
	}
}

// Killed is why the registry closed the connection, nil if it has not.
func (u *Upstream) Killed() error {
	if p := u.killed.Load(); p != nil {
		return *p
	}
	return nil
}

// Close ends the connection. With work in flight, or when its fate is not known, what the kernel still holds is thrown
// away, so that TCP cannot deliver it late.
func (u *Upstream) Close(abort bool) {
	if !u.closed.CompareAndSwap(false, true) {
		return
	}
	u.registry.remove(u)
	if abort {
		u.abort()
		return
	}
	_ = u.conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = u.conn.Write([]byte{wire.Terminate, 0, 0, 0, 4})
	_ = u.conn.Close()
}

// abort closes the socket under TLS and all, without a word: a TLS close would wait for a peer that may be frozen.
func (u *Upstream) abort() {
	raw := rawConn(u.conn)
	if t, ok := raw.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = raw.Close()
}

// rawConn is the socket below TLS and below our own counting.
func rawConn(c net.Conn) net.Conn {
	for {
		switch t := c.(type) {
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return c
		}
	}
}

// Cancel asks the server to cancel what this connection runs, over a connection of its own. An error means that the
// request could not be delivered; none does not mean that anything was cancelled.
func (u *Upstream) Cancel(ctx context.Context) error {
	pg, err := pgconn.Construct(u.hijacked)
	if err != nil {
		return err
	}
	return pg.CancelRequest(ctx)
}

// Stale reports whether the upstream has been idle for so long that it is worth a look whether it still lives.
func (u *Upstream) Stale() bool {
	now := u.registry.tick.Load()
	return !u.waiting && (now-u.heard > 1 && now-u.looked > 1 || u.registry.asleep.Load())
}

// Readable reports whether a read would not block: the server sent something, or has closed. Where that cannot be told
// it is false.
func (u *Upstream) Readable() bool {
	if len(u.early) > 0 {
		return true
	}
	u.looked = u.registry.tick.Load()
	return readable(rawConn(u.conn))
}

// Asides takes what an Exchange has kept for the next Read: notifications, and what the server sent without being asked.
func (u *Upstream) Asides() []byte {
	b := u.early
	u.early = nil
	return b
}

// Unread puts bytes back in front of the next Read or Exchange.
func (u *Upstream) Unread(b []byte) {
	if len(b) > 0 {
		u.early = append(append([]byte(nil), b...), u.early...)
	}
}

// countedConn counts what was given to the kernel. It stands below TLS, where Write cannot tell.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// NetConn is the socket.
func (c *countedConn) NetConn() net.Conn { return c.Conn }
