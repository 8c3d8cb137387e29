package front

import (
	"bytes"
	"crypto/tls"
	"io"
	"sync/atomic"
)

// bodyLimit bounds what is kept back of one message so that Match can see it.
const bodyLimit = 16 << 20

// way is one direction of a link. Its pump owns it, except for shut.
type way struct {
	link *link
	from Side
	in   *port     // where bytes come from
	out  *port     // where they go to
	src  io.Reader // in, or TLS over it
	dst  io.Writer // out, or TLS over it
	shut atomic.Bool

	split splitter
	held  []byte   // the beginning of a message that has to be seen whole
	after *Pending // fires when the message under way has passed
	loses bool     // a cut has left bytes behind it
}

// filter takes what was read, and gives what may go on. If it reports a cut, the cut falls behind out, and what was read
// beyond it is lost.
func (w *way) filter(b []byte) (out []byte, fired *Pending) {
	armed := w.armed()
	if len(armed) == 0 && len(w.held) == 0 && w.after == nil {
		w.split.skip(b)
		return b, nil
	}
	whole := b
	if len(w.held) > 0 {
		whole = append(w.held, b...)
	}
	return w.filterArmed(whole, armed)
}

// filterArmed is filter for when cuts count. b may be w.held, grown, and grows on if its message is still not whole.
func (w *way) filterArmed(b []byte, armed []*Pending) (out []byte, fired *Pending) {
	grown := len(w.held) > 0
	w.held = nil
	pos := 0
	for pos < len(b) && !w.split.lost {
		if !w.split.atStart() {
			pos += w.split.finish(b[pos:])
			if w.after != nil && w.split.atStart() {
				fired, w.after = w.after, nil
				return w.cutAt(b, pos), fired
			}
			continue
		}
		m, size, enough := w.look(b[pos:], armed)
		if !enough {
			if grown && pos == 0 {
				w.held = b
			} else {
				w.held = bytes.Clone(b[pos:])
			}
			return b[:pos], nil
		}
		if size == 0 {
			// Not the protocol: skip notices too.
			w.split.skip(b[pos:])
			break
		}
		if p := w.fall(m, armed); p != nil {
			if p.cut.When == Before {
				return w.cutAt(b, pos), p
			}
			w.after = p
		}
		w.split.begin(b[pos:])
	}
	return b, nil
}

// armed lists the cuts that count what passes now. What vanishes is not counted.
func (w *way) armed() []*Pending {
	armed := w.link.front.cuts.of(w.from)
	if len(armed) > 0 && w.out.vanishing() {
		return nil
	}
	return armed
}

// look reads the message that b begins with. It is not enough if a head, or a body that a Match has to see, is not there
// yet; size is 0 if b is not a message.
func (w *way) look(b []byte, armed []*Pending) (m Message, size int, enough bool) {
	h, verdict := w.split.heads.measure(b)
	switch verdict {
	case headShort:
		return Message{}, 0, len(armed) == 0
	case headWrong:
		return Message{}, 0, true
	}
	body := b[h.body:min(len(b), h.size)]
	need := min(h.size-h.body, bodyLimit)
	if len(body) < need {
		for _, p := range armed {
			if p.cut.Match != nil {
				return Message{}, 0, false
			}
		}
	}
	return Message{Type: h.kind, Body: body[:min(len(body), need)], Conn: w.link.id}, h.size, true
}

// fall lets every armed cut count m. The first that falls at it wins, and the others stay armed.
func (w *way) fall(m Message, armed []*Pending) *Pending {
	for _, p := range armed {
		if p.falls(w.link, m) {
			p.home.remove(p)
			return p
		}
	}
	return nil
}

// cutAt gives b up to pos. The rest is lost.
func (w *way) cutAt(b []byte, pos int) []byte {
	w.loses = pos < len(b)
	return b[:pos]
}

// rest is what was held back of a message that never became whole.
func (w *way) rest() []byte {
	rest := w.held
	w.held = nil
	return rest
}

// write hands b on; nothing is not worth a TLS record.
func (w *way) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.dst.Write(b)
	return err
}

// closeWrite tells the side that this way leads to that no more comes, in TLS too.
func (w *way) closeWrite() {
	if secure, ok := w.dst.(*tls.Conn); ok {
		_ = secure.CloseWrite()
		_ = w.out.line.drain(w.link.ctx)
	}
	w.out.closeWrite()
}
