package wire

import (
	"bytes"
	"encoding/binary"
)

// Messages that a client sends.
const (
	Bind         byte = 'B'
	Close        byte = 'C'
	CopyData     byte = 'd' // in both directions
	CopyDone     byte = 'c' // in both directions
	CopyFail     byte = 'f'
	Describe     byte = 'D'
	Execute      byte = 'E'
	Flush        byte = 'H'
	FunctionCall byte = 'F'
	Parse        byte = 'P'
	Query        byte = 'Q'
	Sync         byte = 'S'
	Terminate    byte = 'X'
)

// Messages that a server sends.
const (
	BackendKeyData       byte = 'K'
	BindComplete         byte = '2'
	CloseComplete        byte = '3'
	CommandComplete      byte = 'C'
	CopyBothResponse     byte = 'W'
	CopyInResponse       byte = 'G'
	CopyOutResponse      byte = 'H'
	DataRow              byte = 'D'
	EmptyQueryResponse   byte = 'I'
	ErrorResponse        byte = 'E'
	FunctionCallResponse byte = 'V'
	NoData               byte = 'n'
	NoticeResponse       byte = 'N'
	NotificationResponse byte = 'A'
	ParameterDescription byte = 't'
	ParameterStatus      byte = 'S'
	ParseComplete        byte = '1'
	PortalSuspended      byte = 's'
	ReadyForQuery        byte = 'Z'
	RowDescription       byte = 'T'
)

// Transaction status, as ReadyForQuery reports it.
const (
	StatusIdle        byte = 'I'
	StatusTransaction byte = 'T'
	StatusFailed      byte = 'E'
)

// HeaderLen is the length of a message's header: its type and its length.
const HeaderLen = 5

// MaxMessage is the longest message that is taken for one, the limit that PostgreSQL itself sets. A longer one is
// a stream that has lost its framing.
const MaxMessage = 1 << 30

// Codes that stand where a startup message has its protocol version.
const (
	CodeCancel = 80877102
	CodeSSL    = 80877103
	CodeGSSEnc = 80877104
)

// Size is the length of the message at the start of b, header included. ok is false when b is shorter than a header;
// n is 0 when the length field cannot be one.
func Size(b []byte) (n int, ok bool) {
	if len(b) < HeaderLen {
		return 0, false
	}
	l := binary.BigEndian.Uint32(b[1:])
	if l < 4 || l > MaxMessage {
		return 0, true
	}
	return int(l) + 1, true
}

// Body is a message without its header.
func Body(msg []byte) []byte { return msg[HeaderLen:] }

// CString splits b at its first zero byte. ok is false when it has none.
func CString(b []byte) (s, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1:], true
}

// Error is what the session engine needs of an ErrorResponse or a NoticeResponse.
type Error struct {
	Severity   string // not localised (field V), or field S from a server that does not send it
	Code       string // SQLSTATE
	Message    string
	Constraint string
}

// Fatal reports whether the server ends the connection after this error.
func (e Error) Fatal() bool { return e.Severity == "FATAL" || e.Severity == "PANIC" }

// SetCode overwrites the SQLSTATE of an ErrorResponse with another one.
func SetCode(msg []byte, code string) {
	body := Body(msg)
	for len(body) > 0 && body[0] != 0 {
		v, rest, ok := CString(body[1:])
		if !ok {
			return
		}
		if body[0] == 'C' && len(v) == len(code) {
			copy(v, code)
		}
		body = rest
	}
}

// ParseError reads the body of an ErrorResponse. It allocates.
func ParseError(body []byte) Error {
	var e Error
	var localised string
	for len(body) > 0 && body[0] != 0 {
		field := body[0]
		v, rest, ok := CString(body[1:])
		if !ok {
			break
		}
		switch field {
		case 'S':
			localised = string(v)
		case 'V':
			e.Severity = string(v)
		case 'C':
			e.Code = string(v)
		case 'M':
			e.Message = string(v)
		case 'n':
			e.Constraint = string(v)
		}
		body = rest
	}
	if e.Severity == "" {
		e.Severity = localised
	}
	return e
}
