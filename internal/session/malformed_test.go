package session

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// malformedMessage is one that a client of the model sends.
type malformedMessage []byte

func (malformedMessage) Frontend()                           {}
func (malformedMessage) Decode([]byte) error                 { return nil }
func (m malformedMessage) Encode(dst []byte) ([]byte, error) { return append(dst, m...), nil }

// malformedMessages are those by their type, all of them framed.
var malformedMessages = func() map[byte][]malformedMessage {
	list := make(map[byte][]malformedMessage)
	for _, msg := range malformed.Frontend() {
		for _, m := range malformed.All(msg) {
			if n, _ := wire.FrontendSize(m.Bytes); m.Framed && n > 0 && wire.CheckFrontend(m.Bytes) != 0 && len(m.Bytes) < 200 {
				list[msg[0]] = append(list[msg[0]], m.Bytes)
			}
		}
	}
	return list
}()

func (p *modelProgram) malformed(kinds string) malformedMessage {
	list := malformedMessages[kinds[p.pick(len(kinds), "kind")]]
	return list[p.pick(len(list), "what is wrong")]
}

func TestModelWithMalformedMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { runProgram(t, &modelProgram{t: t, wild: true}, rapid.Bool().Draw(t, "pieces")) })
}

// sessions are those that differ in how they treat what the client sends.
func sessions(t *testing.T) map[string]func() *Session {
	t.Helper()
	params := map[string]string{"standard_conforming_strings": "on"}
	borrowing := func() *Session {
		s := New(Full, 0)
		s.Share(7)
		s.Adopt(params)
		s.Borrow(NewMemory(map[string]string{"standard_conforming_strings": "on"}, ""), nil)
		s.Same()
		return s
	}
	return map[string]func() *Session{
		"alone":      func() *Session { return idle(t) },
		"marking":    func() *Session { return marking(t) },
		"shared":     borrowing,
		"no blocks":  func() *Session { s := borrowing(); s.NoBlocks = true; return s },
		"no journal": func() *Session { s := New(Full, 1); s.Adopt(params); return s },
		"answering":  func() *Session { s := idle(t); s.answerFrom(&Problem{Code: CodeStateLost, Message: "gone"}); return s },
		"transaction": func() *Session {
			s := idle(t)
			client(t, s, query("begin"))
			server(t, s, tag("BEGIN"), ready('T'))
			return s
		},
		"lost": func() *Session {
			s := idle(t)
			client(t, s, query("begin; lock t"))
			server(t, s, tag("BEGIN"), tag("LOCK TABLE"), ready('T'))
			s.Lost("gone")
			return s
		},
		"copying": func() *Session {
			s := idle(t)
			client(t, s, query("copy t from stdin"))
			server(t, s, &pgproto3.CopyInResponse{})
			return s
		},
	}
}

// Whatever a client sends, what goes to the server is well-formed, and where the client's next message begins is never lost.
func TestNoMalformedMessageReachesTheServer(t *testing.T) {
	for name, begin := range sessions(t) {
		for _, msg := range malformed.Frontend() {
			for _, m := range malformed.All(msg) {
				for _, cut := range []int{0, 1, 4, 5, 6} {
					s := begin()
					b := append(bytes.Clone(m.Bytes), msgSync...)
					if s.Missing(b) != nil {
						t.Fatalf("%s: %q: something is missing", name, b)
					}
					s.NeedsNoServer(b)
					var sent []byte
					lost := false
					pieces := [][]byte{b[:min(cut, len(b))], b[min(cut, len(b)):]}
					for len(pieces) > 0 && !lost {
						p := pieces[0]
						pieces = pieces[1:]
						out := s.Client(p)
						sent = append(sent, out.Bytes()...)
						s.Sent()
						if lost = out.Lost; lost && out.Why == "" {
							t.Errorf("%s: %q: lost, and it is not said why", name, b)
						}
						if len(out.Rest) > 0 && len(out.Rest) < len(p) {
							pieces = append([][]byte{out.Rest}, pieces...)
						}
					}
					whole(t, s.TakeOut())
					n := 0
					eachMessage(sent, func(msg []byte) {
						if size, _ := wire.FrontendSize(msg); size == 0 || wire.CheckFrontend(msg) != 0 {
							t.Errorf("%s: %q (%s): the server gets %q", name, b, m.What, msg)
						}
						n += len(msg)
					})
					if n != len(sent) && m.Framed {
						t.Errorf("%s: %q (%s): the server gets %q", name, b, m.What, sent[n:])
					}
					if size, _ := wire.FrontendSize(m.Bytes); lost != (size == 0) {
						t.Errorf("%s: %q (%s): lost %t", name, b, m.What, lost)
					}
				}
			}
		}
	}
}

// Whatever a server sends in the place of an answer, or of a part of one, is not delivered, and nothing is read of it.
func TestAMalformedAnswerIsTheEndOfItsUpstream(t *testing.T) {
	before := be(t, columns("a"))
	for name, begin := range sessions(t) {
		for _, msg := range malformed.Backend() {
			for _, m := range malformed.All(msg) {
				s := begin()
				if !s.Answering() {
					client(t, s, query("select 1"))
				}
				b := append(bytes.Clone(before), m.Bytes...)
				b = append(b, be(t, tag("SELECT 1"), ready('I'))...)
				sound := false
				if n, _ := wire.BackendSize(m.Bytes); n > 0 && n <= len(m.Bytes) {
					sound = wire.SoundBackend(m.Bytes)
				}
				size, _ := wire.BackendSize(m.Bytes)
				v := s.Server(b)
				whole(t, append(s.TakeOut(), b[:v.Deliver]...))
				if !sound && v.Event == None && size <= len(b)-len(before) {
					t.Errorf("%s: %q (%s) is taken for an answer", name, m.Bytes, m.What)
				}
				s.Lost("gone")
				whole(t, s.TakeOut())
			}
		}
	}
}

func TestAMalformedMessageIsAnsweredAsAServerDoes(t *testing.T) {
	raw := func(kind byte, body string) malformedMessage {
		b, _ := (&pgproto3.CopyData{Data: []byte(body)}).Encode(nil)
		b[0] = kind
		return b
	}
	s := idle(t)
	client(t, s, &pgproto3.Parse{Query: "select 1"}, raw('B', "\x00"), &pgproto3.Execute{}, &pgproto3.Sync{}, query("select 2"))
	got, _ := server(t, s, &pgproto3.ParseComplete{}, serverError("42601"), ready('I'), columns("a"), row("2"), tag("SELECT 1"), ready('I'))
	expectWords(t, "a malformed Bind", got, "1 ERROR 08P01 ZI T D SELECT 1 ZI")
	client(t, s, raw('Q', "select 1"))
	got, _ = server(t, s, serverError("42601"), ready('I'))
	expectWords(t, "a malformed Query", got, "ERROR 08P01 ZI")
	client(t, s, raw('S', "x"))
	got, _ = server(t, s, serverError("42601"), ready('I'))
	expectWords(t, "a malformed Sync", got, "ERROR 08P01 ZI")
	if s.Busy() || s.confused {
		t.Error("the account is not settled")
	}
}

// The words for a text that was begun are not all of it: a terminator in its midst ends it for whoever reads it.
func TestALargeQueryWithATerminatorInItsMidstIsNotPassedOn(t *testing.T) {
	for name, begin := range sessions(t) {
		s := begin()
		if s.Answering() || s.CopyingIn() {
			continue
		}
		b := fe(t, query("insert into t values (1)\x00"+strings.Repeat("x", 2*wholeText)))
		out := s.Client(b[:wholeText+100])
		if strings.Contains(string(out.Bytes()), "insert") {
			t.Errorf("%s: the server gets %q", name, out.Bytes()[:50])
		}
		s.Sent()
		out = s.Client(append(bytes.Clone(b[wholeText+100:]), msgSync...))
		if !s.NoBlocks && (len(out.Body) > 0 || !bytes.Equal(out.Rest, msgSync)) {
			t.Errorf("%s: the rest is not passed over: %d bytes to be sent, %d left", name, len(out.Body), len(out.Rest))
		}
	}
}

// The rest of a message that a server has seen nothing of is not for another one: it would take it for messages.
func TestTheRestOfDataThatNobodyAskedForIsNoMessage(t *testing.T) {
	s := New(Full, 0)
	s.Share(1)
	b := fe(t, &pgproto3.CopyData{Data: fe(t, query("set role other"), query(strings.Repeat("x", 2*streamFrom)))})
	if s.NeedsNoServer(b[:10]) {
		t.Error("the beginning is taken in without a server, which gets the rest")
	}
	if !s.NeedsNoServer(b[:3]) || !s.NeedsNoServer([]byte("P\x00\x00\x00\x20x")) || !s.NeedsNoServer([]byte("!\x00\x00\x00\x04")) {
		t.Error("a server is asked for too early")
	}
}
