package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// startAttempts bounds the search for a port that is free for UDP and TCP alike: the kernel picks for one of them only.
const startAttempts = 20

// Server answers on one loopback address, over UDP and TCP on the same port. It is safe for concurrent use.
type Server struct {
	addr     string
	resolver *net.Resolver // one, since pools tell clusters apart by it
	servers  []*dns.Server
	served   chan error // one result of each of servers
	records  records
}

// Start listens on a free port of 127.0.0.1 and answers until Close.
func Start() (*Server, error) {
	packets, streams, err := listen()
	if err != nil {
		return nil, err
	}
	s := &Server{addr: packets.LocalAddr().String()}
	s.resolver = resolverAt(s.addr)
	s.servers = []*dns.Server{
		{PacketConn: packets, Handler: s},
		{Listener: streams, Handler: s},
	}
	s.served = make(chan error, len(s.servers))
	ready := make(chan struct{}, len(s.servers))
	for _, server := range s.servers {
		server.NotifyStartedFunc = func() { ready <- struct{}{} }
		go func() { s.served <- server.ActivateAndServe() }()
	}
	// Shutdown before this point would find nothing to shut down.
	for range s.servers {
		select {
		case <-ready:
		case err := <-s.served:
			return nil, errors.Join(fmt.Errorf("names: serve on %s: %w", s.addr, err), packets.Close(), streams.Close())
		}
	}
	return s, nil
}

// Addr is the host and port of the server, for UDP and TCP.
func (s *Server) Addr() string { return s.addr }

// Close stops the server and all pending changes of names, and waits for its goroutines.
func (s *Server) Close() error {
	s.records.close()
	var errs []error
	for _, server := range s.servers {
		if err := server.Shutdown(); err != nil {
			errs = append(errs, fmt.Errorf("names: shut down %s: %w", s.addr, err))
			continue
		}
		if err := <-s.served; err != nil {
			errs = append(errs, fmt.Errorf("names: serve on %s: %w", s.addr, err))
		}
	}
	s.servers = nil
	return errors.Join(errs...)
}

// Resolver asks this server alone, whatever the machine's own configuration says.
func (s *Server) Resolver() *net.Resolver { return s.resolver }

func resolverAt(addr string) *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, network, addr)
		},
	}
}

func listen() (net.PacketConn, net.Listener, error) {
	var last error
	for range startAttempts {
		streams, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, nil, fmt.Errorf("names: listen on tcp: %w", err)
		}
		packets, err := net.ListenPacket("udp4", streams.Addr().String())
		if err == nil {
			return packets, streams, nil
		}
		last = errors.Join(err, streams.Close())
	}
	return nil, nil, fmt.Errorf("names: listen on udp: %w", last)
}
