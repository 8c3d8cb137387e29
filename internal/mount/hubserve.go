package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// serve uses an upstream until it is lost, and closes it.
func (h *hub) serve(ctx context.Context, up *backend.Upstream) error {
	ending := context.AfterFunc(ctx, func() { _ = up.SetReadDeadline(time.Unix(1, 0)) })
	defer ending()
	quit := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		if p := h.lender.pool.guard("wish for notifications", func() { h.write(up, quit) }); p != nil {
			up.Kill(p)
			<-quit
		}
	})
	h.nudge()
	var err error
	if p := h.lender.pool.guard("notifications", func() { err = h.read(up) }); p != nil {
		err = p
	}
	err = lossOf(up, err)
	h.mu.Lock()
	h.up = nil
	var granted []wish
	again := append(h.sent, h.wishes...)
	h.sent, h.wishes = nil, nil
	for _, w := range again {
		if w.moot {
			granted = append(granted, w)
		} else {
			h.wishes = append(h.wishes, w)
		}
	}
	h.mu.Unlock()
	up.Close(ctx.Err() == nil)
	close(quit)
	writer.Wait()
	h.grant(granted, nil)
	return err
}

// write sends one statement after the other.
func (h *hub) write(up *backend.Upstream, quit chan struct{}) {
	for {
		select {
		case <-quit:
			return
		case <-h.kick:
		}
		b, err := h.statement(up)
		if err == nil && b != nil {
			_, err = up.Write(b)
		}
		if err != nil {
			up.Kill(fmt.Errorf("write: %w", err)) // whoever reads finds out
			return
		}
	}
}

// statement is what is to be sent, nil if nothing is wished for or the last one is not answered.
func (h *hub) statement(up *backend.Upstream) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up != up || len(h.sent) > 0 || len(h.wishes) == 0 {
		return nil, nil
	}
	h.sent, h.wishes, h.sentAt, h.failed = h.wishes, nil, time.Now(), nil
	up.Begin()
	b, err := (&pgproto3.Query{String: hubTag + h.difference()}).Encode(nil)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}

// read takes in what the server sends until it sends no more.
func (h *hub) read(up *backend.Upstream) error {
	buf := make([]byte, firstBuffer)
	have := 0
	for {
		n, err := up.Read(buf[have:])
		have += n
		used := 0
		for {
			size, ok := wire.BackendSize(buf[used:have])
			if ok && (size == 0 || size > largestBuffer || size <= have-used && !wire.SoundBackend(buf[used:used+size])) {
				return errors.New("the server sent what is not PostgreSQL's protocol")
			}
			if !ok || size > have-used {
				if ok && size > len(buf) {
					buf = append(buf, make([]byte, size-len(buf))...)
				}
				break
			}
			if err := h.take(up, buf[used:used+size]); err != nil {
				return err
			}
			used += size
		}
		have = copy(buf, buf[used:have])
		if err != nil {
			return err
		}
	}
}

// take takes in one message of the server's.
func (h *hub) take(up *backend.Upstream, msg []byte) error {
	switch msg[0] {
	case wire.NotificationResponse:
		h.notify(msg)
	case wire.ErrorResponse:
		e := wire.ParseError(wire.Body(msg))
		if e.Fatal() {
			return &endedError{words: e}
		}
		h.mu.Lock()
		h.failed = backend.PgError(msg)
		h.mu.Unlock()
	case wire.ReadyForQuery:
		return h.answered(up)
	}
	return nil
}

// answered is the end of an answer. A server that does not do as it is told is of no use.
func (h *hub) answered(up *backend.Upstream) error {
	h.mu.Lock()
	wishes, err := h.sent, h.failed
	h.sent = nil
	up.Heard(true)
	h.mu.Unlock()
	h.grant(wishes, err)
	h.nudge()
	return err
}

// notify gives a notification to those who listen.
func (h *hub) notify(msg []byte) {
	who, sender := h.listeners(msg)
	for _, m := range who {
		m.hear(msg, m == sender)
	}
}

// listeners are those whom a notification is for, and the one whose own it is, if it is the own of one that listens. A mark is for nobody.
func (h *hub) listeners(msg []byte) (who []*Conn, sender *Conn) {
	name, payload := session.Notification(msg)
	h.mu.Lock()
	defer h.mu.Unlock()
	contain.Point("hub.notify", msg)
	if string(name) == h.own {
		if k := h.marks[string(payload)]; k != nil {
			delete(h.marks, k.text)
			h.open(k.conn, k.channels)
		}
		return nil, nil
	}
	for m, open := range h.ears[string(name)] {
		if open {
			who = append(who, m)
		}
	}
	return who, h.senders[binary.BigEndian.Uint32(msg[wire.HeaderLen:])]
}
