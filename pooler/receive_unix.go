//go:build unix

package pooler

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// receiver reads what a client says. It holds a buffer only once there is something to put into it.
type receiver struct {
	conn  net.Conn        // encrypted, or nil
	first *[waitSize]byte // for conn
	raw   syscall.RawConn

	try func(fd uintptr) bool // made once, so that a receive allocates nothing
	buf *[bufferSize]byte
	n   int
	err error
}

func (r *receiver) init(c net.Conn) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		r.conn, r.first = c, new([waitSize]byte)
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("the client's socket: %w", err)
	}
	r.raw, r.try = raw, r.read
	return nil
}

// receive waits until the client has said something. The buffer goes back to buffers.
func (r *receiver) receive() (buf *[bufferSize]byte, n int, err error) {
	if r.conn != nil {
		return receiveEncrypted(r.conn, r.first)
	}
	r.buf, r.n, r.err = nil, 0, nil
	if err := r.raw.Read(r.try); err != nil {
		return nil, 0, fmt.Errorf("read from the client: %w", err)
	}
	buf, r.buf = r.buf, nil
	switch {
	case r.err != nil:
		return buf, 0, os.NewSyscallError("read", r.err)
	case r.n == 0:
		return buf, 0, io.EOF
	}
	return buf, r.n, nil
}

// read is one attempt; false when there is nothing yet.
func (r *receiver) read(fd uintptr) bool {
	buf := buffers.Get().(*[bufferSize]byte)
	for {
		n, err := syscall.Read(int(fd), buf[:])
		switch err {
		case nil:
			r.buf, r.n = buf, n
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			buffers.Put(buf)
			return false
		}
		r.buf, r.err = buf, err
		return true
	}
}

// gone reports whether the client has closed its end. Where the system does not tell, what it has sent before hides that.
func gone(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = hungUp(fd) || err == nil && n == 0 || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return closed || err != nil
}
