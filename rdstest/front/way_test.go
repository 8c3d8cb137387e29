package front

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// stream is what one side says, and where its messages end.
type stream struct {
	bytes  []byte
	bounds []int // of the messages: bounds[i] is where message i begins, and the last one where all end
	bodies [][]byte
}

func (s *stream) add(kind byte, body []byte) {
	s.bounds[len(s.bounds)-1] = len(s.bytes)
	if kind != 0 {
		s.bytes = append(s.bytes, kind)
	}
	s.bytes = binary.BigEndian.AppendUint32(s.bytes, uint32(4+len(body)))
	s.bytes = append(s.bytes, body...)
	s.bodies = append(s.bodies, body)
	s.bounds = append(s.bounds, len(s.bytes))
}

func drawStream(t *rapid.T, side Side) stream {
	s := stream{bounds: []int{0}}
	if side == Client {
		for range rapid.IntRange(0, 2).Draw(t, "requests") {
			s.add(0, binary.BigEndian.AppendUint32(nil, sslRequest))
		}
		s.add(0, append([]byte{0, 3, 0, 0}, rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "parameters")...))
	}
	for range rapid.IntRange(0, 12).Draw(t, "messages") {
		s.add(rapid.Byte().Filter(func(b byte) bool { return b != 0 }).Draw(t, "type"),
			rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "body"))
	}
	return s
}

func newTestWay(side Side) *way {
	f := &Front{}
	f.weather.Store(newWeather(0))
	l := &link{front: f}
	return &way{link: l, from: side, out: &port{link: l}, split: splitter{heads: headsOf(side)}}
}

// However the bytes are cut up by reads, and whenever a cut is armed, what passes is what stands before the cut.
func TestCutFallsAtItsMessageHoweverTheBytesCome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.SampledFrom([]Side{Client, Server}).Draw(t, "side")
		s := drawStream(t, side)
		total := len(s.bodies)
		w := newTestWay(side)

		armAt := rapid.IntRange(0, len(s.bytes)).Draw(t, "armed after")
		cut := Cut{
			From: side,
			N:    rapid.IntRange(1, 6).Draw(t, "n"),
			When: rapid.SampledFrom([]Moment{Before, After}).Draw(t, "when"),
		}
		var seen [][]byte
		counts := func(body []byte) bool { return len(body)%2 == 0 }
		switch rapid.IntRange(0, 2).Draw(t, "match") {
		case 1:
			cut.Match = func(m Message) bool { seen = append(seen, bytes.Clone(m.Body)); return true }
			counts = func([]byte) bool { return true }
		case 2:
			cut.Match = func(m Message) bool { return counts(m.Body) }
		default:
			counts = func([]byte) bool { return true }
		}

		want, first, n := len(s.bytes), total, 0
		for i := range total {
			if s.bounds[i] < armAt {
				continue
			}
			first = min(first, i)
			if !counts(s.bodies[i]) {
				continue
			}
			if n++; n == cut.N {
				want = s.bounds[i]
				if cut.When == After {
					want = s.bounds[i+1]
				}
				break
			}
		}

		var got []byte
		var fell bool
		fed := 0
		feed := func(b []byte) {
			for len(b) > 0 && !fell {
				n := rapid.IntRange(1, len(b)).Draw(t, "read")
				read := bytes.Clone(b[:n])
				out, fired := w.filter(read)
				got = append(got, out...)
				fell = fired != nil
				fed += n
				clear(read)
				b = b[n:]
			}
		}
		feed(s.bytes[:armAt])
		p := &Pending{cut: cut, home: &w.link.front.cuts, counts: make(map[*link]int)}
		w.link.front.cuts.add(p)
		feed(s.bytes[armAt:])
		if !fell {
			got = append(got, w.rest()...)
		}

		if fell != (n == cut.N) {
			t.Fatalf("the cut fell: %t", fell)
		}
		if !bytes.Equal(got, s.bytes[:want]) {
			t.Fatalf("passed %d bytes, want %d of %d", len(got), want, len(s.bytes))
		}
		if w.loses != (fell && fed > want) {
			t.Fatalf("it lost some of %d bytes: %t", fed, w.loses)
		}
		for i, body := range seen {
			if !bytes.Equal(body, s.bodies[first+i]) {
				t.Fatalf("Match saw %x for message %d, which is %x", body, first+i, s.bodies[first+i])
			}
		}
	})
}

// A link may have listed the armed cuts a moment before one of them is taken back, or fires on another link.
func TestCutIsOverForThoseWhoStillKnowIt(t *testing.T) {
	for name, end := range map[string]func(*Pending){
		"taken back": func(p *Pending) { p.Stop() },
		"fired":      func(p *Pending) { p.falls(new(link), Message{}) },
	} {
		var home cuts
		p := &Pending{cut: Cut{N: 1}, home: &home, counts: make(map[*link]int)}
		end(p)
		if p.falls(new(link), Message{}) {
			t.Errorf("%s: it fell", name)
		}
	}
}

func TestOtherProtocolsPass(t *testing.T) {
	for name, said := range map[string]string{
		"short":            "ping",
		"HTTP":             "GET / HTTP/1.1\r\n\r\n",
		"a length of zero": "\x00\x00\x00\x00\x00\x00\x00\x00more",
		"too long":         "\x7f\xff\xff\xff\x00\x03\x00\x00more",
	} {
		for _, side := range []Side{Client, Server} {
			for _, armed := range []bool{false, true} {
				w := newTestWay(side)
				if armed {
					w.link.front.cuts.add(&Pending{
						cut:    Cut{From: side, N: 5},
						home:   &w.link.front.cuts,
						counts: make(map[*link]int),
					})
				}
				var got []byte
				for _, b := range []byte(said) {
					out, fired := w.filter([]byte{b})
					if fired != nil {
						t.Fatalf("%s: a cut fell", name)
					}
					got = append(got, out...)
				}
				got = append(got, w.rest()...)
				if string(got) != said {
					t.Errorf("%s from the %s: passed %q", name, side, got)
				}
			}
		}
	}
}

func TestMatchSeesTheBeginningOfAHugeBody(t *testing.T) {
	w := newTestWay(Server)
	var saw int
	w.link.front.cuts.add(&Pending{
		cut: Cut{From: Server, When: After, Match: func(m Message) bool {
			saw = len(m.Body)
			return true
		}},
		home:   &w.link.front.cuts,
		counts: make(map[*link]int),
	})
	const body = bodyLimit + 3*chunk
	head := binary.BigEndian.AppendUint32([]byte{'D'}, body+4)
	passed := 0
	for b := range slices.Chunk(append(head, make([]byte, body+10)...), chunk) {
		out, fired := w.filter(b)
		passed += len(out)
		if fired != nil {
			break
		}
	}
	if saw != bodyLimit || passed != 5+body {
		t.Errorf("Match saw %d bytes and %d passed, want %d and %d", saw, passed, bodyLimit, 5+body)
	}
}

func TestFramingCostsNoAllocation(t *testing.T) {
	w := newTestWay(Server)
	s := stream{bounds: []int{0}}
	for range 500 {
		s.add('D', make([]byte, 100))
	}
	if n := testing.AllocsPerRun(100, func() { w.filter(s.bytes) }); n != 0 {
		t.Errorf("%v allocations for each read", n)
	}
}
