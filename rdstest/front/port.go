package front

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// How long a reset waits for what was written before it, and how often it looks. A kernel may put an acknowledgement off
// for 40 ms.
const (
	deliveryPatience = 250 * time.Millisecond
	deliveryLook     = 200 * time.Microsecond
)

// port is the front's own end of a socket: what is written to it goes through the weather and the delay line, below TLS.
// One goroutine reads, one writes (TLS may do both, with a lock of its own).
type port struct {
	net.Conn
	link   *link
	unread []byte // read too early, and still to be read
	line   delayLine

	// greeting says that the front itself answers what it reads, so that a question and its answer are delayed here.
	greeting atomic.Bool

	mu    sync.Mutex  // held while bytes are handed to the kernel
	muted atomic.Bool // everything vanishes here, whatever the weather
	lost  atomic.Bool // something has vanished here: bytes, or the end of the connection
}

// Read reads what was unread first.
func (p *port) Read(b []byte) (int, error) {
	if len(p.unread) > 0 {
		n := copy(b, p.unread)
		p.unread = p.unread[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// Write reports success also for bytes that vanish.
func (p *port) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	d := p.link.front.pace()
	if p.greeting.Load() {
		d *= 2
	}
	queued, err := p.line.push(p.link.ctx, b, d, func() {
		p.link.lines.Go(func() { p.line.run(p.link.ctx, p.deliver) })
	})
	if err == nil && !queued {
		err = p.deliver(b)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetWriteDeadline does nothing: TLS would set one when it is closed, and the deadline is what interrupt works with.
func (p *port) SetWriteDeadline(time.Time) error { return nil }

// deliver hands b to the kernel, as the weather allows.
func (p *port) deliver(b []byte) error {
	for len(b) > 0 {
		p.mu.Lock()
		w := p.link.front.weather.Load()
		switch {
		case p.lost.Load() || p.muted.Load() || w.swallows():
			// What follows a gap is lost too: Pass is about to reset the connection, and must not be overtaken.
			p.lost.Store(true)
			p.mu.Unlock()
			return nil
		case w.holds():
			p.mu.Unlock()
			if err := p.await(w); err != nil {
				return err
			}
			continue
		}
		n, err := p.Conn.Write(b)
		p.mu.Unlock()
		b = b[n:]
		// An interrupted write is not a failed one: the weather has changed.
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return nil
}

// interrupt returns when no write is under way that began in an earlier weather.
func (p *port) interrupt() {
	_ = p.Conn.SetWriteDeadline(time.Unix(1, 0))
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.Conn.SetWriteDeadline(time.Time{})
}

// plug lets the kernel drop the packets that come in here, or no longer.
func (p *port) plug(on bool) { dropPackets(p.Conn, on) }

// mute lets everything vanish that is written from now on, or no longer.
func (p *port) mute(on bool) { p.muted.Store(on) }

// vanishing says that what is written now would vanish, or would be no use because something has vanished.
func (p *port) vanishing() bool {
	return p.lost.Load() || p.muted.Load() || p.link.front.weather.Load().swallows()
}

// passable waits until the end of a connection may be told. It reports an error if it never may.
func (p *port) passable() error {
	for {
		p.mu.Lock()
		w := p.link.front.weather.Load()
		if p.muted.Load() || w.swallows() {
			p.lost.Store(true)
		}
		p.mu.Unlock()
		switch {
		case p.lost.Load():
			// Pass resets a connection that has lost something.
			<-p.link.ctx.Done()
			return p.link.ctx.Err()
		case !w.holds():
			return nil
		}
		if err := p.await(w); err != nil {
			return err
		}
	}
}

// await waits for other weather.
func (p *port) await(w *weather) error {
	select {
	case <-w.over:
		return nil
	case <-p.link.ctx.Done():
		return p.link.ctx.Err()
	}
}

// settle waits until what was written has reached the other end's kernel, which a reset would destroy otherwise.
func (p *port) settle(ctx context.Context) error {
	if err := p.line.drain(ctx); err != nil {
		return err
	}
	for undelivered(p.Conn) > 0 {
		if err := sleep(ctx, deliveryLook); err != nil {
			return err
		}
	}
	return nil
}

// settleBriefly is settle for bytes that it is only polite to wait for.
func (p *port) settleBriefly() {
	ctx, cancel := context.WithTimeout(p.link.ctx, deliveryPatience+p.link.front.pace())
	defer cancel()
	_ = p.settle(ctx)
}

// reset ends the connection at once, with a TCP reset where there is TCP.
func (p *port) reset() {
	reset(p.Conn)
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// closeWrite tells the other end that no more comes.
func (p *port) closeWrite() {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = p.Conn.Close()
}
