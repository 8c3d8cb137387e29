//go:build !unix

package pooler

import "net"

// receiver reads what a client says.
type receiver struct {
	conn  net.Conn
	first [waitSize]byte
	bulk  bool // more than first has come, and more is likely to
}

func (r *receiver) init(c net.Conn, _ *source) error {
	r.conn = c
	return nil
}

// receive waits until the client has said something. The buffer goes back to buffers.
func (r *receiver) receive() (buf *[bufferSize]byte, n int, err error) {
	if r.bulk {
		buf = buffers.Get().(*[bufferSize]byte)
		n, err = r.conn.Read(buf[:])
	} else if n, err = r.conn.Read(r.first[:]); n > 0 {
		buf = buffers.Get().(*[bufferSize]byte)
		copy(buf[:], r.first[:n])
	}
	r.bulk = n >= len(r.first)
	return buf, n, err
}

// source is not needed.
type source struct{}

func newSource(c, _ net.Conn) (net.Conn, *source) { return c, nil }

// gone cannot be told here without reading.
func gone(net.Conn) bool { return false }
