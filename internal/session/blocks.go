package session

import (
	"encoding/binary"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// What a client is told that begins a transaction block where there are none. It is a feature that is not there (0A000): no
// other attempt, and no other state of the session, makes it work.
var errNoBlocks = Problem{
	Code:    "0A000",
	Message: "fairlead: transaction blocks are not allowed in statement mode",
	Detail:  "Each statement is a transaction of its own here, and another one may run on another server connection.",
	Hint:    "Leave BEGIN out, or connect to an address whose mode is transaction.",
}

// nonsense is what a server is given in the place of a text that it must not run. The error that it answers with does there
// what an error has to do: it ends the unit, the segment and the rest of the string.
const nonsense = "fairlead_refuses_transaction_blocks"

// bar has the server refuse a Query or Parse that begins a transaction block, where those are not allowed. It reports whether
// it is one.
func (s *Session) bar(w *pass, at int, msg []byte, o *op) bool {
	if !s.NoBlocks || s.skipping {
		return false
	}
	name, text := parseParts(msg)
	if msg[0] == wire.Query {
		name, text = nil, wire.Body(msg)[:indexZero(wire.Body(msg))]
	}
	if !s.judge(text).begins {
		return false
	}
	o.flags |= flagBarred
	if len(name) > 0 && s.memory != nil {
		s.onTheWay.push("")
	}
	w.replace(at, len(msg), encodeNonsense(msg[0]))
	return true
}

// encodeNonsense is a Query or a Parse of the unnamed statement.
func encodeNonsense(kind byte) []byte {
	body := nonsense + "\x00"
	if kind == wire.Parse {
		body = "\x00" + body + "\x00\x00"
	}
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

// barred reports whether a message is the server's refusal of what was barred, or of what stands for a malformed message.
func (s *Session) barred(kind byte, msg []byte) bool {
	return kind == wire.ErrorResponse && s.Busy() && s.queue[s.head].flags&(flagBarred|flagMalformed|flagChanged) != 0 && !wire.ParseError(wire.Body(msg)).Fatal()
}
