// Package malformed makes messages of PostgreSQL's protocol that are not as the protocol has them, for tests: of each type, with an
// empty, a short and an overlong body, without terminators, with wrong counts and with lengths that cannot be.
package malformed

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

const header = 5

// Frontend are well-formed messages that a client sends after its login, at least one of each type.
func Frontend() [][]byte {
	return [][]byte{
		encode(&pgproto3.Query{String: "select 1"}),
		encode(&pgproto3.Parse{Name: "s", Query: "select $1::int, $2::int", ParameterOIDs: []uint32{23, 23}}),
		encode(&pgproto3.Parse{Query: "select 'x'"}),
		encode(&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s", ParameterFormatCodes: []int16{1}, Parameters: [][]byte{{0, 0, 0, 7}, nil},
			ResultFormatCodes: []int16{0, 1}}),
		encode(&pgproto3.Bind{}),
		encode(&pgproto3.Describe{ObjectType: 'S', Name: "s"}),
		encode(&pgproto3.Describe{ObjectType: 'P'}),
		encode(&pgproto3.Execute{Portal: "p", MaxRows: 3}),
		encode(&pgproto3.Close{ObjectType: 'S', Name: "s"}),
		encode(&pgproto3.Sync{}),
		encode(&pgproto3.Flush{}),
		encode(&pgproto3.FunctionCall{Function: 1598, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte("1"), nil}, ResultFormatCode: 1}),
		encode(&pgproto3.CopyData{Data: []byte("1\n")}),
		encode(&pgproto3.CopyDone{}),
		encode(&pgproto3.CopyFail{Message: "no"}),
		encode(&pgproto3.PasswordMessage{Password: "p"}),
		encode(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=x")}),
		{'!', 0, 0, 0, 4},
		{0, 0, 0, 0, 4},
		encode(&pgproto3.Terminate{}),
	}
}

// Backend are well-formed messages that a server sends, at least one of each type.
func Backend() [][]byte {
	return [][]byte{
		encode(&pgproto3.ReadyForQuery{TxStatus: 'I'}),
		encode(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}),
		encode(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}}),
		encode(&pgproto3.DataRow{Values: [][]byte{[]byte("1"), nil}}),
		encode(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "22012", Message: "division by zero"}),
		encode(&pgproto3.NoticeResponse{Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Message: "x"}),
		encode(&pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"}),
		encode(&pgproto3.NotificationResponse{PID: 1, Channel: "c", Payload: "p"}),
		encode(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}),
		encode(&pgproto3.ParseComplete{}),
		encode(&pgproto3.BindComplete{}),
		encode(&pgproto3.CloseComplete{}),
		encode(&pgproto3.NoData{}),
		encode(&pgproto3.PortalSuspended{}),
		encode(&pgproto3.EmptyQueryResponse{}),
		encode(&pgproto3.ParameterDescription{ParameterOIDs: []uint32{23, 25}}),
		encode(&pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}}),
		encode(&pgproto3.CopyOutResponse{ColumnFormatCodes: []uint16{0}}),
		encode(&pgproto3.CopyBothResponse{ColumnFormatCodes: []uint16{0}}),
		encode(&pgproto3.CopyData{Data: []byte("1\n")}),
		encode(&pgproto3.CopyDone{}),
		encode(&pgproto3.FunctionCallResponse{Result: []byte("1")}),
		encode(&pgproto3.AuthenticationOk{}),
		encode(&pgproto3.AuthenticationCleartextPassword{}),
		encode(&pgproto3.AuthenticationMD5Password{Salt: [4]byte{1, 2, 3, 4}}),
		encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}),
		encode(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=x,s=eA==,i=4096")}),
		encode(&pgproto3.AuthenticationSASLFinal{Data: []byte("v=eA==")}),
		encode(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 196608, UnrecognizedOptions: []string{"_pq_.x"}}),
		{'!', 0, 0, 0, 4},
	}
}

func encode(m interface{ Encode([]byte) ([]byte, error) }) []byte {
	b, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// Message is a message with what has been done to it.
type Message struct {
	What   string
	Bytes  []byte
	Framed bool // the length field is that of the bytes
}

// All are the ways in which a well-formed message is made a malformed one. Some of them leave a message of some type well-formed.
func All(msg []byte) (list []Message) {
	body := msg[header:]
	framed := func(what string, b ...[]byte) {
		list = append(list, Message{what, with(msg[0], slices.Concat(b...)), true})
	}
	framed("empty")
	for n := 1; n < len(body); n++ {
		framed("short", body[:n])
	}
	framed("overlong by a zero", body, []byte{0})
	framed("overlong", body, []byte("garbage"))
	framed("long", body, slices.Repeat([]byte{'x'}, 20000))
	framed("unterminated", replace(body, 0, 'x'))
	framed("all ones", slices.Repeat([]byte{0xff}, len(body)+1))
	framed("all zeros", make([]byte, len(body)+1))
	for at := range body {
		framed("an embedded zero", body[:at], []byte{0}, body[at:])
		framed("another byte", body[:at], []byte{body[at] ^ 0xff}, body[at+1:])
	}
	for at := 0; at+2 <= len(body); at++ {
		framed("another count", body[:at], []byte{0xff, 0xff}, body[at+2:])
	}
	for at := 0; at+4 <= len(body); at++ {
		framed("another length", body[:at], []byte{0x7f, 0xff, 0xff, 0xff}, body[at+4:])
		framed("a negative length", body[:at], []byte{0xff, 0xff, 0xff, 0xfe}, body[at+4:])
	}
	for _, n := range []uint32{0, 1, 3, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		b := slices.Clone(msg)
		binary.BigEndian.PutUint32(b[1:], n)
		list = append(list, Message{"a length that cannot be", b, false})
	}
	return list
}

// Seeds are what a fuzz target has of a message, next to the message itself: an empty, a short and an overlong body.
func Seeds(msg []byte) [][]byte {
	body := msg[header:]
	return [][]byte{msg, with(msg[0], nil), with(msg[0], body[:len(body)/2]), with(msg[0], slices.Concat(body, []byte("\x00garbage")))}
}

// One is one of All, at random.
func One(r *rand.Rand, of [][]byte) Message {
	list := All(of[r.IntN(len(of))])
	return list[r.IntN(len(list))]
}

func with(kind byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

func replace(b []byte, old, by byte) []byte {
	b = slices.Clone(b)
	for i := range b {
		if b[i] == old {
			b[i] = by
		}
	}
	return b
}
