//go:build unix

package topology

import (
	"net"
	"syscall"
	"time"
)

// watchIdle reports on news when the peer of an idle connection has closed it, or has sent something unasked. Nothing is taken
// out of the socket. stop ends the watch and returns when it has ended; before that nobody else may read.
func watchIdle(c net.Conn) (news <-chan struct{}, stop func()) {
	sc, ok := bare(c).(syscall.Conn)
	if !ok {
		return nil, func() {}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, func() {}
	}
	seen, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		err := raw.Read(func(fd uintptr) bool {
			var b [1]byte
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return err != syscall.EAGAIN && err != syscall.EINTR
		})
		if err == nil {
			close(seen)
		}
	}()
	return seen, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = c.SetReadDeadline(time.Time{}) // a closed connection is found out by whoever reads
	}
}

// bare is the socket below what is layered on it.
func bare(c net.Conn) net.Conn {
	for {
		t, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = t.NetConn()
	}
}
