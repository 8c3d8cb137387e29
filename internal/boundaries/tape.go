package boundaries

import (
	"fmt"
	"strings"
	"sync"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// tape sees the messages of one connection through a front, and cuts it at one of them.
type tape struct {
	front *front.Front
	word  string // by which the connection is recognised

	mu       sync.Mutex
	conn     int
	running  bool
	messages []Message
	armed    []*front.Pending
}

// listen recognises the connection on which a client sends the word.
func listen(f *front.Front, word string) *tape {
	t := &tape{front: f, word: word}
	for _, side := range []front.Side{front.Client, front.Server} {
		t.armed = append(t.armed, f.Cut(front.Cut{From: side, Match: func(m front.Message) bool {
			t.hear(side, m)
			return false
		}}))
	}
	return t
}

func (t *tape) hear(side front.Side, m front.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.conn == 0 && side == front.Client && strings.Contains(string(m.Body), t.word):
		t.conn = m.Conn
	case t.running && m.Conn == t.conn:
		t.messages = append(t.messages, Message{From: side, Name: nameOf(side, m)})
	}
}

// start begins to take down what is said on the connection from now on.
func (t *tape) start() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == 0 {
		return fmt.Errorf("boundaries: nobody has said %q through the front", t.word)
	}
	t.running = true
	return nil
}

// cut arms the cut of the connection at a message that comes from now on.
func (t *tape) cut(at point, how front.Manner) *front.Pending {
	t.mu.Lock()
	conn := t.conn
	t.mu.Unlock()
	return t.front.Cut(front.Cut{
		From: at.from, N: at.n, When: at.when, How: how,
		Match: func(m front.Message) bool { return m.Conn == conn },
	})
}

// stop ends the tape and returns what was said.
func (t *tape) stop() []Message {
	for _, p := range t.armed {
		p.Stop()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = false
	return t.messages
}

// Message is one message of a unit's.
type Message struct {
	From front.Side
	Name string
}

// point is a place where a connection can be cut.
type point struct {
	from front.Side
	n    int // counted from 1
	when front.Moment
}

func (p point) String() string {
	when := "before"
	if p.when == front.After {
		when = "after"
	}
	return fmt.Sprintf("%s message %d of the %s", when, p.n, strings.ToLower(p.from.String()))
}

// points are all places where a connection can be cut that has these messages: before each message, and after it, if the
// next one is the other side's.
func points(messages []Message) (all []point) {
	for _, side := range []front.Side{front.Client, front.Server} {
		n := 0
		for i, m := range messages {
			if m.From != side {
				continue
			}
			n++
			all = append(all, point{side, n, front.Before})
			if i+1 == len(messages) || messages[i+1].From != side {
				all = append(all, point{side, n, front.After})
			}
		}
	}
	return all
}

// firstOfRow reports whether a point is before the first message of a row of one side's.
func firstOfRow(all []point, i int) bool {
	return i == 0 || all[i-1].from != all[i].from || all[i-1].when == front.After
}

var messageNames = [2]map[byte]string{
	front.Client: {
		'Q': "Query", 'P': "Parse", 'B': "Bind", 'D': "Describe", 'E': "Execute", 'C': "Close", 'S': "Sync", 'H': "Flush",
		'd': "CopyData", 'c': "CopyDone", 'f': "CopyFail", 'F': "FunctionCall",
	},
	front.Server: {
		'1': "ParseComplete", '2': "BindComplete", '3': "CloseComplete", 't': "ParameterDescription", 'T': "RowDescription",
		'n': "NoData", 'D': "DataRow", 'C': "CommandComplete", 'Z': "ReadyForQuery", 'E': "ErrorResponse", 'N': "NoticeResponse",
		'A': "NotificationResponse", 'S': "ParameterStatus", 'G': "CopyInResponse", 'H': "CopyOutResponse", 'd': "CopyData",
		'c': "CopyDone", 's': "PortalSuspended", 'I': "EmptyQueryResponse", 'V': "FunctionCallResponse",
	},
}

// nameOf is a message in the words of PostgreSQL's manual, with the beginning of its text.
func nameOf(side front.Side, m front.Message) string {
	name := messageNames[side][m.Type]
	if name == "" {
		name = fmt.Sprintf("%q", m.Type)
	}
	text := ""
	switch {
	case side == front.Client && strings.Contains(string(m.Body), "fairlead_commit"):
		return name + " (evidence)"
	case side == front.Client && m.Type == 'Q', side == front.Server && m.Type == 'C':
		text, _, _ = strings.Cut(string(m.Body), "\x00")
	case side == front.Client && m.Type == 'P':
		if parts := strings.SplitN(string(m.Body), "\x00", 3); len(parts) == 3 {
			text = parts[1]
		}
	case side == front.Server && m.Type == 'Z':
		text = string(m.Body)
	}
	if words := strings.Fields(text); len(words) > 0 {
		return name + " " + strings.ToUpper(words[0])
	}
	return name
}
