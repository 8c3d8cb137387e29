//go:build !unix

package pooler

import "net"

// receiver reads what a client says.
type receiver struct {
	conn  net.Conn
	first [waitSize]byte
}

func (r *receiver) init(c net.Conn) error {
	r.conn = c
	return nil
}

// receive waits until the client has said something. The buffer goes back to buffers.
func (r *receiver) receive() (buf *[bufferSize]byte, n int, err error) {
	return receiveEncrypted(r.conn, &r.first)
}

// gone cannot be told here without reading.
func gone(net.Conn) bool { return false }
