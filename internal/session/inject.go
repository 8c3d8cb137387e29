package session

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// Unprepared is the ProbeError of a statement that went away behind the session's back: a trigger has deallocated it, or
// what looks like one connection is several, as behind another pooler. It is to be prepared for each commit then.
const Unprepared = "the injected statement is not prepared any more"

// reserved is the name of the statement and the portal that the session uses on its own account. The unnamed ones are
// the client's.
const reserved = "fairlead_commit"

// Kinds of op that no client sends.
const (
	// opProbe is the injected statement: Bind, Execute and Close of its portal, and Close and Parse of the statement before
	// that if the upstream does not have it.
	opProbe byte = 1 + iota
	// opProbeSync is the Sync behind it.
	opProbeSync
	// opClose is a Close before a Parse of the client's.
	opClose
	// opParse is a Parse before one of the client's that is to fail, or before what uses a statement that is not there.
	opParse
)

// Flags of an op.
const (
	// flagProbed: the commit that this request makes has evidence, the first of the session's that is not used up.
	flagProbed byte = 1 << iota
	// flagWrapped: a Query that was sent as the messages of the extended protocol, so that something could be put
	// between its work and its commit.
	flagWrapped
	// flagFailed: the client was given an error; only the ReadyForQuery is missing.
	flagFailed
	// flagPreparing: the injected statement was prepared first.
	flagPreparing
	// flagGathered: the injected statement of a wrapped Query was answered; an error behind that is the commit's.
	flagGathered
	// flagBarred: the server was given nonsense instead, and its error is answered with errNoBlocks.
	flagBarred
	// flagMalformed: the server was given what stands for a malformed message, and its error is answered with the fault that the op's
	// commands are.
	flagMalformed
	// flagChanged: the server was asked for a statement that it does not have, since the one that it has has another result than the
	// client knows; its error is answered with errChanged.
	flagChanged
)

// injected is what an upstream has of the injected statement.
type injected struct {
	upstream uint64      // which of the session's upstreams it is
	mode     commit.Mode // of the statement that is prepared there; Off: there is none
	system   string      // as in commit.Evidence
	boot     string
}

// pass is how messages of the client's go to the upstream: as they are, or with something of the session's own between
// them.
type pass struct {
	src  []byte
	done int    // so much of src is in buf
	buf  []byte // empty as long as everything goes as it is

	// Of messages that the journal does not have.
	parses map[string][]byte      // statement -> SQL
	binds  map[string]boundBeside // by portal
	looked bool                   // whether a Parse is outstanding was asked
	parsed bool                   // none is: the session's statements are what their names stand for
}

// insert puts b in front of the message at an offset of src.
func (w *pass) insert(at int, b ...[]byte) {
	w.buf = append(w.buf, w.src[w.done:at]...)
	w.done = at
	for _, part := range b {
		w.buf = append(w.buf, part...)
	}
}

// replace takes the n bytes at an offset out and puts b in their place.
func (w *pass) replace(at, n int, b ...[]byte) {
	w.insert(at, b...)
	w.done = at + n
}

// finish is what goes to the upstream of the first n bytes.
func (w *pass) finish(n int) []byte {
	if w.done == 0 && len(w.buf) == 0 {
		return w.src[:n]
	}
	return append(w.buf, w.src[w.done:n]...)
}

// Fixed messages.
var (
	msgSync  = []byte{wire.Sync, 0, 0, 0, 4}
	msgFlush = []byte{wire.Flush, 0, 0, 0, 4}
	// msgRunUnnamed runs the unnamed statement that a Query was made into. Behind a Query there is none.
	msgRunUnnamed = encodeFrontend(&pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{},
		&pgproto3.Close{ObjectType: 'S'})
)

func encodeFrontend(msgs ...pgproto3.FrontendMessage) (b []byte) {
	for _, m := range msgs {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic("session: " + err.Error()) // only a message over 1 GiB cannot be encoded, and these are ours
		}
	}
	return b
}

// Decidable says how commits on the upstream that the session is given can be decided; key is the session's own in
// marker mode. It is called before BeginReplay and Resend, and whenever it changes.
func (s *Session) Decidable(mode commit.Mode, key [16]byte) {
	if s.probe == mode && s.key == key && s.probeMsgs != nil {
		return
	}
	s.probe, s.key, s.probeMsgs = mode, key, nil
	if mode == commit.Off {
		s.injected().mode = commit.Off // what may take the statement away is not looked at any more
		return
	}
	params := commit.LSNParams(true)
	if mode == commit.Marker {
		params = commit.Key{Session: key, Seq: widest, Settled: widest}.Params()
	}
	s.probeMsgs = encodeFrontend(&pgproto3.Close{ObjectType: 'S', Name: reserved}, &pgproto3.Parse{Name: reserved, Query: commit.Statement(mode)})
	s.probeBind = len(s.probeMsgs)
	s.probeMsgs = append(s.probeMsgs, encodeFrontend(&pgproto3.Bind{DestinationPortal: reserved, PreparedStatement: reserved, Parameters: params})...)
	// Two bytes that ask for all results as text follow the last parameter.
	s.probeParams = len(s.probeMsgs) - 2
	s.probeMsgs = append(s.probeMsgs, encodeFrontend(&pgproto3.Execute{Portal: reserved}, &pgproto3.Close{ObjectType: 'P', Name: reserved})...)
}

// injected is what the current upstream has of the injected statement.
func (s *Session) injected() *injected {
	if s.memory != nil {
		return &s.memory.injected
	}
	if s.ownInjected.upstream != s.statements.upstream {
		s.ownInjected = injected{upstream: s.statements.upstream}
	}
	return &s.ownInjected
}

// unprepare says that a statement of the client's that is about to be sent may take the injected one away, as DEALLOCATE ALL
// does.
func (s *Session) unprepare() {
	if s.probe != commit.Off {
		s.injected().mode, s.unpreparedAt = commit.Off, s.pushed
	}
}

// keepsPrepared reports whether a statement leaves those alone that are prepared.
func (n nature) keepsPrepared() bool {
	switch n.kind {
	case sqltext.Empty, sqltext.Select, sqltext.SelectInto, sqltext.Values, sqltext.Table, sqltext.With, sqltext.Show,
		sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge,
		sqltext.Begin, sqltext.Commit, sqltext.CommitChain, sqltext.Rollback, sqltext.RollbackChain, sqltext.RollbackTo,
		sqltext.Savepoint, sqltext.Release, sqltext.Set, sqltext.SetLocal, sqltext.SetTransaction, sqltext.SetCharacteristics,
		sqltext.SetConstraints, sqltext.Reset, sqltext.Listen, sqltext.Unlisten, sqltext.Notify, sqltext.Lock:
		return n.known
	}
	return false
}

// Numbers are sent in a fixed width, so that the messages are built once for a session.
const (
	numberWidth = 19
	widest      = 1_000_000_000_000_000_000 // it has 19 digits
)

// gather begins the account of a commit and returns the messages that ask for its evidence, with a flag for the op that they
// belong to.
func (s *Session) gather() (msgs []byte, flags byte) {
	k := s.injected()
	e := commit.Evidence{Mode: s.probe}
	msgs = s.probeMsgs
	if k.mode == s.probe && !s.PrepareAlways {
		msgs = s.probeMsgs[s.probeBind:]
		e.System, e.Boot = k.system, k.boot
	} else {
		flags = flagPreparing
	}
	if s.probe == commit.Marker {
		s.seq++
		e.Key = commit.Key{Session: s.key, Seq: s.seq, Settled: s.seq - 1 - uint64(len(s.evidence))}
		// The two numbers are the last parameters, with a length of four bytes before each.
		putNumber(s.probeMsgs[s.probeParams-4-2*numberWidth:], e.Key.Seq)
		putNumber(s.probeMsgs[s.probeParams-numberWidth:], e.Key.Settled)
	} else {
		s.probeMsgs[s.probeParams-1] = commit.LSNParams(flags != 0)[0][0]
	}
	s.evidence = append(s.evidence, e)
	return msgs, flags
}

// gathered is the end of the answer to the injected statement. What prepared it has done so if it was sent after all that
// might have undone that.
func (s *Session) gathered() {
	o := &s.queue[s.head]
	o.flags |= flagGathered
	if o.flags&flagPreparing == 0 || len(s.evidence) == 0 || s.pushed-uint64(len(s.outstanding())) < s.unpreparedAt {
		return
	}
	e := &s.evidence[0]
	if e.Mode != s.probe || !e.Answered || e.Mode == commit.LSN && e.System == "" {
		return
	}
	k := s.injected()
	k.mode, k.system, k.boot = e.Mode, e.System, e.Boot
}

// putNumber writes a number in the fixed width.
func putNumber(b []byte, n uint64) {
	for i := numberWidth - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// probing reports whether evidence can be gathered.
func (s *Session) probing() bool { return s.probe != commit.Off }

// injectQuery does what a simple Query needs beyond being passed on, and returns the flags of its op.
func (s *Session) injectQuery(w *pass, at, start int, msg []byte, n nature) (flags byte) {
	switch {
	case !s.probing() || s.copyIn:
		return 0
	case (n.kind == sqltext.Commit || n.kind == sqltext.CommitChain) && n.single && s.status == wire.StatusTransaction && !s.Busy() && s.unitDirty:
		msgs, f := s.gather()
		w.insert(at, msgs, msgSync)
		s.push(op{kind: opProbe, start: int32(start), end: int32(start), flags: f})
		s.push(op{kind: opProbeSync, start: int32(start), end: int32(start)})
		return flagProbed
	case s.block == blockNone && n.dirty && n.decidable() && !s.ruled(n, msg):
		s.wrap(w, at, msg)
		msgs, f := s.gather()
		w.insert(at+len(msg), msgs, msgFlush, msgSync)
		return flagProbed | flagWrapped | f
	}
	return 0
}

// ruled reports whether a rule may rewrite a statement: by the simple protocol the client gets the rows of all that it becomes, and by the
// extended one only its own.
func (s *Session) ruled(n nature, query []byte) bool {
	return s.MayBeRuled != nil && n.kind != sqltext.Select && s.MayBeRuled(wire.Body(query))
}

// Decides reports whether commits are given evidence on the current upstream.
func (s *Session) Decides() bool { return s.probing() }

// wrap sends a Query as the extended protocol's messages, without the Sync that ends it.
func (s *Session) wrap(w *pass, at int, msg []byte) {
	text := wire.Body(msg)
	var head [wire.HeaderLen + 1]byte
	head[0] = wire.Parse
	binary.BigEndian.PutUint32(head[1:], uint32(4+1+len(text)+2))
	w.replace(at, len(msg), head[:], text, []byte{0, 0}, msgRunUnnamed)
}

// injectExecute looks at a portal that is about to run; one that ends a transaction has its evidence gathered before.
func (s *Session) injectExecute(w *pass, at, start int, n nature) {
	seg := &s.segment
	commits := n.kind == sqltext.Commit || n.kind == sqltext.CommitChain
	if s.probing() && commits && s.status == wire.StatusTransaction && s.firstSegment() && seg.executes == 0 && s.unitDirty {
		msgs, f := s.gather()
		w.insert(at, msgs, msgFlush)
		s.push(op{kind: opProbe, start: int32(start), end: int32(start), flags: f})
		seg.probed = true
	}
	seg.executes++
	seg.dirty = seg.dirty || n.dirty
	seg.odd = seg.odd || !n.known || n.endsBlock() || n.dirty && !n.decidable()
}

// firstSegment reports whether no segment is outstanding before the one that is being sent.
func (s *Session) firstSegment() bool {
	for _, o := range s.outstanding() {
		if endsSegment(o.kind) {
			return false
		}
	}
	return true
}

// injectSync gathers the evidence of the commit that a Sync outside a transaction makes, and returns the flags of its
// op.
func (s *Session) injectSync(w *pass, at, start int) (flags byte) {
	seg := s.segment
	switch {
	case seg.probed:
		return flagProbed
	case s.probing() && s.block == blockNone && seg.dirty && !seg.odd && !s.skipping && !s.copyIn:
		msgs, f := s.gather()
		w.insert(at, msgs, msgFlush)
		s.push(op{kind: opProbe, start: int32(start), end: int32(start), flags: f})
		return flagProbed
	}
	return 0
}

// special reports whether the next message of the server's may belong to something that the client did not send.
func (s *Session) special() bool {
	if s.head == len(s.queue) {
		return false
	}
	o := &s.queue[s.head]
	return o.kind <= opParse || o.flags&flagWrapped != 0 || s.dropTag
}

// swallow takes in a message that the client must not see, and reports whether it was one.
func (s *Session) swallow(kind byte, msg []byte) bool {
	o := &s.queue[s.head]
	switch kind {
	case wire.NoticeResponse, wire.NotificationResponse, wire.ParameterStatus:
		return false
	}
	switch {
	case o.kind == opProbe:
		return s.swallowProbe(kind, msg)
	case o.kind == opProbeSync:
		if kind == wire.ReadyForQuery {
			s.pop()
			return true
		}
		return false
	case o.kind == opClose, o.kind == opParse:
		if kind == wire.CloseComplete || kind == wire.ParseComplete {
			if o.kind == opClose && s.memory != nil && len(s.onTheWay.names) > 0 {
				s.memory.forget(s.onTheWay.first()) // it is that of the Parse behind it
			}
			if o.kind == opParse {
				s.parsedShared()
			}
			s.pop()
			return true
		}
		return false
	case s.dropTag:
		if kind == wire.CommandComplete {
			s.dropTag = false
			o.commands++
			return true
		}
		return false
	}
	// A wrapped Query.
	if kind == wire.ErrorResponse || kind == wire.ReadyForQuery {
		s.probeRan = false
		if kind == wire.ErrorResponse && o.commands > 0 && o.flags&flagGathered == 0 {
			s.probeFailed(msg)
		}
		return false
	}
	if o.commands > 0 {
		return s.swallowProbe(kind, msg)
	}
	return kind == wire.ParseComplete || kind == wire.BindComplete || kind == wire.NoData
}

// swallowProbe takes in one message of the answer to the injected statement. Its error is for the client to see: its
// transaction has failed with it.
func (s *Session) swallowProbe(kind byte, msg []byte) bool {
	switch kind {
	case wire.DataRow:
		var row pgproto3.DataRow
		if len(s.evidence) > 0 && row.Decode(wire.Body(msg)) == nil {
			e := &s.evidence[0]
			e.Answered = commit.ReadAnswer(e.Mode, row.Values, e) == nil
		}
	case wire.CommandComplete:
		s.probeRan = true
	case wire.CloseComplete:
		// That of the portal is the last message. Before it ran, it was that of the statement.
		if s.probeRan {
			s.probeRan = false
			s.gathered()
			if s.queue[s.head].kind == opProbe {
				s.pop()
			}
		}
	case wire.ErrorResponse:
		e := wire.ParseError(wire.Body(msg))
		s.probeRan = false
		if s.queue[s.head].kind != opProbe || e.Fatal() {
			return false
		}
		if e.Code == codeFailedTx {
			// The transaction had failed before: its client knows.
			s.pop()
			return true
		}
		s.probeFailed(msg)
		s.pop()
		// With a Sync of its own behind it, the COMMIT that follows is answered with ROLLBACK; the error says it better.
		s.dropTag = s.headKind() == opProbeSync
		return false
	case wire.ReadyForQuery:
		s.confused = true
		return false
	}
	return true
}

// probeFailed gives up injecting on this upstream: what worked when it was tried works no more. If it was just not prepared
// any more, the transaction can be run again.
func (s *Session) probeFailed(msg []byte) {
	e := wire.ParseError(wire.Body(msg))
	if e.Code == "26000" && s.queue[s.head].flags&flagPreparing == 0 {
		s.PrepareAlways, s.ProbeError = true, Unprepared
		wire.SetCode(msg, CodeSerialization)
		return
	}
	if passing(e.Code) {
		return // the transaction's own failure, which would have come at its commit
	}
	s.ProbeError = e.Code + ": " + e.Message
	s.probe, s.injected().mode = commit.Off, commit.Off
}

// passing tells failures of one transaction from those that will be the same next time.
func passing(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "40", "53", "55", "57", "58":
		return true
	}
	return false
}
