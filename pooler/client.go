package pooler

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/mount"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// client is one client's connection. Its goroutine owns all that is not said to be guarded.
type client struct {
	server   *Server
	endpoint *endpoint
	listener *Listener // what the endpoint's was when it was last looked at, see renew
	crowded  bool      // there are too many already
	counted  []bounded // what it counts among; guarded by the server's mu

	conn        net.Conn // what is spoken over: TLS, or raw
	raw         net.Conn
	tls         *tls.Conn
	source      *source   // below it
	handshake   *Listener // whose TLS it is
	certificate []byte    // that the client was given

	mount  *mount.Conn
	shared *shared
	// waiting is since when, in Unix nanoseconds, the goroutine waits for the server; negative: for the client; 0: before the
	// session. Those who have seen it set may use mount and conn.
	waiting atomic.Int64
	// sent is when, in Unix nanoseconds, the second goroutine has last sent the client something; sending while it does.
	sent  atomic.Int64
	said  atomic.Int64 // when the client last said something
	busy  time.Time    // when the client was last seen to wait for its server; only the watch's
	ended atomic.Bool  // somebody else has closed the connection
	// beginning is held while the wait for the client ends, and by those who do something to a session that must not meet what
	// the client says next.
	beginning sync.Mutex
	canceling atomic.Bool // what it runs is being canceled
	leaving   atomic.Bool // it is gone, and being ended
	upload    upload      // of a message whose end has not come; the watch's

	// Who reads from the server, see relay: first and second never both.
	relaying sync.Mutex
	first    bool
	second   bool
	finished chan struct{}

	receive receiver
}

// maxStartup bounds a startup packet, in bytes, as PostgreSQL does.
const maxStartup = 10000

// goodbye is how long a client has to take what it is told that is not let in.
const goodbye = time.Second

// problem is an error that a client is told.
type problem struct{ code, message string }

func (p *problem) Error() string { return p.code + ": " + p.message }

// serve is the client's goroutine.
func (c *client) serve() {
	defer c.server.left(c)
	defer func() { _ = c.conn.Close() }()
	defer c.parted()
	defer func() {
		if r := recover(); r != nil {
			c.crashed(contain.Of(r), true)
		}
	}()
	deadline := time.Now().Add(c.server.cfg.Load().LoginTimeout)
	_ = c.raw.SetDeadline(deadline) // a closed connection says so when it is used
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	err := c.start(ctx)
	cancel()
	if err != nil {
		if c.mount != nil {
			_ = c.mount.Close()
		}
		var p *problem
		if errors.As(err, &p) {
			_ = c.raw.SetWriteDeadline(time.Now().Add(goodbye)) // that the time for the login is over is told too
			_ = c.send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: p.code, Message: p.message})
		}
		c.server.log.Debug("a client was not let in", "client", c.raw.RemoteAddr().String(), "error", err)
		return
	}
	if c.mount == nil {
		return // a CancelRequest
	}
	_ = c.raw.SetDeadline(time.Time{})
	if c.tls == nil {
		c.conn = c.raw
	}
	defer c.mount.Departed()
	if err := c.relay(); err != nil && !errors.Is(err, io.EOF) {
		c.server.log.Debug("a client is gone", "client", c.raw.RemoteAddr().String(), "error", err)
	}
}

// parted is the end of the client's session.
func (c *client) parted() {
	if c.mount != nil {
		_ = c.mount.Close() // mostly it is closed
	}
	if c.shared != nil {
		c.server.pools.leave(c.shared)
	}
}

// crashed is the end of the client after a panic, which it is told of if nobody else may be telling it something.
func (c *client) crashed(p *contain.Panic, tell bool) {
	c.server.panicked(p, "client", "client", c.raw.RemoteAddr().String())
	if tell && !c.ended.Load() {
		_ = c.raw.SetWriteDeadline(time.Now().Add(goodbye))
		_ = c.send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "XX000", Message: "fairlead: " + p.Error()})
	}
	_ = c.raw.Close()
}

// start brings the client to the point where its session begins.
func (c *client) start(ctx context.Context) error {
	contain.Point("pooler.start", nil)
	if l := c.listener; l.TLS != nil {
		direct, err := c.directTLS()
		if err != nil {
			return err
		}
		c.renew()
		if direct {
			if err := c.encrypt(true); err != nil {
				return err
			}
		}
	}
	for {
		packet, err := c.readStartup()
		if err != nil {
			return err
		}
		c.renew()
		switch code := binary.BigEndian.Uint32(packet[4:]); {
		case code == wire.CodeGSSEnc:
			if _, err := c.conn.Write([]byte{'N'}); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		case code == wire.CodeSSL && c.tls == nil && c.listener.TLS != nil:
			if _, err := c.conn.Write([]byte{'S'}); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
			if err := c.encrypt(false); err != nil {
				return err
			}
		case code == wire.CodeSSL:
			if _, err := c.conn.Write([]byte{'N'}); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		case code == wire.CodeCancel:
			c.server.cancel(packet[8:])
			return nil
		case code>>16 != 3:
			return &problem{"0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.2", code>>16, code&0xffff)}
		default:
			return c.login(ctx, packet)
		}
	}
}

// readStartup reads a packet without a type. Not one byte behind it is taken: what comes behind an SSLRequest must have been
// encrypted.
func (c *client) readStartup() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return nil, fmt.Errorf("startup packet: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > maxStartup {
		return nil, &problem{"08P01", "invalid length of startup packet"}
	}
	packet := make([]byte, n)
	copy(packet, head[:])
	if _, err := io.ReadFull(c.conn, packet[4:]); err != nil {
		return nil, fmt.Errorf("startup packet: %w", err)
	}
	return packet, nil
}

// startupParameters reads a startup packet.
func startupParameters(packet []byte) (map[string]string, error) {
	malformed := &problem{"08P01", "invalid startup packet layout: expected terminator as last byte"}
	params := make(map[string]string)
	b := packet[8:]
	for len(b) > 1 {
		name, rest, ok := wire.CString(b)
		if !ok || len(name) == 0 {
			return nil, malformed
		}
		value, rest, ok := wire.CString(rest)
		if !ok {
			return nil, malformed
		}
		params[string(name)] = string(value)
		b = rest
	}
	if len(b) != 1 || b[0] != 0 {
		return nil, malformed
	}
	return params, nil
}

func startupPacket(version uint32, user, database string, params map[string]string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), version)
	add := func(name, value string) {
		b = append(append(b, name...), 0)
		b = append(append(b, value...), 0)
	}
	add("user", user)
	add("database", database)
	for name, value := range params {
		add(name, value)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// send sends a message of the pooler's own.
func (c *client) send(m pgproto3.BackendMessage) error {
	b, err := m.Encode(nil)
	if err != nil {
		return fmt.Errorf("encode %T: %w", m, err)
	}
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// readMessage reads one message of the login's.
func (c *client) readMessage(kind byte) ([]byte, error) {
	var head [wire.HeaderLen]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != kind || n < 4 || n > maxStartup {
		return nil, &problem{"08P01", "fairlead: something else than the answer to an authentication request"}
	}
	body := make([]byte, n-4)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	return body, nil
}
