package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// readOnlyTransaction is what a server that is not the writer any more answers to a write.
const readOnlyTransaction = "25006"

// Event is what bytes from the server mean beyond themselves.
type Event uint8

const (
	// None is nothing.
	None Event = iota
	// Gone: the server said that it ends the connection (57P01 and the like). View.Err has its words.
	Gone
	// ReadOnly: the server refused a statement because it is read-only (25006). The message is not taken in yet: either
	// this is not the writer any more, and the session is lost, or the client is to see it; AcceptReadOnly then.
	ReadOnly
	// Diverged: a replay is not what the client has seen.
	Diverged
	// Broken: what came is not the protocol.
	Broken
	// Proceed: a replay has caught up, and what waited for that is to be sent now: see Session.Proceed.
	Proceed
	// Acked: what would tell the client that something is committed has come while the server is under suspicion. The message
	// is not taken in yet: either the suspicion proves wrong, then AcceptAck, or the session is lost.
	Acked
	// Again: a replay met an error of its own (a deadlock, a lock timeout). The upstream is to be dropped, and the replay
	// to be begun again on another.
	Again
	// Notified: what ends the unit has come, and the unit may have notified on a channel that the pool receives. The message is not taken in
	// yet: a server says one's own notifications before it. AcceptNotified says that the pool has received them.
	Notified
	// Canceled: a replay met the client's own CancelRequest.
	Canceled
)

// View is what came of bytes from the server.
type View struct {
	Deliver int // so many bytes at the start of the buffer are for the client
	Keep    int // from here on a message is incomplete, or not taken in: show it again, with what comes after it
	Cut     int // so many bytes at the end of the buffer mean nothing any more: what was before them has moved up
	Event   Event
	Err     wire.Error // of Gone and ReadOnly
}

// Server takes bytes that came from the upstream. It may move them inside b. Only whole messages are delivered, so
// that an error can be put behind them at any time.
func (s *Session) Server(b []byte) View {
	contain.Point("session.server", b)
	if s.streaming > 0 {
		return s.serverStream(b)
	}
	if s.verify > 0 {
		return s.serverVerify(b)
	}
	var v View
	i, run := 0, 0 // taken in, and from where it is not digested yet
	special := s.special()
	for len(b)-i >= wire.HeaderLen {
		if !special {
			if i = skipRows(b, i); len(b)-i < wire.HeaderLen {
				break
			}
		}
		kind := b[i]
		n, _ := wire.BackendSize(b[i:])
		if n > len(b)-i && (n <= maxWhole || kind == wire.DataRow || kind == wire.CopyData) {
			break
		}
		if n > len(b)-i {
			v.Event, s.brokenBy = Broken, fmt.Sprintf("a message of type %q and %d bytes", kind, n)
			break
		}
		if n == 0 || !wire.SoundBackend(b[i:i+n]) {
			v.Event = Broken
			break
		}
		if special && s.swallow(kind, b[i:i+n]) {
			b = b[:i+copy(b[i:], b[i+n:])]
			v.Cut += n
			special = s.special()
			continue
		}
		if kind == wire.DataRow || kind == wire.CopyData {
			i += n
			continue
		}
		msg := b[i : i+n]
		if kind == wire.NotificationResponse && s.relays(msg) {
			b = b[:i+copy(b[i:], b[i+n:])]
			v.Cut += n
			continue
		}
		if s.barred(kind, msg) {
			s.digest(b[run:i])
			s.canonical(kind, msg)
			refusal := s.refusal()
			_ = s.take(kind, msg) // it is an error like any other
			s.out = append(s.out, b[:i]...)
			s.emitProblem(refusal)
			b = b[:copy(b, b[i+n:])]
			v.Cut += i + n
			i, run, special = 0, 0, s.special()
			continue
		}
		if v.Event = s.take(kind, msg); v.Event != None {
			v.Err = s.fault
			break
		}
		switch kind {
		case wire.ErrorResponse, wire.ParameterStatus, wire.NoticeResponse, wire.NotificationResponse:
			s.digest(b[run:i])
			s.canonical(kind, msg)
			run = i + n
		case wire.ReadyForQuery:
			if s.status == wire.StatusIdle {
				if len(s.inbox) > 0 { // a server, too, says it right before
					s.out = append(append(s.out, b[:i]...), s.TakeHeard()...)
					b = b[:copy(b, b[i:])]
					v.Cut += i
					i = 0
				}
				run = i + n // the unit is over: nothing of it will be compared
			}
		}
		i += n
		special = s.special()
	}
	s.digest(b[run:i])
	v.Deliver, v.Keep = i, i
	if v.Event == None && s.parked >= 0 {
		v.Event = Proceed
	}
	return v
}

// skipRows returns where the whole DataRows that begin at i end: a large result is hardly anything else.
func skipRows(b []byte, i int) int {
	for len(b)-i >= wire.HeaderLen && b[i] == wire.DataRow {
		n := int(binary.BigEndian.Uint32(b[i+1:])) + 1
		if n < wire.HeaderLen+2 || n > len(b)-i {
			break
		}
		i += n
	}
	return i
}

// Stream is for a message that is too large to be waited for: b begins with its header, and the client gets what is
// there. A session that is lost in the middle of such a message cannot be resumed. It reports whether the message is of
// a kind that may be streamed.
func (s *Session) Stream(b []byte) bool {
	if b[0] != wire.DataRow && b[0] != wire.CopyData || s.verify > 0 {
		return false
	}
	n, _ := wire.Size(b)
	s.streaming = n - len(b)
	s.digest(b)
	return true
}

// Streaming reports whether the client has seen the beginning of a message, and not its end.
func (s *Session) Streaming() bool { return s.streaming > 0 }

func (s *Session) serverStream(b []byte) View {
	n := min(s.streaming, len(b))
	s.streaming -= n
	s.digest(b[:n])
	if n == len(b) {
		return View{Deliver: n, Keep: n}
	}
	said := len(s.out)
	v := s.Server(b[n:])
	if len(s.out) > said { // that stands behind the end of the message
		s.out = slices.Insert(s.out, said, b[:n]...)
		copy(b, b[n:len(b)-v.Cut])
		v.Cut += n
		return v
	}
	v.Deliver += n
	v.Keep += n
	return v
}

// serverVerify is Server while a replay is compared with what the client has: nothing is delivered until the digest of
// as many canonical bytes has proved equal.
func (s *Session) serverVerify(b []byte) View {
	var v View
	i := 0
	for {
		n, ok := wire.BackendSize(b[i:])
		if !ok || n > len(b)-i {
			break
		}
		if n == 0 || !wire.SoundBackend(b[i:i+n]) {
			v.Event = Broken
			break
		}
		if v.Event = s.compare(b[i : i+n]); v.Event != None {
			v.Err = s.fault
			break
		}
		i += n
		if s.verify > 0 && s.delivered == s.verify {
			s.verify = 0
			s.saved = nil
			rest := s.Server(b[i:])
			copy(b, b[i:i+rest.Deliver])
			rest.Keep += i
			return rest
		}
		if s.replayOver() {
			v.Event = Diverged // it is less than the client has seen
			break
		}
	}
	v.Keep = i
	return v
}

// compare takes in one message of a replay.
func (s *Session) compare(msg []byte) Event {
	kind := msg[0]
	if s.special() && s.swallow(kind, msg) {
		return None
	}
	switch kind {
	case wire.ReadyForQuery:
		if len(msg) > wire.HeaderLen && msg[wire.HeaderLen] == wire.StatusIdle {
			return Diverged // the unit is over before all that the client has seen of it
		}
	case wire.CopyInResponse, wire.CopyOutResponse, wire.CopyBothResponse:
		return Diverged // no unit with a COPY is replayed
	case wire.ErrorResponse:
		if e := wire.ParseError(wire.Body(msg)); !s.repeatErrors && repeatable(e.Code) {
			s.fault = e
			if s.canceled && e.Code == codeCanceled {
				return Canceled
			}
			s.replays = max(0, s.replays-1)
			if s.restarts++; s.restarts > maxRestarts {
				return Diverged
			}
			return Again
		}
	}
	if e := s.take(kind, msg); e != None {
		return e
	}
	if kind == wire.ParameterStatus || kind == wire.NotificationResponse && !s.relays(msg) {
		if s.out = append(s.out, msg...); len(s.out) > maxWhole {
			s.brokenBy = "nothing but notifications"
			return Broken
		}
	}
	if s.verify > 0 {
		s.canonical(kind, msg)
	}
	if s.verify == 0 || s.delivered > s.verify || s.delivered == s.verify && s.hash.value() != s.verifySum {
		return Diverged
	}
	return None
}

// replayOver reports whether the server has answered all that the replay has sent, whatever the answer was: no more will come.
func (s *Session) replayOver() bool {
	if !s.Busy() {
		return true
	}
	// A wrapped Query without its end: what stands behind its work is not sent yet.
	o := s.queue[s.head]
	return s.parkedTail && s.head == len(s.queue)-1 && (o.commands > 0 || o.flags&flagFailed != 0)
}

// repeatable reports whether an error may be met by a replay though the first run did not: it is then begun again.
func repeatable(code string) bool {
	switch code {
	case CodeSerialization, "40P01", "55P03", "57014":
		return true
	}
	return false
}

// digest adds bytes that the client is given, as they are.
func (s *Session) digest(b []byte) {
	if len(b) == 0 || s.truncated {
		return
	}
	s.hash.write(b)
	s.delivered += int64(len(b))
}

// canonical adds one message: of an error only what is the same wherever it is raised, of asynchronous messages
// nothing.
func (s *Session) canonical(kind byte, msg []byte) {
	switch kind {
	case wire.ErrorResponse:
		e := wire.ParseError(wire.Body(msg))
		s.repeatErrors = s.repeatErrors || repeatable(e.Code)
		s.digest([]byte{kind})
		s.digest([]byte(e.Code))
		s.digest([]byte(e.Constraint))
	case wire.ParameterStatus, wire.NoticeResponse, wire.NotificationResponse:
	default:
		s.digest(msg)
	}
}

// AcceptReadOnly says that the next 25006 is the server's true answer.
func (s *Session) AcceptReadOnly() { s.acceptReadOnly = true }

// Guard says whether the server is under suspicion.
func (s *Session) Guard(on bool) { s.guarded = on }

// AcceptAck says that the next acknowledgement is true.
func (s *Session) AcceptAck() { s.acceptAck = true }

// acknowledges reports whether a message tells the client of a commit. Outside of the segments that are watched, any end
// of a unit may.
func (s *Session) acknowledges(head, kind byte, msg []byte) bool {
	if s.probing() && !s.unitDirty {
		return false
	}
	switch kind {
	case wire.CommandComplete:
		tag := wire.Body(msg)
		return bytes.HasPrefix(tag, []byte("COMMIT")) ||
			head == wire.Query && s.status == wire.StatusIdle && !bytes.HasPrefix(tag, []byte("BEGIN"))
	case wire.ReadyForQuery:
		return len(msg) > wire.HeaderLen && msg[wire.HeaderLen] == wire.StatusIdle
	}
	return false
}

// take brings the session's state forward by one message of the server's. The error that an event is about is in fault.
func (s *Session) take(kind byte, msg []byte) Event {
	head := s.headKind()
	if s.guarded && !s.acceptAck && s.acknowledges(head, kind, msg) {
		return Acked
	}
	if s.ownNews && kind == wire.ReadyForQuery && len(msg) > wire.HeaderLen && msg[wire.HeaderLen] == wire.StatusIdle {
		return Notified
	}
	switch kind {
	case wire.ParseComplete:
		s.expect(head, wire.Parse)
		if head == wire.Parse {
			s.parsed(s.queue[s.head])
			s.pop()
		}
	case wire.BindComplete:
		if s.expect(head, wire.Bind) {
			s.pop()
		}
	case wire.CloseComplete:
		if s.expect(head, wire.Close) {
			s.closed(s.queue[s.head])
			s.pop()
		}
	case wire.ParameterDescription:
		if s.expect(head, wire.Describe) {
			s.statements.describe = DescriptionSum(0, msg)
		}
	case wire.RowDescription, wire.NoData:
		if head == wire.Describe {
			if d := s.statements.describe; d != 0 {
				s.described(s.queue[s.head], DescriptionSum(d, msg), msg)
				s.statements.describe = 0
			} else if s.statements.undescribed > 0 {
				s.describedPortal(msg)
			}
			s.pop()
		}
	case wire.CommandComplete:
		s.commandComplete(head, wire.Body(msg))
	case wire.EmptyQueryResponse, wire.PortalSuspended:
		s.unitChanged = s.unitChanged || kind == wire.PortalSuspended // a RETURNING has changed all of its rows by now
		if kind == wire.PortalSuspended && len(s.settings.channels) > 0 {
			s.noteNews(head, []byte("SELECT"))
		}
		switch head {
		case wire.Execute:
			s.pop()
		case wire.Query:
			s.queue[s.head].commands++ // it is all that an empty string is answered with
		}
	case wire.CopyInResponse, wire.CopyBothResponse:
		s.dropSyncs()
		s.copyIn, s.copied, s.copyEnded = !s.copyEnded, true, false
	case wire.CopyOutResponse:
		s.copied = true
	case wire.ErrorResponse:
		e := wire.ParseError(wire.Body(msg))
		if e.Fatal() && s.mode != Off && e.Code != "08P01" {
			s.fault = e
			return Gone
		}
		if e.Code == readOnlyTransaction && !s.acceptReadOnly {
			s.fault = e
			return ReadOnly
		}
		s.acceptReadOnly = false
		if s.memory != nil && (head == opParse && !s.sharesNext() || (head == wire.Bind || head == wire.Describe) && e.Code == "26000" && s.queue[s.head].flags&flagChanged == 0) {
			s.memory.ended = true // a statement is not there that was
		}
		if s.memory != nil && (head == wire.Bind || head == wire.Describe) && e.Code == "0A000" {
			s.outdated(s.message(s.queue[s.head]))
		}
		s.failed(head)
	case wire.ReadyForQuery:
		s.ready(head, msg[wire.HeaderLen])
	case wire.ParameterStatus:
		if !s.parameter(wire.Body(msg)) {
			return Broken
		}
	case wire.NotificationResponse:
		s.notification(msg)
	case wire.NoticeResponse:
		// A server that is told to stop at once says so in a warning.
		if e := wire.ParseError(wire.Body(msg)); s.mode != Off && (e.Code == "57P01" || e.Code == "57P02") {
			s.fault = e
			return Gone
		}
	}
	return None
}

// expect notes when a response answers no request that we know of: the session's account of itself is wrong then, and
// nothing may be concluded from it.
func (s *Session) expect(head, want byte) bool {
	if head != want {
		s.confused = true
	}
	return head == want
}

// failed is an ErrorResponse: in the extended protocol the server discards everything until Sync.
func (s *Session) failed(head byte) {
	s.copyIn = false
	s.statements.describe = 0
	s.inBlock = s.inBlock && !s.failedAtEnd(head)
	if s.inError = s.inBlock; !s.inBlock {
		s.settings.rollback() // an error outside a block undoes all that its unit did
	}
	s.ended = false
	if head == wire.Query || head == wire.FunctionCall {
		s.queue[s.head].flags |= flagFailed
		return
	}
	if head == 0 {
		return
	}
	for s.Busy() && s.headKind() != wire.Sync && s.headKind() != opProbeSync {
		switch o := s.queue[s.head]; o.kind {
		case wire.Parse:
			s.parseFailed(o)
		case opParse:
			if s.arrived() == "" && s.memory != nil {
				s.memory.ended = true // a name that counts as the client's own on the server was not made
			}
		}
		s.pop()
	}
	if s.closesOwn && s.memory != nil {
		s.memory.ended = true // one that counts as closed may be there
	}
	if s.skipping = !s.Busy(); !s.skipping {
		s.queue[s.head].flags |= flagFailed
	}
	if len(s.naming) > 0 {
		s.renameAgain()
	}
}

// failedAtEnd reports whether the error in hand is that of a statement that was to end its transaction. There is none afterwards: a
// server that cannot commit has rolled back.
func (s *Session) failedAtEnd(head byte) bool {
	if head != wire.Query && head != wire.Execute {
		return false
	}
	switch sqltext.Classify(s.statementInHand(), s.options()) {
	case sqltext.Commit, sqltext.CommitChain, sqltext.PrepareTransaction:
		return true
	}
	return false
}

// parseFailed forgets a Parse that was not done: its name goes on to mean what it meant.
func (s *Session) parseFailed(o op) {
	if o.start < 0 {
		if st := s.asides[0].statement; st != nil {
			s.forgetParse(st.name)
		}
		return
	}
	name, _ := parseParts(s.message(o))
	s.forgetParse(string(name))
}

func (s *Session) forgetParse(name string) {
	if name != "" && s.memory != nil {
		s.arrived()
	}
	s.forgetNature(name)
	if name != "" && s.statements.named[name] != nil {
		// The journal tells of two statements of that name now.
		s.confused = true
	}
}

// dropSyncs takes out the Syncs behind a COPY that has begun: a server that reads CopyData ignores them, up to the
// CopyDone.
func (s *Session) dropSyncs() {
	if s.headKind() != wire.Execute {
		return
	}
	kept := s.queue[:s.head+1]
	number := s.pushed - uint64(len(s.queue)-len(kept))
	for i, o := range s.queue[s.head+1:] {
		if o.kind != wire.Sync || s.copyEnded && number+uint64(i) >= s.copyEnd {
			kept = append(kept, o)
		}
	}
	s.queue = kept
}

// ready is a ReadyForQuery.
func (s *Session) ready(head, status byte) {
	if s.Busy() && s.queue[s.head].flags&flagProbed != 0 && len(s.evidence) > 0 {
		s.evidence = append(s.evidence[:0], s.evidence[1:]...)
	}
	s.probeRan, s.closesOwn = false, false
	switch head {
	case wire.Query, wire.Sync, wire.FunctionCall:
		s.pop()
	default:
		s.confused = true
		s.clearQueue()
	}
	s.setStatus(status)
	s.copyEnded, s.copyFailed = false, false
	s.copyIn, s.ended, s.dropTag, s.acceptAck = false, false, false, false
	if !s.Busy() {
		s.block = blockOf(status)
	}
	if status == wire.StatusIdle {
		s.commitSettings()
		s.endUnit()
	}
}

// What a server may send at most, in bytes, beyond rows and COPY data, and how many parameters it may report.
const (
	maxWhole      = 16 << 20
	maxParams     = 256
	maxParamsSize = 256 << 10
)

// parameter is a ParameterStatus. It reports whether it is one that a server may send.
func (s *Session) parameter(body []byte) bool {
	name, rest, ok := wire.CString(body)
	if !ok {
		return true
	}
	value, _, ok := wire.CString(rest)
	if !ok {
		return true
	}
	if s.params[string(name)] != string(value) {
		s.params[string(name)], s.paramsStale = string(value), true
		size := 0
		for name, value := range s.params {
			size += len(name) + len(value)
		}
		if len(s.params) > maxParams || size > maxParamsSize {
			s.brokenBy = "more parameters than any server has"
			return false
		}
	}
	if s.memory != nil && s.memory.Params[string(name)] != string(value) {
		s.memory.Params[string(name)] = string(value)
		s.memory.Recount()
	}
	return true
}

// BrokenBy is what was too much of what a server has sent, with the Event Broken; empty when it is no protocol at all.
func (s *Session) BrokenBy() string { return s.brokenBy }
