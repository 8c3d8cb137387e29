package soak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// attacker is one attacking client. Its goroutine owns it.
type attacker struct {
	run     *run
	address string
	random  *rand.Rand

	conn  *net.TCPConn
	front *pgproto3.Frontend
}

// patience bounds what an attacker waits for: an answer, or that more is taken from it.
const patience = 3 * time.Second

// once makes one attempt over a connection of its own, which it leaves in one of the ways in which clients leave.
func (a *attacker) once(ctx context.Context, attack func(*attacker, context.Context) error) {
	if err := a.dial(ctx); err != nil {
		time.Sleep(50 * time.Millisecond) // so many at once: the pooler's backlog is full
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = a.conn.SetDeadline(time.Now()) })
	defer stop()
	_ = attack(a, ctx) // an attack is refused, as it should be
	switch a.random.IntN(3) {
	case 0:
		_ = a.conn.SetLinger(0) // a reset
	case 1:
		_ = a.send(message('X', nil))
	}
	_ = a.conn.Close()
}

func (a *attacker) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	a.conn = conn.(*net.TCPConn)
	a.front = pgproto3.NewFrontend(conn, conn)
	return nil
}

// login goes as far as the first ReadyForQuery.
func (a *attacker) login() error {
	a.front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app", "database": "app"}})
	if err := a.front.Flush(); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	return a.ready()
}

// ready reads up to a ReadyForQuery. An error of the server's is no error here.
func (a *attacker) ready() error {
	_ = a.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		m, err := a.front.Receive()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return nil
		}
	}
}

// send sends bytes as they are.
func (a *attacker) send(b ...[]byte) error {
	_ = a.conn.SetWriteDeadline(time.Now().Add(patience))
	buffers := net.Buffers(b)
	if _, err := buffers.WriteTo(a.conn); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// query runs a simple Query.
func (a *attacker) query(sql string) error {
	return errors.Join(a.send(query(sql)), a.ready())
}

// drain reads for a while, and drops what comes.
func (a *attacker) drain(d time.Duration) {
	_ = a.conn.SetReadDeadline(time.Now().Add(d))
	_, _ = io.Copy(io.Discard, a.conn)
}

// linger does nothing for a while.
func (a *attacker) linger(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// message is a message of any kind.
func message(kind byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(b, body...)
}

func query(sql string) []byte { return message('Q', append([]byte(sql), 0)) }

func parse(name, sql string) []byte {
	return message('P', append(fmt.Appendf(nil, "%s\x00%s\x00", name, sql), 0, 0))
}

func bind(portal, name string) []byte {
	return message('B', append(fmt.Appendf(nil, "%s\x00%s\x00", portal, name), 0, 0, 0, 0, 0, 0))
}

func execute(portal string) []byte {
	return message('E', append(append([]byte(portal), 0), 0, 0, 0, 0))
}

var syncMessage = message('S', nil)
