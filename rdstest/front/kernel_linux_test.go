package front_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

func TestConnectHangsBehindAFullBacklog(t *testing.T) {
	for _, silence := range []front.Silence{front.Backlog, front.Unplug} {
		t.Run(silence.String(), func(t *testing.T) {
			a := newAcceptor(t)
			f := listen(t, "tcp", a.Addr().String())
			for range 2 {
				client, server := pair(t, f, a)
				f.Silence(silence)
				for range 3 {
					_, err := net.DialTimeout("tcp", f.Addr().String(), quiet)
					if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
						t.Fatalf("dial: %v, want a timeout", err)
					}
				}
				hearNothing(t, client)
				hearNothing(t, server)
				f.Pass()
				pair(t, f, a)
			}
		})
	}
}

func TestConnectThatHangsGoesOnAfterPass(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	f.Refuse()
	f.Silence(front.Backlog)
	type result struct {
		conn net.Conn
		err  error
	}
	connected := make(chan result, 1)
	go func() {
		conn, err := net.DialTimeout("tcp", f.Addr().String(), patience)
		connected <- result{conn, err}
	}()
	select {
	case r := <-connected:
		t.Fatalf("connected: %v", r.err)
	case <-time.After(quiet):
	}
	f.Pass()
	r := <-connected
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.conn.Close()
	send(t, r.conn, "at last")
	receive(t, a.next(t), "at last")
}

func TestUnpluggedPacketsAreNotAcknowledged(t *testing.T) {
	for _, silence := range []front.Silence{front.Unplug, front.Hold} {
		t.Run(silence.String(), func(t *testing.T) {
			a := newAcceptor(t)
			f := listen(t, "tcp", a.Addr().String())
			client, _ := pair(t, f, a)
			setUserTimeout(t, client, 200*time.Millisecond)
			f.Silence(silence)
			send(t, client, "is this acknowledged?")
			_ = client.SetReadDeadline(time.Now().Add(patience))
			if silence == front.Hold {
				hearNothing(t, client)
				return
			}
			hearEnd(t, client, syscall.ETIMEDOUT)
		})
	}
}

func TestUnpluggedBytesAreSentAgainAfterPass(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	client, server := pair(t, f, a)
	f.Silence(front.Unplug)
	send(t, client, "question")
	send(t, server, "answer")
	hearNothing(t, client)
	hearNothing(t, server)
	f.Pass()
	receive(t, server, "question")
	receive(t, client, "answer")
}

func TestPortIsKeptWhileConnectionsAreRefused(t *testing.T) {
	a := newAcceptor(t)
	f := listen(t, "tcp", a.Addr().String())
	f.Refuse()
	d := net.Dialer{LocalAddr: f.Addr()}
	if _, err := d.Dial("tcp", a.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a connection from the front's port: %v, want EADDRINUSE", err)
	}
	f.Pass()
	pair(t, f, a)
}

func setUserTimeout(t *testing.T, conn net.Conn, d time.Duration) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	if err := errors.Join(err, optErr); err != nil {
		t.Fatal(err)
	}
}
