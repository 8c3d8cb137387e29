package front

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// chunk is how much is read at once.
const chunk = 64 << 10

// link is one client's connection and the server's that belongs to it.
type link struct {
	front  *Front
	id     int
	ctx    context.Context // ends when the link is reset, and with the front
	cancel context.CancelFunc
	lines  sync.WaitGroup // one for each delay line that has begun

	greeted chan struct{} // closed when the client has been greeted

	ending atomic.Bool // a cut is ending it, so that nobody else has to
	gone   atomic.Bool // a cut has ended it for the client

	up, down way // from the client, from the server

	mu     sync.Mutex
	client *port
	server *port // nil until the server was reached
}

func newLink(f *Front, id int, conn net.Conn) *link {
	l := &link{front: f, id: id, greeted: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(f.ctx)
	l.client = &port{Conn: conn, link: l}
	l.up = way{link: l, from: Client, split: splitter{heads: headsOf(Client)}}
	l.down = way{link: l, from: Server, split: splitter{heads: headsOf(Server)}}
	return l
}

// run relays until both ends are done, and releases everything.
func (l *link) run() {
	var down sync.WaitGroup
	err := l.connect()
	if err == nil {
		down.Go(func() { l.pump(&l.down) })
		if err = l.greet(); err == nil {
			err = l.guard()
		}
		l.endGreeting()
	}
	if err == nil {
		l.pump(&l.up)
	} else {
		// A refusal cannot be passed on through a connection that was accepted; a reset is the nearest to it.
		l.abort()
	}
	down.Wait()
	// Whoever has reset the link may not have got to its sockets yet.
	if l.ctx.Err() != nil {
		l.abort()
	}
	l.cancel()
	for _, p := range l.ports() {
		_ = p.Close()
	}
	l.lines.Wait()
	l.front.log.Debug("front: connection ended", "conn", l.id, "err", err)
}

// connect reaches the server.
func (l *link) connect() error {
	if err := l.client.passable(); err != nil {
		return err
	}
	conn, err := l.front.cfg.Dial(l.ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.server = &port{Conn: conn, link: l}
	l.mu.Unlock()
	if err := l.ctx.Err(); err != nil {
		return err
	}
	for w := (*weather)(nil); w != l.front.weather.Load(); {
		w = l.front.weather.Load()
		l.server.plug(w.silence == Unplug)
	}
	l.up.in, l.up.out, l.up.src, l.up.dst = l.client, l.server, l.client, l.server
	l.down.in, l.down.out, l.down.src, l.down.dst = l.server, l.client, l.server, l.client
	return nil
}

// endGreeting lets both directions flow.
func (l *link) endGreeting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.client.SetReadDeadline(time.Time{})
	close(l.greeted)
}

// hastenGreeting waits for the end of the greeting, which is near when the server has spoken: the client is waiting for it
// then, and asks for nothing.
func (l *link) hastenGreeting() {
	l.mu.Lock()
	select {
	case <-l.greeted:
	default:
		_ = l.client.SetReadDeadline(time.Unix(1, 0))
	}
	l.mu.Unlock()
	<-l.greeted
}

// pump moves what one side sends until that side ends or the other takes no more.
func (l *link) pump(w *way) {
	buf := make([]byte, chunk)
	for first := true; ; first = false {
		n, err := w.src.Read(buf)
		if first && w.from == Server {
			l.hastenGreeting()
		}
		if n > 0 && !w.shut.Load() {
			out, fired := w.filter(buf[:n])
			if fired != nil {
				if !l.cut(w, out, fired) {
					return
				}
			} else if err := w.write(out); err != nil {
				// The other pump reads from the end that failed, and knows better what happened to it.
				return
			}
		}
		if err != nil {
			l.sourceEnded(w, err)
			return
		}
	}
}

// sourceEnded passes on how one side has ended.
func (l *link) sourceEnded(w *way, err error) {
	if l.ending.Load() {
		return
	}
	if w.write(w.rest()) != nil {
		return
	}
	if sleep(l.ctx, l.front.pace()) != nil || w.out.line.drain(l.ctx) != nil || w.out.passable() != nil {
		return
	}
	// TLS calls it unexpected when TCP ends without a word in TLS before.
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		w.closeWrite()
		return
	}
	w.out.settleBriefly()
	l.abort()
}

// cut lets out, the last bytes before the cut, arrive, and does then what the cut says. It reports whether the pump goes on
// reading. The order matters: the other direction is shut first, because an answer to out must not pass.
func (l *link) cut(w *way, out []byte, fired *Pending) bool {
	defer close(fired.done)
	how, other := fired.cut.How, l.other(w)
	l.front.log.Debug("front: cut", "conn", l.id, "from", w.from, "how", how)
	if how == Silent || how == ResetClient {
		w.in.mute(true)
	} else {
		l.ending.Store(true)
		other.shut.Store(true)
	}
	// Where an end is gone already, the cut still ends the other one.
	if w.write(out) == nil {
		_ = w.out.settle(l.ctx)
	}
	if how == Silent || how == ResetClient {
		w.out.mute(true)
		if w.loses {
			w.out.lost.Store(true)
		}
	}
	switch how {
	case Silent:
		return true
	case ResetClient:
		l.gone.Store(true)
		l.client.lost.Store(true)
		l.server.lost.Store(true)
		l.client.settleBriefly()
		l.client.reset()
		return true
	}
	w.shut.Store(true)
	if w.out.passable() != nil {
		return false
	}
	l.gone.Store(true)
	switch {
	case how == CloseBoth:
		w.closeWrite()
		other.closeWrite()
		return true
	case w.from == Client:
		w.closeWrite()
		w.in.settleBriefly()
		w.in.reset()
	default:
		l.abort()
	}
	return false
}

func (l *link) other(w *way) *way {
	if w == &l.up {
		return &l.down
	}
	return &l.up
}

// ports lists the ends that there are.
func (l *link) ports() []*port {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		return []*port{l.client}
	}
	return []*port{l.client, l.server}
}

// abort resets both ends.
func (l *link) abort() {
	l.cancel()
	for _, p := range l.ports() {
		p.reset()
	}
}

// interrupt returns when nothing passes any more that the weather forbids.
func (l *link) interrupt() {
	for _, p := range l.ports() {
		p.interrupt()
	}
}

// plug lets the kernel drop the link's packets, or no longer.
func (l *link) plug(on bool) {
	for _, p := range l.ports() {
		p.plug(on)
	}
}

// vanish lets the link lose what it is sent from now on, in the kernel where that is asked for and can be.
func (l *link) vanish(unplug bool) {
	for _, p := range l.ports() {
		if unplug {
			p.plug(true)
		}
		p.mute(true)
	}
	l.interrupt()
}

// clear is what Pass does to one link: it goes on if it has lost nothing.
func (l *link) clear() {
	l.plug(false)
	lost := false
	for _, p := range l.ports() {
		p.mute(false)
		lost = lost || p.lost.Load()
	}
	if lost {
		l.abort()
	}
}
