package wire_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// pgproto3 encodes only what is well-formed: a message that decodes and encodes to the same bytes again is.
func TestWellFormedMessagesPass(t *testing.T) {
	for _, msg := range malformed.Frontend() {
		switch msg[0] {
		case 'p', '!', 0:
			if n, ok := wire.FrontendSize(msg); n != 0 || !ok {
				t.Errorf("%q is taken for a message of a session's", msg)
			}
			continue
		}
		if n, ok := wire.FrontendSize(msg); n != len(msg) || !ok {
			t.Errorf("the size of %q is %d, %t", msg, n, ok)
		}
		if f := wire.CheckFrontend(msg); f != 0 {
			t.Errorf("%q: %v", msg, f)
		}
	}
	for _, msg := range malformed.Backend() {
		switch msg[0] {
		case 'R', 'K', 'v', '!':
			if n, ok := wire.BackendSize(msg); n != 0 || !ok {
				t.Errorf("%q is taken for a message that comes after the login", msg)
			}
			continue
		}
		if n, ok := wire.BackendSize(msg); n != len(msg) || !ok {
			t.Errorf("the size of %q is %d, %t", msg, n, ok)
		}
		if !wire.SoundBackend(msg) {
			t.Errorf("%q is not sound", msg)
		}
	}
}

func TestNoCutOrGrownMessagePasses(t *testing.T) {
	for _, msg := range malformed.Frontend() {
		switch msg[0] {
		case 'p', '!', 0, wire.CopyData, wire.Terminate:
			continue
		}
		for _, m := range malformed.All(msg) {
			switch n, _ := wire.FrontendSize(m.Bytes); {
			case !m.Framed && n != 0 && (n == len(m.Bytes) || n < wire.HeaderLen):
				t.Errorf("%q (%s) has a size", m.Bytes, m.What)
			case m.Framed && n != 0 && len(m.Bytes) != len(msg) && m.What != "an embedded zero" && wire.CheckFrontend(m.Bytes) == 0 && len(m.Bytes) > 5:
				t.Errorf("%q (%s) passes", m.Bytes, m.What)
			}
		}
	}
	for _, msg := range malformed.Backend() {
		switch msg[0] {
		case 'R', 'K', 'v', '!', wire.CopyData, wire.DataRow:
			continue
		}
		for _, m := range malformed.All(msg) {
			switch n, _ := wire.BackendSize(m.Bytes); {
			case !m.Framed && n != 0 && (n == len(m.Bytes) || n < wire.HeaderLen):
				t.Errorf("%q (%s) has a size", m.Bytes, m.What)
			case m.Framed && n != 0 && len(m.Bytes) != len(msg) && m.What != "an embedded zero" && wire.SoundBackend(m.Bytes) && len(m.Bytes) > 5 && m.What != "all zeros":
				t.Errorf("%q (%s) passes", m.Bytes, m.What)
			}
		}
	}
}

// What passes, pgproto3 can decode.
func FuzzCheck(f *testing.F) {
	for _, msg := range append(malformed.Frontend(), malformed.Backend()...) {
		for _, b := range malformed.Seeds(msg) {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) < wire.HeaderLen {
			return
		}
		wire.ParseError(wire.Body(msg))
		wire.CheckStart(msg)
		if n, _ := wire.FrontendSize(msg); n == len(msg) && wire.CheckFrontend(msg) == 0 {
			var err error
			switch body := wire.Body(msg); msg[0] {
			case wire.Parse:
				err = new(pgproto3.Parse).Decode(body)
			case wire.Bind:
				err = new(pgproto3.Bind).Decode(body)
			case wire.Query:
				err = new(pgproto3.Query).Decode(body)
			case wire.Describe:
				err = new(pgproto3.Describe).Decode(body)
			case wire.Close:
				err = new(pgproto3.Close).Decode(body)
			case wire.Execute:
				err = new(pgproto3.Execute).Decode(body)
			}
			if err != nil {
				t.Errorf("%q passes: %v", msg, err)
			}
		}
		if n, _ := wire.BackendSize(msg); n == len(msg) && wire.SoundBackend(msg) {
			var err error
			switch body := wire.Body(msg); msg[0] {
			case wire.RowDescription:
				err = new(pgproto3.RowDescription).Decode(body)
			case wire.ParameterDescription:
				err = new(pgproto3.ParameterDescription).Decode(body)
			case wire.ParameterStatus:
				err = new(pgproto3.ParameterStatus).Decode(body)
			case wire.NotificationResponse:
				err = new(pgproto3.NotificationResponse).Decode(body)
			case wire.ErrorResponse:
				err = new(pgproto3.ErrorResponse).Decode(body)
			case wire.CommandComplete:
				err = new(pgproto3.CommandComplete).Decode(body)
			}
			if err != nil {
				t.Errorf("%q passes: %v", msg, err)
			}
		}
	})
}
