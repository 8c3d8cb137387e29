package pooler

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// bufferSize is what is moved at a time, in bytes.
const bufferSize = 32 << 10

// inline bounds what is written, in bytes, while nobody reads the answers to it: less than any socket takes, so that the
// server and we cannot wait for each other.
const inline = 16 << 10

// buffers are lent to clients that have something to say. An idle client has none.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// errEnded is for a client that somebody else has ended.
var errEnded = errors.New("the client was ended")

// relay moves messages until the client is gone. It waits for the server while that has something to answer, and for the
// client otherwise, so that one goroutine is enough: a PostgreSQL server, too, reads on only when it has answered. Where that
// does not hold (COPY data is on its way in, notifications have come or are waited for, the client sends more than the sockets
// take) a second goroutine reads from the server for a while.
func (c *client) relay() error {
	if err := c.receive.init(c.conn, c.source); err != nil {
		return err
	}
	defer c.stopSecond()
	defer func() { _ = c.raw.Close() }()
	defer func() { _ = c.mount.Close() }()
	defer func() {
		if r := recover(); r != nil {
			c.crashed(contain.Of(r), c.readsAlone())
		}
	}()
	c.mount.OnNews(c.news)
	unread := 0 // bytes that the server was given since the client was last owed nothing
	for {
		if answered, err := c.answer(); err != nil {
			return err
		} else if answered {
			unread = 0
		}
		c.waiting.Store(-time.Now().UnixNano())
		buf, n, err := c.receive.receive()
		if !c.begin() {
			err = errors.Join(err, errEnded)
			n = 0
		}
		if n > 0 {
			contain.Point("pooler.relay", buf[:n])
			if unread += n; unread > inline {
				c.startSecond()
			}
			if unread > inline && c.mount.Crowded() {
				err = errors.Join(err, c.mount.Settle())
			}
			_, err2 := c.mount.Write(buf[:n])
			err = errors.Join(err, err2)
		}
		if buf != nil {
			buffers.Put(buf)
		}
		if err != nil {
			c.cancelDeserted()
			return c.farewell(err)
		}
	}
}

// answer gives the client what the server has to say, if the second goroutine does not.
func (c *client) answer() (answered bool, err error) {
	var buf *[bufferSize]byte
	defer func() {
		if buf != nil {
			buffers.Put(buf)
		}
	}()
	for c.answers() {
		if buf == nil {
			buf = buffers.Get().(*[bufferSize]byte)
		}
		if err := c.pass(buf); err != nil {
			return true, err
		}
	}
	return buf != nil, nil
}

// answers decides which goroutine reads from the server next: the first, as long as there is something to answer, or the second
// where either side may speak at any time, or neither. Requests without a Sync or Flush behind them are not answered, unless one fails: a
// server reports an error at once, with all that stands before it.
func (c *client) answers() bool {
	c.relaying.Lock()
	defer c.relaying.Unlock()
	if c.second {
		return false
	}
	if c.first = c.mount.Due(); !c.first && (c.mount.Duplex() || c.mount.Owes()) {
		c.spawn()
	}
	return c.first
}

// news has somebody read a notification that has come while the client was idle.
func (c *client) news() {
	c.relaying.Lock()
	defer c.relaying.Unlock()
	if !c.first && !c.second {
		c.spawn()
	}
}

// pass moves what one Read returns.
func (c *client) pass(buf *[bufferSize]byte) error {
	n, err := c.mount.Read(buf[:])
	if n > 0 {
		if _, err := c.conn.Write(buf[:n]); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
	}
	return err
}

// sending is the client's sent while something is on its way to it.
const sending = math.MaxInt64

// passLate is pass while the other goroutine waits for the client already: the client is idle from the end of its answer on.
func (c *client) passLate(buf *[bufferSize]byte) error {
	n, err := c.mount.Read(buf[:])
	if n == 0 {
		return err
	}
	c.sent.Store(sending)
	_, werr := c.conn.Write(buf[:n])
	c.sent.Store(time.Now().UnixNano())
	if werr != nil {
		return fmt.Errorf("write to the client: %w", werr)
	}
	return err
}

// farewell gives a client that is cut off what it is owed, the reason first of all.
func (c *client) farewell(err error) error {
	if c.ended.Load() || errors.Is(err, io.EOF) || !c.readsAlone() {
		return err
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for c.mount.Pending() {
		if passed := c.pass(buf); passed != nil {
			break
		}
	}
	return err
}

// startSecond has another goroutine read from the server, if none does.
func (c *client) startSecond() {
	c.relaying.Lock()
	defer c.relaying.Unlock()
	if !c.second {
		c.spawn()
	}
}

// spawn has another goroutine read from the server until nothing is owed any more. relaying is held.
func (c *client) spawn() {
	c.second = true
	c.finished = make(chan struct{})
	go c.readSecond(c.finished)
}

func (c *client) readSecond(finished chan struct{}) {
	defer close(finished)
	defer func() {
		if r := recover(); r != nil {
			c.crashed(contain.Of(r), true)
			c.noSecond()
		}
	}()
	contain.Point("pooler.second", nil)
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for c.goesOn() {
		if err := c.passLate(buf); err != nil {
			c.noSecond()
			_ = c.raw.Close() // the other goroutine finds out
			return
		}
	}
}

func (c *client) noSecond() {
	c.relaying.Lock()
	defer c.relaying.Unlock()
	c.second = false
}

// goesOn decides whether the second goroutine is needed any longer. The first one looks whether it runs after it has written,
// under the same lock, so that one of them sees to every answer.
func (c *client) goesOn() bool {
	c.relaying.Lock()
	defer c.relaying.Unlock()
	c.second = c.mount.Owes()
	return c.second
}

// readsAlone keeps a second goroutine from being started, and reports whether none runs.
func (c *client) readsAlone() bool {
	c.relaying.Lock()
	defer c.relaying.Unlock()
	c.first = true
	return !c.second
}

// stopSecond waits for the second goroutine, whose mount is closed by now.
func (c *client) stopSecond() {
	c.readsAlone()
	if c.finished != nil {
		<-c.finished
	}
}
