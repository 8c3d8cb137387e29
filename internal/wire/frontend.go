package wire

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// Limits of a client's messages, in bytes, as PostgreSQL sets them: the length field of those that carry a text or
// values, and that of the others.
const (
	maxLong  = 1<<30 - 2
	maxShort = 10000
)

// frontendMax is the largest length field of each type of message that a client sends after its login; 0: there is no such type.
var frontendMax = [256]uint32{
	Bind: maxLong, CopyData: maxLong, FunctionCall: maxLong, Parse: maxLong, Query: maxLong,
	Close: maxShort, CopyDone: maxShort, CopyFail: maxShort, Describe: maxShort, Execute: maxShort, Flush: maxShort, Sync: maxShort,
	Terminate: maxShort,
}

// FrontendSize is Size for a message that a client sends after its login: n is 0 when there is no message of that type, or none of
// that length. What follows such a header cannot be read.
func FrontendSize(b []byte) (n int, ok bool) {
	if len(b) < HeaderLen {
		return 0, false
	}
	if l := binary.BigEndian.Uint32(b[1:]); l >= 4 && l <= frontendMax[b[0]] {
		return int(l) + 1, true
	}
	return 0, true
}

// Unframed is what a server says of a header of which FrontendSize is 0.
func Unframed(b []byte) string {
	if frontendMax[b[0]] == 0 {
		return "invalid frontend message type " + strconv.Itoa(int(b[0]))
	}
	return "invalid message length"
}

// Fault is what is wrong with the body of a client's message, 0 if nothing is. The low byte is its kind, the high one the byte that
// it is about.
type Fault uint16

// Kinds of Fault.
const (
	BadFormat   Fault = 1 + iota // more than the message has to say
	ShortData                    // a length or a count that leads beyond the end
	NoSubtype                    // not even one byte
	BadString                    // no terminator
	BadDescribe                  // neither a statement nor a portal
	BadClose
	LongName // of a message that is passed on before it is whole
	badKinds
)

// String is how PostgreSQL puts it.
func (f Fault) String() string {
	switch f & 0xff {
	case ShortData:
		return "insufficient data left in message"
	case NoSubtype:
		return "no data left in message"
	case BadString:
		return "invalid string in message"
	case BadDescribe:
		return "invalid DESCRIBE message subtype " + strconv.Itoa(int(f>>8))
	case BadClose:
		return "invalid CLOSE message subtype " + strconv.Itoa(int(f>>8))
	case LongName:
		return "fairlead: a name in the message is too long"
	}
	return "invalid message format"
}

// Valid reports whether a number is that of a Fault.
func (f Fault) Valid() bool { return f&0xff > 0 && f&0xff < badKinds }

// CheckFrontend says what is wrong with the body of a whole message of a client's, of which FrontendSize is not 0. A message without a fault
// has every terminator, length and count that its type asks for, and nothing behind them.
func CheckFrontend(msg []byte) Fault {
	b := msg[HeaderLen:]
	switch msg[0] {
	case Query:
		return endOf(cstring(b))
	case Parse:
		return checkParse(b)
	case Bind:
		return checkBind(b)
	case Describe, Close:
		return checkNamed(msg[0], b)
	case Execute:
		b, f := cstring(b)
		switch {
		case f != 0:
			return f
		case len(b) < 4:
			return ShortData
		}
		return endOf(b[4:], 0)
	case Sync, Flush, CopyDone:
		return endOf(b, 0)
	case CopyFail:
		return endOf(cstring(b))
	case FunctionCall:
		return checkCall(b)
	}
	return 0 // CopyData, and Terminate, which is the end whatever it says
}

// CheckStart is CheckFrontend for the beginning of a message that is passed on before the rest has come: what can be known of it by then.
// The names are to stand in it.
func CheckStart(msg []byte) Fault {
	b := msg[HeaderLen:]
	switch msg[0] {
	case Query:
		if bytes.IndexByte(b, 0) >= 0 {
			return BadFormat // the text ends before the message does
		}
	case Parse, Bind:
		b, f := cstring(b)
		if f == 0 && msg[0] == Bind {
			_, f = cstring(b)
		}
		if f != 0 {
			return LongName
		}
	}
	return 0
}

// cstring is what stands behind a string.
func cstring(b []byte) (rest []byte, f Fault) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, BadString
	}
	return b[i+1:], 0
}

// endOf is the fault of what has to be the end.
func endOf(rest []byte, f Fault) Fault {
	if f == 0 && len(rest) > 0 {
		return BadFormat
	}
	return f
}

// array is what stands behind a count of two bytes and as many elements of a size.
func array(b []byte, size int) (rest []byte, f Fault) {
	if len(b) < 2 {
		return nil, ShortData
	}
	n := int(binary.BigEndian.Uint16(b)) * size
	if b = b[2:]; len(b) < n {
		return nil, ShortData
	}
	return b[n:], 0
}

// values is what stands behind a count of two bytes and as many values, each with its length before it.
func values(b []byte) (rest []byte, f Fault) {
	if len(b) < 2 {
		return nil, ShortData
	}
	n := binary.BigEndian.Uint16(b)
	b = b[2:]
	for ; n > 0; n-- {
		if len(b) < 4 {
			return nil, ShortData
		}
		l := binary.BigEndian.Uint32(b)
		if b = b[4:]; l == null {
			continue
		}
		if uint64(l) > uint64(len(b)) {
			return nil, ShortData
		}
		b = b[l:]
	}
	return b, 0
}

// null stands for the length of a value that is NULL.
const null = 1<<32 - 1

func checkParse(b []byte) Fault {
	b, f := cstring(b)
	if f == 0 {
		b, f = cstring(b)
	}
	if f == 0 {
		b, f = array(b, 4)
	}
	return endOf(b, f)
}

func checkBind(b []byte) Fault {
	b, f := cstring(b)
	if f == 0 {
		b, f = cstring(b)
	}
	if f == 0 {
		b, f = array(b, 2)
	}
	if f == 0 {
		b, f = values(b)
	}
	if f == 0 {
		b, f = array(b, 2)
	}
	return endOf(b, f)
}

func checkNamed(kind byte, b []byte) Fault {
	if len(b) == 0 {
		return NoSubtype
	}
	if f := endOf(cstring(b[1:])); f != 0 || b[0] == 'S' || b[0] == 'P' {
		return f
	}
	if kind == Close {
		return BadClose | Fault(b[0])<<8
	}
	return BadDescribe | Fault(b[0])<<8
}

func checkCall(b []byte) Fault {
	if len(b) < 4 {
		return ShortData
	}
	b, f := array(b[4:], 2)
	if f == 0 {
		b, f = values(b)
	}
	switch {
	case f != 0:
		return f
	case len(b) < 2:
		return ShortData
	}
	return endOf(b[2:], 0)
}
