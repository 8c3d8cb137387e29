package pooler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// endpoint is a Listener that is open.
type endpoint struct {
	net.Listener
	settings atomic.Pointer[Listener] // what clients who come in now get
	gone     atomic.Bool              // it is not in the Config any more
}

func listen(ctx context.Context, l *Listener) (*endpoint, error) {
	network := "tcp"
	if l.unix() {
		network = "unix"
		if err := clearSocket(l.Address); err != nil {
			return nil, err
		}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, network, l.Address)
	if err != nil {
		return nil, fmt.Errorf("pooler: listen on %s: %w", l.Address, err)
	}
	e := &endpoint{Listener: ln}
	e.settings.Store(l)
	return e, nil
}

// openFor is an endpoint for each of the Config's listeners, in their order: one of those that are open already, or a new one.
func openFor(ctx context.Context, cfg *Config, have []*endpoint) (list, fresh []*endpoint, err error) {
	have = slices.Clone(have)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if at := slices.IndexFunc(have, func(e *endpoint) bool { return e.settings.Load().Address == l.Address }); at >= 0 {
			list = append(list, have[at])
			have = slices.Delete(have, at, at+1)
			continue
		}
		e, err := listen(ctx, l)
		if err != nil {
			closeAll(fresh)
			return nil, nil, err
		}
		list, fresh = append(list, e), append(fresh, e)
	}
	return list, fresh, nil
}

func closeAll(list []*endpoint) {
	for _, e := range list {
		_ = e.Close()
	}
}

// clearSocket takes away a socket that a process has left behind that is gone.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil // what is not a socket, listening says
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("pooler: listen on %s: another process does already", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pooler: listen on %s: %w", path, err)
	}
	return nil
}

// accept lets clients in until the listener is closed. What keeps it from that for a while, such as a lack of file
// descriptors, those do not notice who are in.
func (s *Server) accept(ctx context.Context, ln *endpoint) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(0))
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause.Reset()
			s.guard("new client", func() {
				c := &client{server: s, endpoint: ln, listener: ln.settings.Load(), conn: conn, raw: conn}
				if s.enter(c) {
					go c.serve()
				}
			})
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.log.Warn("no client can be let in", "address", ln.Addr().String(), "error", err)
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
