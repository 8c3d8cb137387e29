//go:build unix

package pooler

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// receiver reads what a client says. It holds a buffer only once there is something to put into it.
type receiver struct {
	conn   net.Conn        // encrypted, or nil
	source *source         // below it
	first  *[waitSize]byte // for conn
	raw    syscall.RawConn

	try func(fd uintptr) bool // made once, so that a receive allocates nothing
	buf *[bufferSize]byte
	n   int
	err error
}

// init is given what the client speaks over; src is what is below that if it is encrypted.
func (r *receiver) init(c net.Conn, src *source) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		r.conn, r.source, r.first = c, src, new([waitSize]byte)
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
		return r.receiveEncrypted()
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

// receiveEncrypted waits with first, and takes a buffer only then. More than first is read as far as it is there: the client may
// wait for the answer to that.
func (r *receiver) receiveEncrypted() (buf *[bufferSize]byte, n int, err error) {
	n, err = r.conn.Read(r.first[:])
	if n == 0 {
		return nil, 0, errors.Join(err)
	}
	buf = buffers.Get().(*[bufferSize]byte)
	copy(buf[:], r.first[:n])
	if n < len(r.first) || r.source == nil {
		return buf, n, errors.Join(err)
	}
	r.source.waits = false
	for err == nil && n < len(buf) {
		var more int
		more, err = r.conn.Read(buf[n:])
		n += more
	}
	r.source.waits = true
	if errors.Is(err, errNotYet) {
		err = nil
	}
	return buf, n, errors.Join(err)
}

// source is a client's socket below TLS. It can be read without waiting.
type source struct {
	net.Conn
	raw   syscall.RawConn
	waits bool

	try func(fd uintptr) bool // made once, so that a read allocates nothing
	p   []byte
	n   int
	err error
}

func newSource(c, socket net.Conn) (net.Conn, *source) {
	sc, ok := socket.(syscall.Conn)
	if !ok {
		return c, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return c, nil // reads say so
	}
	s := &source{Conn: c, raw: raw, waits: true}
	s.try = s.read
	return s, s
}

// Read implements net.Conn.
func (s *source) Read(p []byte) (int, error) {
	if s.waits {
		return s.Conn.Read(p)
	}
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Read(s.try)
	s.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.err == nil && s.n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return s.n, s.err
}

func (s *source) read(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), s.p)
		switch err {
		case nil:
			s.n = n
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			s.err = errNotYet
		default:
			s.err = os.NewSyscallError("read", err)
		}
		return true
	}
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
