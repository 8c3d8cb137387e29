package front

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
)

// tlsHandshake is the first byte of a client that begins with TLS, without asking.
const tlsHandshake = 0x16

// alpn is the protocol's name inside TLS.
const alpn = "postgresql"

// errCut says that a cut fell before the front and the client had agreed on anything.
var errCut = errors.New("front: cut while the client was greeted")

// request is what a client asks before its StartupMessage.
type request int

const (
	noRequest request = iota
	askTLS
	askGSS
	directTLS
)

// requests holds the packets that ask.
var requests = map[request][]byte{
	askTLS: binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, sslRequest),
	askGSS: binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, gssEncRequest),
}

// greet answers what a client asks before its StartupMessage: whether it may have TLS, or GSSAPI's encryption, which there
// is none of. It leaves everything else unread.
func (l *link) greet() error {
	l.client.greeting.Store(true)
	defer l.client.greeting.Store(false)
	for {
		asked := l.readRequest()
		if packet := requests[asked]; packet != nil {
			if _, fired := l.up.filter(packet); fired != nil {
				if !l.cut(&l.up, nil, fired) {
					return errCut
				}
				// There will be no answer, also if the link is only silent and goes on after Pass.
				l.client.lost.Store(true)
				return nil
			}
		}
		answer := byte('N')
		switch {
		case asked == noRequest:
			return nil
		case asked == directTLS:
			return l.secure(asked)
		case asked == askTLS && l.front.tls != nil:
			answer = 'S'
		}
		if _, err := l.client.Write([]byte{answer}); err != nil {
			return fmt.Errorf("front: answer a request for encryption: %w", err)
		}
		if answer == 'S' {
			return l.secure(asked)
		}
	}
}

// readRequest reads no further than the request. That the client has ended is left to the pump to find.
func (l *link) readRequest() request {
	buf := make([]byte, 0, len(requests[askTLS]))
	for {
		n, err := l.client.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		possible := false
		for asked, packet := range requests {
			if bytes.Equal(buf, packet) {
				return asked
			}
			possible = possible || bytes.HasPrefix(packet, buf)
		}
		if err == nil && possible {
			continue
		}
		l.client.unread = buf
		if len(buf) > 0 && buf[0] == tlsHandshake && l.front.tls != nil {
			return directTLS
		}
		return noRequest
	}
}

// secure ends TLS here. As with PostgreSQL, a client that begins with TLS has to name the protocol, so that nobody can make
// a server of another one talk to it.
func (l *link) secure(asked request) error {
	conn := tls.Server(l.client, l.front.tls)
	err := conn.HandshakeContext(l.ctx)
	if err == nil && asked == directTLS && conn.ConnectionState().NegotiatedProtocol != alpn {
		err = errors.New("direct TLS without ALPN")
		_ = conn.Close()
	}
	if err != nil {
		l.client.settleBriefly()
		return fmt.Errorf("front: TLS with the client: %w", err)
	}
	l.up.src, l.down.dst = conn, conn
	return nil
}

// serverTLS prepares the TLS configuration of a user.
func serverTLS(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	if len(cfg.NextProtos) == 0 {
		cfg.NextProtos = []string{alpn}
	}
	return cfg
}
