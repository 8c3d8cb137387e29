// Package latestart is for tests: an address of a PostgreSQL server that is not ready yet, as one that is paused, resumes or is full.
package latestart

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Unready is how an address behaves before the server is ready.
type Unready string

// What connections get before the server is ready. Any other value is the SQLSTATE that logins are refused with.
const (
	Refused Unready = "refused" // the connection is refused
	Silent  Unready = "silent"  // it is accepted, and nothing is answered on it, ever
	Held    Unready = "held"    // it is accepted, and answered once the server is ready
)

// Address is that of the server.
type Address struct {
	t       testing.TB
	addr    string
	dial    func(context.Context) (net.Conn, error)
	how     Unready
	ready   chan struct{}
	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup
	asked   atomic.Int64
}

// Open returns an address that leads to what dial returns once Ready is called. The test closes it.
func Open(t testing.TB, how Unready, dial func(context.Context) (net.Conn, error)) *Address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &Address{t: t, addr: l.Addr().String(), dial: dial, how: how, ready: make(chan struct{})}
	a.ctx, a.stop = context.WithCancel(context.Background())
	t.Cleanup(func() { a.stop(); a.running.Wait() })
	if how == Refused {
		_ = l.Close() // the port stays this test's, as nobody else is given it soon
		return a
	}
	a.serve(l)
	return a
}

// String returns host:port.
func (a *Address) String() string { return a.addr }

// Asked returns how many connections were accepted before the server was ready.
func (a *Address) Asked() int { return int(a.asked.Load()) }

// Ready has connections lead to the server.
func (a *Address) Ready() {
	close(a.ready)
	if a.how != Refused {
		return
	}
	l, err := net.Listen("tcp", a.addr)
	if err != nil {
		a.t.Errorf("the server does not come: %v", err)
		return
	}
	a.serve(l)
}

func (a *Address) serve(l net.Listener) {
	a.running.Go(func() {
		defer context.AfterFunc(a.ctx, func() { _ = l.Close() })()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.running.Go(func() { a.one(conn) })
		}
	})
}

func (a *Address) one(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(a.ctx, func() { _ = conn.Close() })()
	select {
	case <-a.ready:
	default:
		a.asked.Add(1)
		if !a.refuse(conn) {
			return
		}
	}
	server, err := a.dial(a.ctx)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	}()
	_, _ = io.Copy(conn, server)
	_ = conn.Close()
	<-done
}

// refuse does what connections get that come too early. It reports whether they are served afterwards.
func (a *Address) refuse(conn net.Conn) bool {
	switch a.how {
	case Silent:
		_, _ = io.Copy(io.Discard, conn)
		return false
	case Held:
		select {
		case <-a.ready:
			return true
		case <-a.ctx.Done():
			return false
		}
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return false
	}
	b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: string(a.how), Message: "the server is not ready: " + string(a.how)})
	_ = b.Flush()
	return false
}
