package session

import (
	"bytes"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// streamFrom is the size, in bytes, from which an incomplete client message is passed on before its end has come.
const streamFrom = 64 << 10

// Out is what a write of the client's comes to: bytes for the upstream, in two parts so that a message that came in
// pieces needs no copy of the others.
type Out struct {
	Head []byte // the beginning of a message that came with earlier writes
	Body []byte // a part of the bytes given to Client
	Skip int    // so many bytes at the beginning were answered by the session itself
	Lost bool   // the stream is not the protocol any more: the connection must end
	End  bool   // the client said Terminate
}

// Empty reports whether there is nothing to send.
func (o Out) Empty() bool { return len(o.Head) == 0 && len(o.Body) == 0 }

// Special reports whether there is more to do than to send Body.
func (o Out) Special() bool {
	return o.Skip > 0 || len(o.Head) > 0 || len(o.Body) == 0 || o.Lost || o.End
}

// Bytes is all that is to be sent.
func (o Out) Bytes() []byte {
	if len(o.Head) == 0 {
		return o.Body
	}
	return append(bytes.Clone(o.Head), o.Body...)
}

// Client takes bytes that the client wants to send and returns what the upstream is to get of them: whole messages,
// and large ones as they come. While the session answers itself, nothing.
func (s *Session) Client(p []byte) (out Out) {
	if len(s.tail) > 0 || s.skipBody > 0 {
		return s.clientPieces(p)
	}
	n := s.clientMessages(p, &out)
	if !s.local.on {
		out.Body = p[out.Skip:n]
	}
	if n < len(p) && !out.Lost {
		s.keepTail(p[n:], &out)
	}
	return out
}

// clientMessages works through the whole messages at the start of p and returns their length.
func (s *Session) clientMessages(p []byte, out *Out) int {
	i := 0
	for {
		n, ok := wire.Size(p[i:])
		if !ok {
			break
		}
		if n == 0 {
			out.Lost = true
			break
		}
		if n > len(p)-i {
			break
		}
		i += n
	}
	if i == 0 {
		return 0
	}
	whole := p[:i]
	if s.local.on {
		n := s.answerAll(whole, out)
		if n == i {
			return i
		}
		// The failed transaction is over: what follows needs a server again.
		out.Skip = n
		whole = whole[n:]
	}
	start := s.record(whole)
	for at := 0; at < len(whole); {
		n, _ := wire.Size(whole[at:])
		from := start
		if start >= 0 {
			from = start + at
		}
		s.request(whole[at:at+n], from, out)
		at += n
	}
	return i
}

// record puts whole messages into the journal and returns where; -1 when they do not fit.
func (s *Session) record(whole []byte) int {
	if len(s.journal)-s.base+len(whole) > s.limit {
		s.truncated = true
		// What was answered is of no use without the rest; what is outstanding still tells what an answer belongs to.
		if s.Busy() && s.queue[s.head].start >= 0 {
			s.dropBefore(int(s.queue[s.head].start))
		} else if !s.Busy() {
			s.dropJournal()
		}
		if len(s.journal)-s.base+len(whole) > s.limit {
			s.dropJournal()
			return -1
		}
	}
	start := len(s.journal)
	s.journal = append(s.journal, whole...)
	return start
}

// request notes one message of the client's.
func (s *Session) request(msg []byte, start int, out *Out) {
	kind := msg[0]
	switch kind {
	case wire.Query:
		s.mention(wire.Body(msg))
	case wire.Parse:
		s.mention(wire.Body(msg))
	case wire.Bind, wire.Describe, wire.Close, wire.Execute, wire.FunctionCall:
	case wire.Sync:
		if s.copyIn {
			return
		}
		s.skipping = false
		s.push(op{kind: kind, start: int32(start), end: int32(start + len(msg))})
		return
	case wire.CopyDone, wire.CopyFail:
		s.copyIn = false
		return
	case wire.Terminate:
		out.End = true
		return
	default: // Flush and CopyData have no response; an unknown type is the server's to refuse
		return
	}
	if s.skipping {
		return
	}
	if kind == wire.Parse && start < 0 {
		s.large = append(s.large, newStatement(msg))
	}
	s.push(op{kind: kind, start: int32(start), end: int32(start + len(msg))})
}

// keepTail keeps the beginning of a message until the rest has come. A large one is passed on as it comes, once.
func (s *Session) keepTail(p []byte, out *Out) {
	n, ok := wire.Size(p)
	large := ok && n > streamFrom && (p[0] == wire.CopyData || len(p) > streamFrom)
	if !large {
		s.tail = append(s.tail[:0], p...)
		return
	}
	// The unit cannot be replayed without this message's bytes. Its type and the beginning of its body, where the names
	// stand, are all that is needed to understand its response; a statement cut short is not restorable.
	s.truncated = true
	s.skipBody = n - len(p)
	if !s.local.on {
		s.request(p, -1, out)
		if len(out.Body) > 0 {
			out.Body = out.Body[:len(out.Body)+len(p)]
		} else {
			out.Body = p
		}
	}
}

// clientPieces is Client when a message came in pieces.
func (s *Session) clientPieces(p []byte) (out Out) {
	if s.skipBody > 0 {
		n := min(s.skipBody, len(p))
		s.skipBody -= n
		if n == len(p) {
			if !s.local.on {
				out.Body = p
			}
			return out
		}
		rest := s.Client(p[n:])
		if !s.local.on && len(rest.Head) == 0 {
			rest.Body = p[:n+len(rest.Body)]
		}
		return rest
	}
	// Complete the piece; what follows it in p is handled in place.
	need := wire.HeaderLen - len(s.tail)
	if n, ok := wire.Size(s.tail); ok {
		need = n - len(s.tail)
	}
	if need > len(p) {
		joined := append(bytes.Clone(s.tail), p...)
		s.tail = s.tail[:0]
		s.keepTail(joined, &out)
		return out
	}
	joined := append(bytes.Clone(s.tail), p[:need]...)
	s.tail = s.tail[:0]
	head := s.Client(joined)
	if head.Lost || need == len(p) {
		return head
	}
	rest := s.Client(p[need:])
	switch {
	case len(head.Body) == 0:
		return rest
	case len(rest.Head) == 0:
		rest.Head = head.Body
	default:
		rest.Head = append(head.Body, rest.Head...)
	}
	rest.End = rest.End || head.End
	return rest
}

// Sent says that what Client returned last is about to be written to an upstream. From here on it counts as done by
// the server until the opposite is proven.
func (s *Session) Sent() { s.sent = len(s.journal) }
