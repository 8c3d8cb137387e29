package mount

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// Network is the network that a mount says its peer is in. pgx dials a CancelRequest to the peer's address, and
// this is how such a dial is told from a new connection, and which session it means.
const Network = "fairlead"

// mountAddr is the address of a mount: the number of its session.
type mountAddr uint64

// Network implements net.Addr.
func (mountAddr) Network() string { return Network }

// String implements net.Addr.
func (a mountAddr) String() string { return strconv.FormatUint(uint64(a), 10) }

// LocalAddr implements net.Conn.
func (m *Conn) LocalAddr() net.Addr { return mountAddr(m.id) }

// RemoteAddr implements net.Conn.
func (m *Conn) RemoteAddr() net.Addr { return mountAddr(m.id) }

// cancelConn is the connection of a CancelRequest: it takes 16 bytes and ends when the request was delivered.
type cancelConn struct {
	pool *Pool
	addr mountAddr

	ctx    context.Context
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	timer  *time.Timer
	buf    []byte
	done   bool
}

// DialCancel returns the connection of a CancelRequest to the session whose mount has the address.
func (p *Pool) DialCancel(addr string) (net.Conn, error) {
	id, err := strconv.ParseUint(addr, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("fairlead: cancel of session %q: no such address", addr)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	return &cancelConn{pool: p, addr: mountAddr(id), ctx: ctx, cancel: cancel}, nil
}

// Write implements net.Conn. The request is delivered before it returns.
func (c *cancelConn) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p...)
	if len(c.buf) < 16 || c.done {
		return len(p), nil
	}
	c.done = true
	if binary.BigEndian.Uint32(c.buf[4:]) != wire.CodeCancel {
		return 0, fmt.Errorf("fairlead: session %s: only a CancelRequest is expected here", c.addr)
	}
	if m, ok := c.pool.mounts.Load(uint64(c.addr)); ok {
		if err := m.(*Conn).cancelRequest(c.ctx, c.buf[8:]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Read implements net.Conn.
func (c *cancelConn) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements net.Conn.
func (c *cancelConn) Close() error {
	c.cancel(net.ErrClosed)
	return nil
}

// SetDeadline implements net.Conn.
func (c *cancelConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() { c.cancel(os.ErrDeadlineExceeded) })
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *cancelConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *cancelConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// LocalAddr implements net.Conn.
func (c *cancelConn) LocalAddr() net.Addr { return c.addr }

// RemoteAddr implements net.Conn.
func (c *cancelConn) RemoteAddr() net.Addr { return c.addr }

// cancelRequest cancels what the session runs, on the upstream that it has now. What was asked to be cancelled is not
// resumed any more.
func (m *Conn) cancelRequest(ctx context.Context, pidAndKey []byte) error {
	if len(pidAndKey) < 8 || binary.BigEndian.Uint32(pidAndKey) != m.pid || subtle.ConstantTimeCompare(pidAndKey[4:], m.key) != 1 {
		return nil // as a server does: no word on a wrong key
	}
	return m.cancel(ctx)
}

func (m *Conn) cancel(ctx context.Context) error {
	m.mu.Lock()
	defer m.done()
	m.s.NoReplay()
	if m.section != nil && (m.s.Busy() || m.up == nil && m.pool.lender != nil) {
		m.section.cancel(errCanceled)
	}
	up := m.up
	if up == nil {
		return nil
	}
	m.cancels++
	ctx, cancel := context.WithTimeout(ctx, m.pool.login.ConnectTimeout())
	defer cancel()
	var err error
	m.unlocked(func() { err = up.Cancel(ctx) })
	// Once the server has closed that connection, the signal was sent: it cannot meet a later statement, of another session's
	// even. Until then the upstream stays this one's.
	m.cancels--
	if m.departing() {
		m.tell()
	}
	if m.up == up && m.lent != nil {
		if err != nil {
			m.lent.memory.End()
		}
		switch {
		case !m.s.Free() || m.gate:
		case m.reading:
			m.kicked = true
			_ = up.SetReadDeadline(time.Unix(1, 0))
		default:
			m.release()
		}
	}
	return err
}
