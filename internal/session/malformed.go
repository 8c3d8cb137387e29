package session

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// codeProtocol is the SQLSTATE of a message that is not as the protocol has it.
const codeProtocol = "08P01"

// violation begins the text that the server is given in the place of a client's malformed message; the number of the wire.Fault follows. The
// server's error does there what an error about the message itself would do: it ends the unit and the segment. The journal has it as
// well, so that nobody reads a malformed message, and a replay meets the same error.
const violation = "fairlead_protocol_violation_"

// violationOf is the fault that a text stands for, 0 for any other text.
func violationOf(text []byte) wire.Fault {
	if !bytes.HasPrefix(text, []byte(violation)) {
		return 0
	}
	n, err := strconv.ParseUint(string(text[len(violation):]), 10, 16)
	if f := wire.Fault(n); err == nil && (f.Valid() || f == overLimit) {
		return f
	}
	return 0
}

// appendViolation appends what stands for a malformed message: what the server answers as it would answer that.
func appendViolation(b []byte, kind byte, f wire.Fault) []byte {
	text := violation + strconv.Itoa(int(f))
	switch kind {
	case wire.Query, wire.FunctionCall:
		b = binary.BigEndian.AppendUint32(append(b, wire.Query), uint32(4+len(text)+1))
		return append(append(b, text...), 0)
	case wire.CopyDone, wire.CopyFail:
		// It ends a COPY that it is for, and is passed over otherwise.
		text = f.String()
		b = binary.BigEndian.AppendUint32(append(b, wire.CopyFail), uint32(4+len(text)+1))
		return append(append(b, text...), 0)
	}
	b = binary.BigEndian.AppendUint32(append(b, wire.Parse), uint32(4+1+len(text)+1+2))
	b = append(append(append(b, 0), text...), 0, 0, 0)
	if kind == wire.Sync {
		b = append(b, msgSync...)
	}
	return b
}

// wellFormed returns whole messages with what stands for those that are malformed.
func wellFormed(whole []byte) []byte {
	b := make([]byte, 0, len(whole)+64)
	eachMessage(whole, func(msg []byte) {
		if f := wire.CheckFrontend(msg); f != 0 {
			b = appendViolation(b, msg[0], f)
		} else {
			b = append(b, msg...)
		}
	})
	return b
}

// violates reports whether a Query or Parse stands for a malformed message, and notes in its op what the client is told.
func violates(msg []byte, o *op) bool {
	text := wire.Body(msg)
	if msg[0] == wire.Parse {
		if text[0] != 0 {
			return false
		}
		text = text[1:]
	}
	if !bytes.HasPrefix(text, []byte(violation)) {
		return false
	}
	f := violationOf(text[:indexZero(text)])
	if f == 0 {
		return false
	}
	o.flags |= flagMalformed
	o.commands = uint16(f)
	return true
}

// refuseStart answers a large message of which the beginning is malformed already. The rest is passed over.
func (s *Session) refuseStart(p []byte, size int, f wire.Fault, out *Out) {
	if len(out.Body) > 0 {
		out.Head = append(out.Head, out.Body...)
		out.Body = nil
	}
	s.clientMessages(appendViolation(nil, p[0], f), out)
	s.skipBody, s.bodySize, s.dropBody = size-len(p), size, true
	s.skipText, s.dueAtEnd = s.skipText[:0], 0
}

// refuseSize answers a message of which not more than the beginning is taken. The rest is passed over.
func (s *Session) refuseSize(p []byte, size int, out *Out) {
	if !s.local.on {
		s.refuseStart(p, size, overLimit, out)
		return
	}
	s.answerMalformed(p[0], overLimit)
	s.skipBody, s.bodySize, s.dropBody = size-len(p), size, true
}

// refusal is what a client is told in the place of the server's error about what stands for its message.
func (s *Session) refusal() Problem {
	switch o := s.queue[s.head]; {
	case o.flags&flagMalformed != 0 && wire.Fault(o.commands) == overLimit:
		return LimitProblem(s.MemoryLimit)
	case o.flags&flagMalformed != 0:
		return Problem{Code: codeProtocol, Message: wire.Fault(o.commands).String()}
	case o.flags&flagChanged != 0:
		return errChanged(s.message(o))
	}
	return errNoBlocks
}

// answerMalformed is answer for a malformed message.
func (s *Session) answerMalformed(kind byte, f wire.Fault) {
	l := &s.local
	switch kind {
	case wire.CopyDone, wire.CopyFail:
		return // there is no COPY
	case wire.Sync:
		l.skip = false
	}
	if l.skip {
		return
	}
	if s.status == wire.StatusTransaction {
		s.setStatus(wire.StatusFailed)
	}
	if f == overLimit {
		s.emitProblem(LimitProblem(s.MemoryLimit))
	} else {
		s.emitProblem(Problem{Code: codeProtocol, Message: f.String()})
	}
	switch kind {
	case wire.Sync, wire.Query, wire.FunctionCall:
		s.answerReady()
	default:
		l.skip = true
	}
}
