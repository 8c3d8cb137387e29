package pooler

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// alpn is the protocol's name in a TLS handshake.
const alpn = "postgresql"

// tlsHandshake is the first byte of a TLS connection, and of no startup packet.
const tlsHandshake = 0x16

// directTLS looks whether the client begins with TLS at once, as with sslnegotiation=direct.
func (c *client) directTLS() (bool, error) {
	var first [1]byte
	if _, err := c.raw.Read(first[:]); err != nil {
		return false, fmt.Errorf("startup packet: %w", err)
	}
	c.conn = &begun{Conn: c.raw, first: first[:]}
	return first[0] == tlsHandshake, nil
}

// begun is a connection of which a byte has been read already.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

// encrypt goes on over TLS. A client that did not ask first has to name the protocol.
func (c *client) encrypt(direct bool) error {
	if c.listener.TLS == nil {
		return errors.New("TLS: the address does not speak it any more")
	}
	c.handshake = c.listener
	cfg := withCertificate(c.listener.TLS, func(der []byte) { c.certificate = der })
	cfg.NextProtos = []string{alpn}
	below, src := newSource(c.conn, c.raw)
	c.tls, c.source = tls.Server(below, cfg), src
	if err := c.tls.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.conn = c.tls
	if direct && c.tls.ConnectionState().NegotiatedProtocol != alpn {
		return &problem{"08P01", "received direct SSL connection request without ALPN protocol negotiation extension"}
	}
	return nil
}

// withCertificate is the listener's TLS configuration, and notes which certificate a connection is given.
func withCertificate(cfg *tls.Config, note func(der []byte)) *tls.Config {
	cfg = cfg.Clone()
	choose := cfg.GetCertificate
	list := cfg.Certificates
	cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if choose != nil {
			cert, err := choose(hello)
			if err != nil || cert != nil {
				if cert != nil {
					note(cert.Certificate[0])
				}
				return cert, err
			}
		}
		for i := range list {
			if hello.SupportsCertificate(&list[i]) == nil {
				note(list[i].Certificate[0])
				return &list[i], nil
			}
		}
		if len(list) == 0 {
			return nil, errors.New("pooler: no certificate")
		}
		note(list[0].Certificate[0])
		return &list[0], nil
	}
	cfg.Certificates = nil
	return cfg
}

// waitSize is what an encrypted client that is idle waits with, in bytes. Most queries fit into it.
const waitSize = 512

// errNotYet is what a source says that has nothing at the moment. TLS takes it for a passing condition.
var errNotYet net.Error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "there is nothing to read yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }
