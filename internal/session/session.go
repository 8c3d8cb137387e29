package session

import (
	"hash/maphash"

	"github.com/fairlead-go/fairlead/internal/catalog"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// DefaultJournalLimit bounds the client bytes that a session keeps of its current unit, in bytes.
const DefaultJournalLimit = 256 << 10

// keepJournal is the journal's capacity that an idle session holds on to, in bytes.
const keepJournal = 16 << 10

// Mode is how much a session does about a lost upstream.
type Mode uint8

const (
	// Full resumes idle sessions, replays what is provably without effect, and answers the rest precisely.
	Full Mode = iota
	// Read is as Full, for work without effects; reserved for the difference that transaction replay makes.
	Read
	// Off ends the client's connection with the upstream's, with a FATAL error in the protocol.
	Off
)

// seed makes digests of this process comparable with each other and with nothing else.
var seed = maphash.MakeSeed()

// op is a request whose response is outstanding. There is one for each message of a pipeline, so it is small and has no
// pointers.
type op struct {
	start    int32  // where its message begins in the journal; -1 when the journal no longer has it
	end      int32  // where it ends
	commands uint16 // CommandCompletes seen so far, for Query
	kind     byte
	flags    byte
}

// Session is one client's session. It is not safe for concurrent use: the mount's lock guards it.
type Session struct {
	mode  Mode
	limit int

	// MemoryLimit bounds what the session keeps for its client, in bytes; 0: nothing does.
	MemoryLimit int
	// RefuseLocks has transactions with explicit locks not replayed.
	RefuseLocks bool
	// TrustFunctions takes the user's word that functions of his own leave nothing in a session. Otherwise a session that
	// has called one outside a transaction is not moved to another server.
	TrustFunctions bool
	// Functions knows which functions leave nothing in a session; nil: nothing does.
	Functions *catalog.Functions
	// MayBeRuled reports whether a rule may rewrite the statement of a text; nil: none does.
	MayBeRuled func(text []byte) bool
	// Defined says that the client may have changed the database's catalogs; the mount reads it and clears it.
	Defined bool
	// NoBlocks refuses what begins a transaction block.
	NoBlocks bool
	// PrepareAlways has the statement that asks for evidence prepared anew for each commit.
	PrepareAlways bool

	status byte // transaction status that the client last saw in a ReadyForQuery

	queue  []op // outstanding requests; the first is at head
	head   int
	pushed uint64 // how many there have been
	due    uint64 // of so many of them the server will send the answers with no more from the client
	// dueAtEnd is what due will be once the client has sent the rest of the message that is passed on in pieces.
	dueAtEnd   uint64
	asidesKept int                 // what they cost
	namesKept  int                 // what parses, portals and naming cost
	asides     []aside             // of outstanding requests that the journal does not have, in their order
	inHand     []sqltext.Statement // of the string that the first outstanding request is

	journal        []byte // client bytes of the unit, whole messages only
	base           int    // where in it the unit begins
	journalVersion int    // counts what makes offsets in it mean something else
	meanings       meanings
	sent           int    // up to where it was handed to an upstream
	truncated      bool   // the unit outgrew the limit, or an upstream saw bytes that the journal has not
	tail           []byte // an incomplete client message
	joined         []byte // the buffer of one that came in pieces, which the last Out has
	spare          []byte // a buffer for the next
	partials       uint64 // messages that came in pieces so far
	skipBody       int    // bytes of a large message's body still to come, already decided on
	bodySize       int    // of that message
	skipText       []byte // the last bytes of the text that went before them; empty if they are none
	dropBody       bool   // they are of no use any more: their upstream was lost

	open       bool   // the client has begun a segment of the extended protocol, and not sent its Sync
	skipping   bool   // the server discards everything until Sync
	copyIn     bool   // the server reads CopyData
	copyEnded  bool   // CopyDone or CopyFail was sent before the server had asked for data
	copyFailed bool   // the client has given up the COPY of the first outstanding segment
	copyEnd    uint64 // how many requests had been pushed then
	copied     bool   // COPY was part of this unit
	confused   bool   // a response came that no request explains

	hash      digest
	delivered int64 // canonical bytes of this unit given to the client
	verify    int64 // > 0: a replay is being compared, up to this many canonical bytes
	verifySum uint64
	streaming int // bytes of a server message that the client has seen the beginning of

	// What is put between the client's messages, so that commits can be decided.
	probe                  commit.Mode
	probeMsgs              []byte // the injected messages
	probeBind, probeParams int    // where in them the Bind begins and its parameters end
	probeRan               bool   // the injected statement has run, and its portal is to be closed
	ownInjected            injected
	unpreparedAt           uint64 // how many requests had been pushed when it may last have gone away
	dropTag                bool   // the COMMIT that follows a failed probe is not answered any more
	ProbeError             string // why injecting was given up on this upstream; the mount reads it and clears it
	key                    [16]byte
	seq                    uint64
	evidence               []commit.Evidence // of the outstanding commits, in their order
	rewritten              []byte            // buffer for what goes out other than it came

	// What the client's messages say ahead of the server. Followed while probing, and while a journal is fed.
	feeding       bool
	seenOpaque    bool // a text called a function of the user's own
	block         block
	segment       segment
	unitDirty     bool // something in the unit may have an effect
	unitChanged   bool // a tag has told of rows that were changed
	memo          *memo
	unnamedNature nature
	portal        nature // of the unnamed portal
	parses        map[string]nature
	portals       map[string]nature

	parked     int  // >= 0: from here on the journal waits until a replay has caught up
	parkedTail bool // the second half of a wrapped Query waits too

	doubts        []doubt
	undecidedFrom int    // outstanding segment from which on nothing can be decided; -1: none
	cause         string // why the upstream was lost
	obstacle      string // what keeps the work from being carried over
	wasSkipping   bool   // it was discarding everything until Sync then

	statements statements
	settings   settings
	state      sqltext.StateMask // what the session may hold on its server that cannot be carried over
	params     map[string]string // ParameterStatus values that the client knows

	pid      uint32 // of the upstream
	shownPID uint32 // that the client was given

	local     local    // the session answers itself
	owed      *Problem // what the first statement behind that is answered with, unless the state that it names was told before
	owedState string
	out       []byte // messages for the client that no server sent

	inBlock         bool       // behind what was answered the server is in a transaction block
	inError         bool       // which has failed
	ended           bool       // a COMMIT or ROLLBACK of the extended protocol was answered, its Sync was not
	refusedReadOnly bool       // what is in flight was refused as read-only, and is lost
	fault           wire.Error // what the last Event is about
	acceptReadOnly  bool       // the next 25006 is meant for the client
	guarded         bool       // the server is under suspicion
	acceptAck       bool       // the acknowledgement of this unit was confirmed
	saved           *saved     // what the client knows, while a replay has not caught up with it
	replays         int        // of the current unit
	restarts        int        // of its replays, over errors of their own

	// Of a session that shares its upstreams.
	id              uint64
	memory          *Memory           // of the upstream that it has; nil: none, or one of its own
	called          []string          // names of functions that stateOpaque is about
	calledOther     bool              // it is about others, too
	redefines       bool              // the unit has made or changed functions
	ownNames        bool              // it has asked which prepared statements it has: they are not shared any more
	naming          map[string]string // client's name -> shared name, of Parses on their way; empty for Closes
	onTheWay        parseQueue        // of these Parses
	closesOwn       bool              // a Close since the last ReadyForQuery is of a statement with the client's own name
	begins          sqltext.StateMask // what was mentioned first
	look            bool              // the server is to be asked what the session holds
	unnamedMentions sqltext.StateMask
	paramsSum       uint64
	paramsStale     bool

	inbox     []byte // notifications that the pool has received, until the client may have them
	inboxFull bool   // what comes is passed over
	// unitDefines says that the unit has created, altered or dropped something.
	unitDefines bool
	ownNews     bool // the unit may have notified on a channel that the pool receives

	brokenBy     string            // what of the server's was too much
	unitState    sqltext.StateMask // state when the unit began
	unitMentions sqltext.StateMask // what the unit's texts mention
	canceled     bool              // the client has asked to cancel what is in flight
	repeatErrors bool              // the client was given an error in this unit that a replay may meet on its own
}

// New returns a session that is idle and has no upstream yet. limit <= 0 means DefaultJournalLimit.
func New(mode Mode, limit int) *Session {
	if limit <= 0 {
		limit = DefaultJournalLimit
	}
	s := &Session{
		mode: mode, limit: limit, status: wire.StatusIdle, params: make(map[string]string),
		parked: -1, undecidedFrom: -1, block: blockNone,
	}
	return s
}

// Pipelined reports whether more than one unit of work is outstanding: a CancelRequest ends the first only.
func (s *Session) Pipelined() bool {
	units := 0
	for _, o := range s.outstanding() {
		if endsSegment(o.kind) {
			units++
		}
	}
	return units > 1
}

// Idle reports whether the client is owed nothing and has no transaction open.
func (s *Session) Idle() bool { return s.status == wire.StatusIdle && !s.Busy() && !s.local.on }

// Midway reports whether the client has begun something that is not over: a transaction, or requests without their end.
func (s *Session) Midway() bool {
	return s.status != wire.StatusIdle || s.Busy() || s.open || s.skipping || s.skipBody > 0
}

// Busy reports whether responses are outstanding.
func (s *Session) Busy() bool { return s.head < len(s.queue) }

// CopyingIn reports whether the server reads COPY data.
func (s *Session) CopyingIn() bool { return s.copyIn }

// Due reports whether the server has something to answer without being given more.
func (s *Session) Due() bool {
	return !s.copyIn && s.pushed-uint64(len(s.outstanding())) < s.due
}

// Status is the transaction status that the client believes in.
func (s *Session) Status() byte { return s.status }

// Answering reports whether the session answers its client itself until the failed transaction, or the segment that
// failed, is over; it needs no upstream for that.
func (s *Session) Answering() bool { return s.local.on }

// TakeOut returns what the session itself has to tell its client, and forgets it.
func (s *Session) TakeOut() []byte {
	out := s.out
	s.out = nil
	return out
}

// Param is the value of a server parameter as the client knows it.
func (s *Session) Param(name string) string { return s.params[name] }

// options says how the session's server reads SQL.
func (s *Session) options() sqltext.Options {
	return sqltext.Options{NonStandardStrings: s.params["standard_conforming_strings"] == "off"}
}

// setStatus is a transaction status that the client learns.
func (s *Session) setStatus(status byte) {
	s.status = status
	s.inBlock, s.inError = status != wire.StatusIdle, status == wire.StatusFailed
}

func (s *Session) push(o op) {
	if s.head > maxOutstanding && s.head > len(s.queue)/2 { // a pipeline that is never empty
		s.queue, s.head = s.queue[:copy(s.queue, s.queue[s.head:])], 0
	}
	s.queue = append(s.queue, o)
	s.pushed++
	if endsSegment(o.kind) {
		s.due = s.pushed
	}
}

func (s *Session) pop() {
	s.inHand = nil
	if len(s.asides) > 0 && s.queue[s.head].keepsAside() {
		s.dropAside()
	}
	s.head++
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
		if cap(s.queue) > maxOutstanding/4 {
			s.queue = nil
		}
	}
}

// clearQueue forgets all that is outstanding.
func (s *Session) clearQueue() {
	s.open = false
	s.queue, s.head, s.asides, s.asidesKept, s.inHand = s.queue[:0], 0, nil, 0, nil
	s.evidence, s.probeRan, s.dropTag = s.evidence[:0], false, false
}

// outstanding is the queue without what was answered.
func (s *Session) outstanding() []op { return s.queue[s.head:] }

// headKind is the kind of the request that the next response answers, 0 when there is none.
func (s *Session) headKind() byte {
	if s.head < len(s.queue) {
		return s.queue[s.head].kind
	}
	return 0
}

// message is the journal's copy of a request, nil when it has none.
func (s *Session) message(o op) []byte {
	if o.start < 0 || int(o.end) > len(s.journal) {
		return nil
	}
	return s.journal[o.start:o.end]
}

// endUnit forgets the unit: the server has said that the session is idle. Requests behind it in the queue begin the
// next one.
func (s *Session) endUnit() {
	if s.delivered > 0 {
		s.hash.reset()
		s.delivered = 0
	}
	s.verify, s.saved, s.replays, s.restarts = 0, nil, s.freshReplays(), 0
	s.ownNews = false
	s.Defined, s.unitDefines = s.Defined || s.unitDefines, false
	s.inBlock, s.inError, s.ended = false, false, false
	if s.redefines {
		s.redefines = false
		s.Functions.Changed()
	}
	s.copied, s.truncated, s.repeatErrors, s.unitChanged, s.canceled = false, false, false, false, false
	s.unitState = s.state
	if !s.Busy() {
		s.unitDirty, s.unitMentions = false, 0
		s.clearPortals()
	}
	s.statements.endUnit()
	if s.Busy() {
		if start := s.queue[s.head].start; start >= 0 {
			s.dropBefore(int(start))
		} else {
			s.truncated = true
		}
		return
	}
	if s.parked >= 0 {
		s.dropBefore(s.parked)
		return
	}
	s.confused, s.spare = false, nil
	s.dropJournal()
}

// dropJournal forgets the whole journal; what is still outstanding has no message in it any more.
func (s *Session) dropJournal() {
	if s.Busy() {
		s.setAside()
	}
	s.journal, s.base, s.sent = s.journal[:0], 0, 0
	s.journalVersion++
	if cap(s.journal) > keepJournal {
		s.journal = nil
	}
	for i := range s.outstanding() {
		s.queue[s.head+i].start = -1
	}
}

// dropBefore forgets the journal up to the offset n. The bytes move only when more than half of them are dead, so that
// a long pipeline does not pay for each of its segments.
func (s *Session) dropBefore(n int) {
	s.base = n
	s.journalVersion++
	if s.base < keepJournal || s.base < len(s.journal)/2 {
		return
	}
	s.journal = s.journal[:copy(s.journal, s.journal[s.base:])]
	s.sent = max(0, s.sent-s.base)
	if s.parked >= 0 {
		s.parked -= s.base
	}
	for i := range s.outstanding() {
		if o := &s.queue[s.head+i]; o.start >= 0 {
			o.start -= int32(s.base)
			o.end -= int32(s.base)
		}
	}
	s.base = 0
}
