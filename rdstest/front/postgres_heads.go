package front

import "encoding/binary"

// What a startup packet asks for, in place of a protocol version.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssEncRequest = 80877104
)

// maxStartupPacket is where PostgreSQL itself no longer believes a length.
const maxStartupPacket = 10000

// postgresHeads reads the heads of version 3: a type and a length that counts itself, after startup packets, which have no
// type.
type postgresHeads struct {
	startup bool // the next message is a startup packet
}

func headsOf(side Side) heads { return &postgresHeads{startup: side == Client} }

func (p *postgresHeads) measure(b []byte) (head, headVerdict) {
	if p.startup {
		// The code is part of the body, but it says what comes after this packet.
		if len(b) < 8 {
			if len(b) >= 4 && !plausibleStartup(b) {
				return head{}, headWrong
			}
			return head{}, headShort
		}
		if !plausibleStartup(b) {
			return head{}, headWrong
		}
		return head{body: 4, size: int(binary.BigEndian.Uint32(b))}, headFound
	}
	if len(b) < 5 {
		return head{}, headShort
	}
	length := binary.BigEndian.Uint32(b[1:])
	if length < 4 || length > 1<<30 {
		return head{}, headWrong
	}
	return head{kind: b[0], body: 5, size: 1 + int(length)}, headFound
}

func (p *postgresHeads) passed(b []byte) {
	if !p.startup {
		return
	}
	switch binary.BigEndian.Uint32(b[4:]) {
	case sslRequest, gssEncRequest:
	default:
		p.startup = false
	}
}

func plausibleStartup(b []byte) bool {
	length := binary.BigEndian.Uint32(b)
	return length >= 8 && length <= maxStartupPacket
}
