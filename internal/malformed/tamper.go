package malformed

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy stands before a server and mutilates what that says, a message here and there.
type Proxy struct {
	ln     net.Listener
	server string

	mu   sync.Mutex
	r    *rand.Rand
	all  map[net.Conn]struct{}
	wait sync.WaitGroup

	// Rate is of how many messages one is mutilated; 0: none.
	Rate atomic.Int64
	// Mutilated counts them.
	Mutilated atomic.Int64
}

// NewProxy listens on an address of its own until Close.
func NewProxy(server string, seed uint64) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{ln: ln, server: server, r: rand.New(rand.NewPCG(seed, 2)), all: make(map[net.Conn]struct{})}
	p.wait.Go(p.accept)
	return p, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close ends all connections.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.mu.Lock()
	for c := range p.all {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wait.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.all[client], p.all[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		end := sync.OnceFunc(func() {
			_, _ = client.Close(), server.Close()
			p.mu.Lock()
			delete(p.all, client)
			delete(p.all, server)
			p.mu.Unlock()
		})
		p.wait.Go(func() {
			defer end()
			buf := make([]byte, 16<<10)
			for {
				n, err := client.Read(buf)
				if _, failed := server.Write(buf[:n]); err != nil || failed != nil {
					return
				}
			}
		})
		p.wait.Go(func() {
			defer end()
			p.relay(client, server)
		})
	}
}

// relay passes on what the server says, message by message.
func (p *Proxy) relay(client, server net.Conn) {
	var have []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := server.Read(buf)
		have = append(have, buf[:n]...)
		var out []byte
		for len(have) >= header {
			size := int(binary.BigEndian.Uint32(have[1:])) + 1
			if size > len(have) {
				break
			}
			out = append(out, p.pass(have[:size])...)
			have = have[size:]
		}
		if _, failed := client.Write(out); err != nil || failed != nil {
			return
		}
	}
}

// pass is a message, or what has become of it.
func (p *Proxy) pass(msg []byte) []byte {
	rate := p.Rate.Load()
	if rate == 0 {
		return msg
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.r.Int64N(rate) != 0 {
		return msg
	}
	p.Mutilated.Add(1)
	return mutilate(p.r, msg)
}
