package front

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// reopenEvery is how often an address is tried that somebody else has taken while connections were refused.
const reopenEvery = 20 * time.Millisecond

// door is the listener, which opens and closes at one address. start, stop, plug and close are called one at a time.
type door struct {
	addr    net.Addr
	admit   func(net.Conn)
	release func() error // gives back the port that is kept while the door is closed

	quit    chan struct{} // ends the accepting goroutine
	stopped chan struct{} // closed when it has ended
	running bool
	gone    bool // closed for good

	mu      sync.Mutex
	ln      net.Listener // nil: closed
	plugged bool         // first packets are dropped
}

// openDoor listens, but accepts nothing before start.
func openDoor(network, address string, admit func(net.Conn)) (*door, error) {
	d := &door{admit: admit, release: func() error { return nil }}
	if network != "unix" {
		tcp, err := net.ResolveTCPAddr(network, address)
		if err != nil {
			return nil, err
		}
		if tcp, d.release, err = reservePort(tcp); err != nil {
			return nil, err
		}
		d.addr = tcp
	} else {
		d.addr = &net.UnixAddr{Net: network, Name: address}
	}
	if err := d.listen(); err != nil {
		return nil, errors.Join(err, d.release())
	}
	d.addr = d.ln.Addr()
	return d, nil
}

// start lets clients in.
func (d *door) start() {
	if d.running || d.gone {
		return
	}
	d.running = true
	d.quit, d.stopped = make(chan struct{}), make(chan struct{})
	// If the address is taken, the goroutine goes on trying.
	_ = d.listen()
	go d.accept(d.quit, d.stopped)
}

// stop closes the listener. Its file, for a Unix socket, stays, as that of a server does that has died: to connect to it
// is refused then, instead of failing for want of a file.
func (d *door) stop() error {
	if !d.running {
		return nil
	}
	d.running = false
	close(d.quit)
	d.mu.Lock()
	var err error
	if d.ln != nil {
		err = d.ln.Close()
		d.ln = nil
	}
	d.mu.Unlock()
	<-d.stopped
	return err
}

// plug lets the kernel drop the packets that would open a connection, or no longer.
func (d *door) plug(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plugged = on
	if d.ln != nil {
		dropPackets(d.ln, on)
	}
}

// close stops the door for good.
func (d *door) close() error {
	d.gone = true
	err := errors.Join(d.stop(), d.release())
	if d.addr.Network() == "unix" {
		if rmErr := os.Remove(d.addr.String()); !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}

func (d *door) accept(quit <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	for {
		ln := d.listener(quit)
		if ln == nil {
			return
		}
		conn, err := ln.Accept()
		if err == nil {
			d.admit(conn)
			continue
		}
		// Either the door was stopped, or the process is out of file descriptors for the moment.
		select {
		case <-quit:
		case <-time.After(reopenEvery):
		}
	}
}

// listener is the open listener, or nil once quit is closed.
func (d *door) listener(quit <-chan struct{}) net.Listener {
	for {
		d.mu.Lock()
		ln := d.ln
		d.mu.Unlock()
		select {
		case <-quit:
			return nil
		default:
		}
		if ln != nil {
			return ln
		}
		if d.listen() == nil {
			continue
		}
		select {
		case <-quit:
			return nil
		case <-time.After(reopenEvery):
		}
	}
}

// listen opens the listener if it is closed.
func (d *door) listen() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ln != nil {
		return nil
	}
	network, address := d.addr.Network(), d.addr.String()
	reopened := d.quit != nil
	if network == "unix" && reopened {
		if err := os.Remove(address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if d.plugged {
			dropRawPackets(c, true)
		}
		return nil
	}}
	// Go listens for multipath TCP where it can, and such a socket takes no filter.
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return err
	}
	if unix, ok := ln.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	d.ln = ln
	return nil
}
