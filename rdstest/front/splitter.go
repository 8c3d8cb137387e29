package front

// heads knows how the messages of one side of a protocol begin.
type heads interface {
	// measure reads the head that b begins with. It changes nothing: the same head may be measured again.
	measure(b []byte) (head, headVerdict)
	// passed is told of every head, once and in order.
	passed(b []byte)
}

// head is the beginning of a message.
type head struct {
	kind byte
	body int // where the body begins
	size int // of the whole message
}

type headVerdict int

const (
	headFound headVerdict = iota
	headShort             // b has to be longer, but never longer than headLimit
	headWrong             // this is not the protocol
)

// headLimit bounds the bytes of a head.
const headLimit = 8

// splitter knows where messages begin in a stream that it sees piece by piece.
type splitter struct {
	heads heads
	left  int // bytes of the message under way that are still to come
	part  [headLimit]byte
	parts int  // bytes of a head that came in pieces
	lost  bool // this is not the protocol
}

// atStart says that the next byte begins a message.
func (s *splitter) atStart() bool { return s.left == 0 && s.parts == 0 }

// skip takes note of b.
func (s *splitter) skip(b []byte) {
	for len(b) > 0 && !s.lost {
		if !s.atStart() {
			b = b[s.finish(b):]
			continue
		}
		if _, verdict := s.heads.measure(b); verdict == headFound {
			s.begin(b)
			continue
		}
		s.part[0], s.parts = b[0], 1
		b = b[1:]
	}
}

// begin starts the message whose head is at b, which finish goes through then.
func (s *splitter) begin(b []byte) {
	h, verdict := s.heads.measure(b)
	if verdict != headFound {
		s.lost = true
		return
	}
	s.heads.passed(b)
	s.left = h.size
}

// finish goes on with the message under way, and reports how many bytes of b belong to it.
func (s *splitter) finish(b []byte) int {
	n := 0
	for s.left == 0 && n < len(b) && !s.lost {
		s.part[s.parts] = b[n]
		s.parts++
		n++
		part := s.part[:s.parts]
		h, verdict := s.heads.measure(part)
		switch {
		case verdict == headFound:
			s.heads.passed(part)
			s.left, s.parts = h.size-len(part), 0
			if s.left == 0 {
				return n
			}
		case verdict == headWrong || s.parts == headLimit:
			s.lost = true
		}
	}
	rest := min(s.left, len(b)-n)
	s.left -= rest
	return n + rest
}
