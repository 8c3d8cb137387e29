package wire

import "encoding/binary"

// maxShortAnswer bounds the length field of a server's messages that carry no values, in bytes, as libpq does.
const maxShortAnswer = 30000

// backendMax is the largest length field of each type of message that a server sends after the login; 0: there is no such type.
var backendMax = [256]uint32{
	CopyData: MaxMessage, DataRow: MaxMessage, ErrorResponse: MaxMessage, FunctionCallResponse: MaxMessage, NoticeResponse: MaxMessage,
	NotificationResponse: MaxMessage, RowDescription: MaxMessage,
	ParameterDescription: 4 + 2 + 4*(1<<16-1),
	BindComplete:         maxShortAnswer, CloseComplete: maxShortAnswer, CommandComplete: maxShortAnswer, CopyBothResponse: maxShortAnswer,
	CopyDone: maxShortAnswer, CopyInResponse: maxShortAnswer, CopyOutResponse: maxShortAnswer, EmptyQueryResponse: maxShortAnswer,
	NoData: maxShortAnswer, ParameterStatus: maxShortAnswer, ParseComplete: maxShortAnswer, PortalSuspended: maxShortAnswer,
	ReadyForQuery: maxShortAnswer,
}

// BackendSize is Size for a message that a server sends after the login: n is 0 when there is no message of that type, or none of that length.
func BackendSize(b []byte) (n int, ok bool) {
	if len(b) < HeaderLen {
		return 0, false
	}
	if l := binary.BigEndian.Uint32(b[1:]); l >= 4 && l <= backendMax[b[0]] {
		return int(l) + 1, true
	}
	return 0, true
}

// SoundBackend reports whether the body of a whole message of a server's has every terminator, length and count that its type asks for,
// and nothing behind them. The values of a DataRow, which nobody but the client reads, are not looked at.
func SoundBackend(msg []byte) bool {
	b := msg[HeaderLen:]
	switch msg[0] {
	case DataRow:
		return len(b) >= 2
	case CopyData:
		return true
	case CommandComplete:
		return endOf(cstring(b)) == 0
	case ReadyForQuery:
		return len(b) == 1 && (b[0] == StatusIdle || b[0] == StatusTransaction || b[0] == StatusFailed)
	case ErrorResponse, NoticeResponse:
		return soundFields(b)
	case ParameterStatus:
		return soundStrings(b)
	case NotificationResponse:
		return len(b) > 4 && soundStrings(b[4:])
	case RowDescription:
		return soundColumns(b)
	case ParameterDescription:
		return endOf(array(b, 4)) == 0
	case CopyInResponse, CopyOutResponse, CopyBothResponse:
		return len(b) > 1 && endOf(array(b[1:], 2)) == 0
	case FunctionCallResponse:
		if len(b) < 4 {
			return false
		}
		l := binary.BigEndian.Uint32(b)
		return l == null && len(b) == 4 || uint64(l) == uint64(len(b)-4)
	}
	return len(b) == 0
}

// soundStrings reports whether b is two strings.
func soundStrings(b []byte) bool {
	b, f := cstring(b)
	return f == 0 && endOf(cstring(b)) == 0
}

// soundFields reports whether b is the fields of an error and their end.
func soundFields(b []byte) bool {
	for len(b) > 0 && b[0] != 0 {
		var f Fault
		if b, f = cstring(b[1:]); f != 0 {
			return false
		}
	}
	return len(b) == 1
}

// soundColumns reports whether b is a count and as many columns: a name and 18 bytes each.
func soundColumns(b []byte) bool {
	const fixed = 18
	if len(b) < 2 {
		return false
	}
	n := binary.BigEndian.Uint16(b)
	b = b[2:]
	for ; n > 0; n-- {
		rest, f := cstring(b)
		if f != 0 || len(rest) < fixed {
			return false
		}
		b = rest[fixed:]
	}
	return len(b) == 0
}
