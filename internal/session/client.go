package session

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// streamFrom is the size, in bytes, from which an incomplete client message is passed on before its end has come; wholeText is
// that of one with a text, which says what the statement does.
const (
	streamFrom = 64 << 10
	wholeText  = 1 << 20
)

// Out is what a write of the client's comes to: bytes for the upstream, in two parts so that a message that came in
// pieces needs no copy of the others.
type Out struct {
	Head []byte // the beginning of a message that came with earlier writes
	Body []byte // a part of the bytes given to Client
	Rest []byte // what was not taken: the session answered what stood before it, and needs an upstream for this
	Lost bool   // the stream is not the protocol any more: the connection must end
	Why  string // of Lost, in a server's words
	End  bool   // the client said Terminate
}

// Empty reports whether there is nothing to send.
func (o Out) Empty() bool { return len(o.Head) == 0 && len(o.Body) == 0 }

// Special reports whether there is more to do than to send Body.
func (o Out) Special() bool {
	return len(o.Rest) > 0 || len(o.Head) > 0 || len(o.Body) == 0 || o.Lost || o.End
}

// Bytes is all that is to be sent.
func (o Out) Bytes() []byte {
	if len(o.Head) == 0 {
		return o.Body
	}
	return slices.Concat(o.Head, o.Body)
}

// Client takes bytes that the client wants to send and returns what the upstream is to get of them: whole messages,
// and large ones as they come. While the session answers itself, nothing. Body is valid until the next call. It must not
// be called while the session Waits.
func (s *Session) Client(p []byte) (out Out) {
	contain.Point("session.client", p)
	if s.joined != nil {
		s.spare, s.joined = s.joined[:0], nil
	}
	return s.client(p)
}

func (s *Session) client(p []byte) (out Out) {
	if len(s.tail) > 0 || s.skipBody > 0 {
		return s.clientPieces(p)
	}
	n := s.clientMessages(p, &out)
	if n < len(p) && !out.Lost && !out.End && len(out.Rest) == 0 {
		s.keepTail(p[n:], &out)
	}
	return out
}

// clientMessages works through the whole messages at the start of p and returns their length.
func (s *Session) clientMessages(p []byte, out *Out) int {
	i, malformed, onlyData := 0, false, true
	for ended := false; !ended; { // what stands behind a Terminate is for nobody
		n, ok := wire.FrontendSize(p[i:])
		if !ok || n > len(p)-i {
			break
		}
		ended = p[i] == wire.Terminate
		if n == 0 {
			if out.Rest = p[i:]; i == 0 { // what stands before it is taken first
				out.Lost, out.Why, out.Rest = true, wire.Unframed(p), nil
			}
			break
		}
		malformed = malformed || wire.CheckFrontend(p[i:i+n]) != 0
		onlyData = onlyData && p[i] == wire.CopyData
		i += n
	}
	if i == 0 {
		return 0
	}
	whole := p[:i]
	if onlyData && s.copyIn && !s.local.on {
		out.Body = whole // it has no response, and a COPY is not done again
		return i
	}
	if s.local.on {
		n := s.answerAll(whole, out)
		if n < i {
			// The failed transaction is over: what follows needs a server again.
			out.Rest = p[n:]
		}
		return n
	}
	if malformed {
		whole = wellFormed(whole)
	}
	if s.MemoryLimit > 0 {
		whole = s.affordable(whole)
	}
	start := s.record(whole)
	w := pass{src: whole, buf: s.rewritten[:0]}
	for at := 0; at < len(whole); {
		n, _ := wire.Size(whole[at:])
		from := start
		if start >= 0 {
			from = start + at
		}
		s.request(&w, at, whole[at:at+n], from, out)
		at += n
	}
	out.Body = w.finish(len(whole))
	if cap(w.buf) > 0 {
		s.keepRewritten(out.Body, w)
	}
	return i
}

// keepRewritten holds on to the buffer of what went out other than it came, if it is not too large for that.
func (s *Session) keepRewritten(body []byte, w pass) {
	if len(w.buf) > 0 && cap(body) <= keepJournal {
		s.rewritten = body
	}
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

// request notes one message of the client's, which stands at an offset of what is being sent and at one of the journal.
func (s *Session) request(w *pass, at int, msg []byte, start int, out *Out) {
	kind := msg[0]
	o := op{kind: kind, start: int32(start), end: int32(start + len(msg))}
	open := s.open
	s.open = true
	switch kind {
	case wire.Query:
		s.open = false
		if violates(msg, &o) || s.bar(w, at, msg, &o) {
			s.segment = segment{}
			break
		}
		if m := s.mention(wire.Body(msg)); start < 0 {
			s.noteTemp(m, wire.Body(msg))
		}
		if s.watch() && !s.skipping {
			s.watchQuery(w, at, msg, start, &o)
		}
		s.segment = segment{}
	case wire.Parse:
		if violates(msg, &o) || s.bar(w, at, msg, &o) {
			break
		}
		m := s.mention(wire.Body(msg))
		if start < 0 {
			_, text := parseParts(msg)
			s.noteTemp(m, text)
		}
		if msg[wire.HeaderLen] == 0 {
			s.unnamedMentions = m
		}
		if s.watch() {
			s.parsing(msg)
		}
		if s.memory != nil && !s.skipping {
			s.shareParse(w, at, start, msg)
		}
	case wire.Bind:
		if s.statements.mentioning > 0 || s.unnamedMentions != 0 {
			s.noteBound(msg, start)
		}
		if s.follow() {
			s.binding(msg)
		}
		if s.barChanged(w, at, msg, &o) {
			break
		}
		if s.memory != nil && !s.skipping {
			s.shareName(w, at, start, msg)
		}
	case wire.Execute:
		if s.follow() && !s.skipping {
			n := s.portalNature(msg)
			first := s.segment.executes == 0
			s.injectExecute(w, at, start, n)
			s.noteEffect(n)
			if !first && (n.kind == sqltext.Begin || n.endsBlock()) {
				s.block = blockUnknown // what stands before it may fail, and then it is not run
			}
		}
	case wire.FunctionCall:
		s.open = false
		s.unitDirty = true
		s.noteCall(nil)
		s.segment = segment{}
	case wire.Describe, wire.Close:
		if s.barChanged(w, at, msg, &o) {
			break
		}
		if s.memory != nil && !s.skipping {
			s.shareName(w, at, start, msg)
		}
	case wire.Sync:
		s.open = false
		if s.copyIn {
			return
		}
		if s.follow() {
			o.flags = s.injectSync(w, at, start)
			s.segment = segment{}
		}
		if s.skipping {
			o.flags |= flagFailed
		}
		s.skipping = false
		s.push(o)
		return
	case wire.CopyDone, wire.CopyFail:
		if !s.Busy() {
			s.open = open
			return // the COPY that it would end has failed: the server passes over it
		}
		s.copyFailed = s.copyIn && kind == wire.CopyFail
		s.copyEnded, s.copyEnd = !s.copyIn, s.pushed // a client need not wait for the CopyInResponse
		s.open, s.copyIn = false, false
		return
	case wire.Terminate:
		s.open = open
		out.End = true
		if s.memory != nil {
			w.replace(at, len(msg)) // the upstream is for others yet
		}
		return
	case wire.Flush:
		s.open = open
		s.due = s.pushed
		return
	case wire.CopyData: // it has no response
		s.open = open
		return
	}
	if s.skipping {
		return
	}
	if start < 0 {
		s.beside(w, msg)
		if o.keepsAside() {
			a := s.asideOf(w, msg)
			s.asidesKept += a.cost()
			s.asides = append(s.asides, a)
		}
	}
	s.push(o)
}

// watch reports whether the texts that are sent are looked at one by one.
func (s *Session) watch() bool { return s.probing() || s.feeding || !s.TrustFunctions }

// follow reports whether it matters which of them the client runs, too. As long as no text calls a function of the user's own,
// it does not matter to what the session may hold.
func (s *Session) follow() bool { return s.probing() || s.feeding || s.seenOpaque }

// watchQuery looks at a simple Query.
func (s *Session) watchQuery(w *pass, at int, msg []byte, start int, o *op) {
	text, _, ok := wire.CString(wire.Body(msg))
	if !ok {
		s.noteCall(nil) // it has not come to its end
		s.block, s.unitDirty = blockUnknown, true
		return
	}
	n := s.judge(text)
	o.flags = s.injectQuery(w, at, start, msg, n)
	s.noteEffect(n)
}

// noteCall notes a call of functions of the user's own, by their names as far as these are known. Within a transaction its settings are
// taken to be the transaction's own.
func (s *Session) noteCall(names []string) {
	if s.TrustFunctions || s.Functions.Harmless(names) {
		return
	}
	s.unprepare()
	if s.block != blockOpen {
		s.wonder(names)
		s.state |= stateOpaque
	}
	if s.memory != nil {
		// Nobody else may get what it leaves behind, from within a transaction either.
		s.memory.unsure, s.look = true, true
	}
}

// noteEffect follows a statement's effect on the transaction that the client is in, and on the session.
func (s *Session) noteEffect(n nature) {
	if n.opaque || n.kind == sqltext.Execute && s.anyMadeBySQL(func(st *Statement) bool { return st.nature.opaque }) {
		s.noteCall(n.calls)
	}
	if !n.keepsPrepared() {
		s.unprepare()
	}
	s.block = s.block.after(n)
	s.unitDirty = s.unitDirty || n.dirty || !n.known
}

// streams reports whether a message of n bytes, of which have bytes have come, is passed on before its end has come. What has to be
// read whole is not; a Parse under a name that sessions share is one of these, since that name is a digest of its text.
func (s *Session) streams(kind byte, n, have int) bool {
	if n <= streamFrom || s.local.on {
		return false
	}
	switch kind {
	case wire.CopyData:
		return true
	case wire.Query:
		return have > wholeText && !s.NoBlocks
	case wire.Parse:
		return have > wholeText && s.id == 0
	}
	return have > streamFrom
}

// keepTail keeps the beginning of a message until the rest has come. A large one is passed on as it comes, once.
func (s *Session) keepTail(p []byte, out *Out) {
	s.partials++
	if n, ok := wire.FrontendSize(p); ok && s.refusesSize(p[0], n) {
		s.refuseSize(p, n, out)
		return
	}
	if n, ok := wire.FrontendSize(p); ok && s.streams(p[0], n, len(p)) {
		s.stream(p, n, out)
		return
	}
	s.tail, s.spare = append(s.spare[:0], p...), nil
}

// stream passes on the beginning of a message of n bytes.
func (s *Session) stream(p []byte, n int, out *Out) {
	if f := wire.CheckStart(p); f != 0 {
		s.refuseStart(p, n, f, out)
		return
	}
	// The unit cannot be replayed without this message's bytes. Its type and the beginning of its body, where the names
	// stand, are all that is needed to understand its response; a statement cut short is not restorable.
	s.truncated = true
	s.skipBody = n - len(p)
	s.bodySize = n
	w := pass{src: p}
	due := s.due
	s.request(&w, 0, p, -1, out)
	s.dueAtEnd, s.due = s.due, due
	s.recordNames(p)
	if s.skipText = s.skipText[:0]; p[0] == wire.Query || p[0] == wire.Parse {
		s.skipText = append(s.skipText, p[len(p)-longestMention:]...)
	}
	if len(out.Body) > 0 {
		out.Head = append(out.Head, out.Body...)
	}
	out.Body = w.finish(len(p))
}

// recordNames puts the names of a Parse or Bind that is passed on as it comes into the journal, and nothing else of it: what has the
// same names there means something else from here on.
func (s *Session) recordNames(p []byte) {
	names, rest, ok := wire.CString(wire.Body(p))
	n := len(names) + 1
	if p[0] == wire.Bind && ok {
		names, _, ok = wire.CString(rest)
		n += len(names) + 1
	}
	if p[0] != wire.Parse && p[0] != wire.Bind || !ok {
		return
	}
	end := []byte{0, 0, 0, 0, 0, 0} // no parameters, or no text and none of their types
	b := binary.BigEndian.AppendUint32([]byte{p[0]}, uint32(4+n+len(end)))
	s.record(append(append(b, wire.Body(p)[:n]...), end...))
}

// Partial returns the number of the message whose end has not come, and how many bytes of it have; 0 where there is none.
func (s *Session) Partial() (message uint64, have int) {
	switch {
	case s.skipBody > 0:
		return s.partials, s.bodySize - s.skipBody
	case len(s.tail) > 0:
		return s.partials, len(s.tail)
	}
	return 0, 0
}

// longestMention bounds, in bytes, the words that mentions are looked for by.
const longestMention = 32

// mentionRest takes in what the rest of a large statement mentions.
func (s *Session) mentionRest(p []byte) {
	if len(s.skipText) == 0 {
		return
	}
	m := sqltext.MentionsState(p) | sqltext.MentionsState(append(s.skipText, p[:min(len(p), longestMention)]...))
	s.skipText = append(s.skipText, p[max(0, len(p)-longestMention):]...)
	s.skipText = append(s.skipText[:0], s.skipText[len(s.skipText)-longestMention:]...)
	s.note(m)
	if n := len(s.asides); n > 0 && s.asides[n-1].statement != nil {
		st := s.asides[n-1].statement
		if st.mentions |= m; st.name == "" {
			s.unnamedMentions |= m
		}
	}
}

// clientPieces is Client when a message came in pieces.
func (s *Session) clientPieces(p []byte) (out Out) {
	if s.skipBody > 0 {
		return s.clientBody(p)
	}
	// Complete the piece; what follows it in p is handled in place.
	if k := min(wire.HeaderLen-len(s.tail), len(p)); k > 0 {
		s.tail = append(s.tail, p[:k]...)
		p = p[k:]
	}
	n, ok := wire.FrontendSize(s.tail)
	switch {
	case !ok:
		return out
	case n == 0:
		out.Lost, out.Why = true, wire.Unframed(s.tail)
		return out
	case n-len(s.tail) > len(p) && s.refusesSize(s.tail[0], n):
		begun := append(s.tail, p...)
		s.tail = nil
		s.refuseSize(begun, n, &out)
		return out
	case n-len(s.tail) > len(p):
		s.tail = append(s.tail, p...)
		if s.streams(s.tail[0], n, len(s.tail)) {
			begun := s.tail
			s.tail = nil
			s.stream(begun, n, &out)
		}
		return out
	}
	need := n - len(s.tail)
	joined := append(s.tail, p[:need]...)
	s.tail = nil
	if cap(joined) <= streamFrom {
		s.joined = joined // it can be used for the next one, once this one is sent
	}
	answering := s.local.on
	head := s.client(joined)
	switch {
	case answering && !s.local.on && len(head.Rest) == 0 && need < len(p):
		head.Rest = p[need:]
		return head
	case head.Lost || need == len(p):
		return head
	case len(head.Rest) > 0:
		head.Rest = append(bytes.Clone(head.Rest), p[need:]...)
		return head
	}
	first := head.Bytes()
	if len(first) > 0 && &first[0] != &joined[0] {
		first = bytes.Clone(first) // the next call has the buffer
	}
	rest := s.client(p[need:])
	rest.Head = append(first, rest.Head...)
	rest.End = rest.End || head.End
	return rest
}

// clientBody is Client in the midst of a message that is passed on in pieces.
func (s *Session) clientBody(p []byte) (out Out) {
	n := min(s.skipBody, len(p))
	s.mentionRest(p[:n])
	if s.skipBody -= n; s.skipBody == 0 {
		s.due = max(s.due, s.dueAtEnd)
	}
	switch {
	case s.dropBody:
		s.dropBody = s.skipBody > 0
		if n < len(p) {
			out.Rest = p[n:]
		}
		return out
	case n == len(p):
		out.Body = p
		return out
	}
	rest := s.client(p[n:])
	rest.Head = append(bytes.Clone(p[:n]), rest.Head...)
	return rest
}

// Sent says that what Client returned last is about to be written to an upstream. From here on it counts as done by
// the server until the opposite is proven.
func (s *Session) Sent() { s.sent = len(s.journal) }
