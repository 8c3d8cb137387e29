package front

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Side is one end of a connection through the front.
type Side int

// The two ends. The zero value is Client.
const (
	Client Side = iota
	Server
)

// String is the constant's name.
func (s Side) String() string {
	if s == Client {
		return "Client"
	}
	return "Server"
}

// Moment says on which side of its message a cut falls.
type Moment int

const (
	// Before: the message does not arrive.
	Before Moment = iota
	// After: the message arrives completely, and nothing that follows it does, in either direction.
	After
)

// Manner is how a cut connection ends.
type Manner int

const (
	// ResetBoth sends a TCP reset to both ends. If the message was the client's, the server gets an orderly end instead,
	// behind what has arrived: a reset would make it give up work that it has received and not begun.
	ResetBoth Manner = iota
	// CloseBoth is an orderly end on both sides.
	CloseBoth
	// Silent lets this one connection go on as in Swallow until Pass.
	Silent
	// ResetClient sends a TCP reset to the client alone: until Pass, the server hears nothing of it, and goes on to hold what it
	// holds. Firewalls and load balancers that lose track of a connection do so.
	ResetClient
)

// String is the constant's name.
func (m Manner) String() string {
	switch m {
	case CloseBoth:
		return "CloseBoth"
	case Silent:
		return "Silent"
	case ResetClient:
		return "ResetClient"
	}
	return "ResetBoth"
}

// Message is one message of the protocol.
type Message struct {
	Type byte   // 0 for a startup packet, which has none
	Body []byte // what follows the length: its first 16 MiB. Valid during the call
	Conn int    // tells the front's connections apart: they are counted from 1
}

// Cut describes where one connection is cut. The zero value resets the connection of the first client that sends
// anything, before it arrives.
type Cut struct {
	// From is whose messages are counted.
	From Side

	// N is the message at which the cut falls, counted from 1 on each connection by itself, among those that begin after
	// the cut was armed. Startup packets, also those that the front answers itself, and the messages of authentication
	// count. 0 is 1.
	N int

	// Match says which messages count; nil: all. It may be called by several goroutines at once.
	Match func(Message) bool

	When Moment
	How  Manner
}

// Pending is a cut that was armed.
type Pending struct {
	cut  Cut
	done chan struct{}
	home *cuts

	mu     sync.Mutex
	counts map[*link]int
	over   bool // taken back, or fired
	fired  bool
}

// Cut arms a cut, which fires once: on the first connection that gets to its message.
func (f *Front) Cut(c Cut) *Pending {
	p := &Pending{cut: c, done: make(chan struct{}), home: &f.cuts, counts: make(map[*link]int)}
	f.cuts.add(p)
	return p
}

// Done is closed when the cut has fired and its connection has been ended (or silenced).
func (p *Pending) Done() <-chan struct{} { return p.done }

// Stop takes the cut back. It reports false if the cut has fired.
func (p *Pending) Stop() bool {
	p.mu.Lock()
	p.over = true
	fired := p.fired
	p.mu.Unlock()
	p.home.remove(p)
	return !fired
}

// falls counts m, and says whether the cut falls at it.
func (p *Pending) falls(l *link, m Message) bool {
	if p.cut.Match != nil && !p.cut.Match(m) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.counts[l]++
	if p.counts[l] < p.cut.N {
		return false
	}
	p.over, p.fired = true, true
	return true
}

// cuts is the set of armed ones. Links read it once for each read from a socket, so it is a snapshot.
type cuts struct {
	mu    sync.Mutex
	armed [2]atomic.Pointer[[]*Pending] // by Side; nil: none
}

// of lists the cuts that count the messages of side.
func (c *cuts) of(side Side) []*Pending {
	if list := c.armed[side].Load(); list != nil {
		return *list
	}
	return nil
}

func (c *cuts) add(p *Pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := append(slices.Clone(c.of(p.cut.From)), p)
	c.armed[p.cut.From].Store(&list)
}

func (c *cuts) remove(p *Pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(c.of(p.cut.From)), func(q *Pending) bool { return q == p })
	c.armed[p.cut.From].Store(&list)
}

// clear takes all cuts back.
func (c *cuts) clear() {
	for _, side := range []Side{Client, Server} {
		for _, p := range c.of(side) {
			p.Stop()
		}
	}
}
