package session

import (
	"bytes"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/sqltext"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// SQLSTATEs that the session gives in its own name.
const (
	CodeSerialization = "40001" // the transaction did not happen; run it again
	CodeUndecided     = "08007" // transaction_resolution_unknown
	CodeNoUpstream    = "08001" // no server could be reached for work that was never sent
	CodeStateLost     = "08006" // the session held state on its server that is gone
	codeFailedTx      = "25P02" // what a server says in a failed transaction
	codeCanceled      = "57014" // the client has canceled its statement
	codeChanged       = "0A000" // a prepared statement's result is another one
)

// Problem is an error as a client is to see it.
type Problem struct {
	Code, Message, Detail, Hint string
	// File and Routine are where a server raises the same error: some clients know by these what to do about it.
	File, Routine string
}

// local is the state of a session that answers its client itself: its transaction was lost with the upstream, or the
// segment of a pipeline that failed is not over.
//
// A server in a failed transaction needs no data to answer: everything is refused but the end of the transaction. So
// no upstream is needed until the client has ended it.
type local struct {
	on       bool
	skip     bool     // everything until Sync is ignored
	cause    *Problem // what the first statement that cannot be carried over is answered with
	portals  map[string]string
	unnamed  string
	reported bool // the client knows of an error in this transaction: the cause, or one of its server's
	lost     bool // it knows that the transaction is lost: whatever follows in it is answered so
}

// answerFrom makes the session answer itself, beginning with the problem.
func (s *Session) answerFrom(p *Problem) {
	s.local = local{on: true, cause: p}
}

// answer answers one message of the client's.
func (s *Session) answer(msg []byte, out *Out) {
	l := &s.local
	if f := wire.CheckFrontend(msg); f != 0 {
		s.answerMalformed(msg[0], f)
		return
	}
	body := wire.Body(msg)
	switch kind := msg[0]; {
	case kind == wire.Terminate:
		out.End = true
	case kind == wire.Sync:
		l.skip = false
		s.answerReady()
	case l.skip:
	case kind == wire.Query:
		text, _, _ := wire.CString(body)
		s.answerQuery(string(text))
		s.answerReady()
	case kind == wire.FunctionCall:
		s.refuse()
		l.skip = false
		s.answerReady()
	case kind == wire.Parse:
		s.answerParse(msg)
	case kind == wire.Bind:
		portal, rest, _ := wire.CString(body)
		name, _, _ := wire.CString(rest)
		if l.portals == nil {
			l.portals = make(map[string]string)
		}
		text := s.localText(name)
		if !endsTransaction(sqltext.Classify(text, s.options())) {
			s.refuse()
			return
		}
		l.portals[string(portal)] = text
		s.emit(&pgproto3.BindComplete{})
	case kind == wire.Describe:
		if !s.describable(body) {
			s.refuse()
			return
		}
		if body[0] == 'S' {
			s.emit(&pgproto3.ParameterDescription{})
		}
		s.emit(&pgproto3.NoData{})
	case kind == wire.Close:
		if name, ok := statementOf(msg); ok {
			s.statements.drop(string(name))
		}
		s.emit(&pgproto3.CloseComplete{})
	case kind == wire.Execute:
		portal, _, _ := wire.CString(body)
		s.answerStatement(l.portals[string(portal)])
	}
}

// describable reports whether what a Describe asks about ends a transaction: that has no parameters and no rows. Of anything else
// a client would believe the same.
func (s *Session) describable(body []byte) bool {
	if len(body) == 0 {
		return false
	}
	name, _, _ := wire.CString(body[1:])
	if body[0] == 'S' {
		return endsTransaction(sqltext.Classify(s.localText(name), s.options()))
	}
	_, ok := s.local.portals[string(name)]
	return ok
}

// answerReady is the ReadyForQuery that ends a segment; outside a transaction the session is over with answering.
func (s *Session) answerReady() {
	if s.status == wire.StatusIdle && len(s.inbox) > 0 {
		s.out = append(s.out, s.TakeHeard()...)
	}
	s.emit(&pgproto3.ReadyForQuery{TxStatus: s.status})
	if s.status == wire.StatusIdle {
		next := s.local.cause
		if next == nil || s.local.reported {
			next, s.owed = s.owed, nil
		}
		s.local = local{}
		s.settings.rollback()
		s.endUnit()
		if next != nil {
			s.answerFrom(next)
		}
	}
}

func (s *Session) answerQuery(text string) {
	list, err := sqltext.Split(text, s.options())
	if err != nil {
		s.refuse()
		s.local.skip = false
		return
	}
	if len(list) == 0 {
		s.emit(&pgproto3.EmptyQueryResponse{})
		return
	}
	for _, st := range list {
		if !s.answerStatement(st.Text) {
			break
		}
	}
	s.local.skip = false
}

// answerStatement answers one statement and reports whether the next may follow.
func (s *Session) answerStatement(text string) bool {
	l := &s.local
	kind := sqltext.Classify(text, s.options())
	commits := kind == sqltext.Commit || kind == sqltext.CommitChain || kind == sqltext.PrepareTransaction
	switch {
	case s.status == wire.StatusIdle && !l.reported && l.cause == nil:
		// The transaction ended earlier in this very string; what follows would need a server.
		l.cause = &behindEnd
	case kind == sqltext.Rollback && s.status != wire.StatusIdle,
		commits && kind != sqltext.CommitChain && s.status == wire.StatusFailed && !l.lost:
		s.emit(&pgproto3.CommandComplete{CommandTag: []byte("ROLLBACK")})
		s.setStatus(wire.StatusIdle)
		l.cause, l.reported, l.lost = nil, false, false
		return true
	case commits && s.status != wire.StatusIdle && (s.status == wire.StatusTransaction || l.lost):
		// A retry loop looks at the SQLSTATE of COMMIT, and not at its tag. Its transaction is over, as on any server.
		s.refuse()
		s.setStatus(wire.StatusIdle)
		return false
	case kind == sqltext.RollbackTo:
		l.lost = l.lost || l.reported && l.cause != nil // there is no savepoint any more
	}
	s.refuse()
	return false
}

// behindEnd answers statements behind the end of a lost transaction in the same string.
var behindEnd = Problem{
	Code:    CodeSerialization,
	Message: "fairlead: what stands in the same string behind the end of a lost transaction was not run",
	Hint:    "Run it again.",
}

func (s *Session) answerParse(msg []byte) {
	name, sql := parseParts(msg)
	kind := sqltext.Classify(string(sql), s.options())
	if !endsTransaction(kind) {
		s.refuse()
		return
	}
	if len(name) == 0 {
		s.local.unnamed = string(sql)
	} else {
		st := newStatement(msg)
		s.statements.put(st)
		s.statements.lose(st)
	}
	s.emit(&pgproto3.ParseComplete{})
}

func (s *Session) localText(name []byte) string {
	if len(name) == 0 {
		return s.local.unnamed
	}
	if st := s.statements.named[string(name)]; st != nil {
		return st.Text()
	}
	return ""
}

// endsTransaction reports whether a server in a failed transaction would take the statement.
func endsTransaction(k sqltext.Kind) bool {
	switch k {
	case sqltext.Rollback, sqltext.RollbackChain, sqltext.RollbackTo, sqltext.Commit, sqltext.CommitChain,
		sqltext.PrepareTransaction:
		return true
	}
	return false
}

// refuse answers the statement in hand with an error: the first with the cause, every later one of a lost transaction with 40001. Where
// the client knows of an error that any server may give (its own, before the loss, or its cancel), the later ones get what a failed
// transaction says.
func (s *Session) refuse() {
	l := &s.local
	p := Problem{Code: codeFailedTx, Message: "current transaction is aborted, commands ignored until end of transaction block"}
	switch {
	case l.cause == nil:
	case !l.reported:
		p, l.reported = *l.cause, true
		l.lost = tellsLoss(p.Code)
	case l.lost:
		p = lostBefore(*l.cause)
	default:
		p.Detail = l.cause.Message
	}
	if s.status == wire.StatusTransaction {
		s.setStatus(wire.StatusFailed)
	}
	l.skip = true
	s.emitProblem(p)
}

// tellsLoss reports whether an error of the session's own says that a transaction is lost: any but those that leave a plain server's
// transaction failed.
func tellsLoss(code string) bool { return code != codeCanceled && code != codeChanged }

// lostBefore is what a transaction's later statements get when the cause was given to an earlier one.
func lostBefore(cause Problem) Problem {
	if cause.Code == CodeSerialization {
		return cause
	}
	return Problem{
		Code: CodeSerialization, Message: "fairlead: the transaction was lost with the connection to the server",
		Detail: cause.Code + ": " + cause.Message, Hint: "Nothing of it was committed. Run the transaction again.",
	}
}

func (s *Session) emitProblem(p Problem) {
	s.told(&p)
	s.emit(&pgproto3.ErrorResponse{
		Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: p.Code, Message: p.Message, Detail: p.Detail, Hint: p.Hint,
		File: p.File, Routine: p.Routine,
	})
}

func (s *Session) emit(m pgproto3.BackendMessage) {
	b, err := m.Encode(s.out)
	if err != nil {
		// Only a message over 1 GiB cannot be encoded, and these are ours.
		panic("session: " + err.Error())
	}
	s.out = b
}

// answerAll answers whole messages until the session needs a server again, and returns how many bytes that were.
func (s *Session) answerAll(whole []byte, out *Out) int {
	at := 0
	whole = bytes.Clone(whole)
	for at < len(whole) && s.local.on {
		n, _ := wire.Size(whole[at:])
		s.answer(whole[at:at+n], out)
		at += n
	}
	return at
}
