package session

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// modelRequest is a message of the client's whose answer it waits for.
type modelRequest struct {
	kind  byte
	list  []string // statements of a Query
	at    int      // the one that is being answered
	text  string   // of a Parse
	name  string   // of the statement that Parse, Bind, Describe or Close names
	what  byte     // 'S' or 'P'
	port  string
	args  []string
	rows  int
	begun bool // of a Query or Describe: a part of the answer came
	bad   bool // it is malformed
	after bool // it was sent behind something that is undecided, and so may be undecided as well
}

// modelClient reads what the session gives its client, as strictly as a server's answers deserve, and knows what it was
// told of each row that it wanted to have inserted.
type modelClient struct {
	fail   func(format string, args ...any)
	insist func(format string, args ...any) // is fail for what is never forgiven: a wait for ever, and a lost transaction that goes on
	log    func(format string, args ...any)

	queue []*modelRequest
	buf   []byte

	block, failed bool
	opened        bool   // the block was opened after the last ReadyForQuery
	ending        bool   // an error stands for the end of the block
	lost          bool   // the transaction is, says an error
	skip          bool   // an error: everything until Sync is left out
	errored       string // SQLSTATE given in this segment
	copying       bool
	copied        bool // copyIn was seen for the request at the head

	cur     []int // inserted by the open transaction
	set     simState
	base    map[string]string // settings in force when the transaction is over
	vague   map[string]bool   // settings that nobody knows
	points  []simSavepoint
	acked   map[int]bool
	refused map[int]bool
	unknown map[int]bool

	prepared map[string]string
	portals  map[string]*modelRequest
	blurred  map[string]bool // statements of which it is not known whether they exist

	limited bool // the session may have forgotten what it was sent

	codes map[string]int
	zs    int
}

func newModelClient() *modelClient {
	c := &modelClient{
		acked: map[int]bool{}, refused: map[int]bool{}, unknown: map[int]bool{}, prepared: map[string]string{},
		portals: map[string]*modelRequest{}, base: map[string]string{}, vague: map[string]bool{}, codes: map[string]int{},
		blurred: map[string]bool{},
	}
	c.reset()
	return c
}

// reset begins a transaction's account.
func (c *modelClient) reset() {
	c.cur, c.points = nil, nil
	c.set = simState{sess: maps.Clone(c.base), local: map[string]string{}}
}

// wrote notes a message that the client has written.
func (c *modelClient) wrote(m pgproto3.FrontendMessage) {
	r := &modelRequest{}
	switch m := m.(type) {
	case *pgproto3.Query:
		r.kind, r.list = wire.Query, splitSim(m.String)
	case *pgproto3.Parse:
		r.kind, r.name, r.text = wire.Parse, m.Name, m.Query
	case *pgproto3.Bind:
		r.kind, r.name, r.port = wire.Bind, m.PreparedStatement, m.DestinationPortal
		for _, p := range m.Parameters {
			r.args = append(r.args, string(p))
		}
	case *pgproto3.Describe:
		r.kind, r.what, r.name = wire.Describe, m.ObjectType, m.Name
	case *pgproto3.Execute:
		r.kind, r.port, r.rows = wire.Execute, m.Portal, int(m.MaxRows)
	case *pgproto3.Close:
		r.kind, r.what, r.name = wire.Close, m.ObjectType, m.Name
	case *pgproto3.Sync:
		if c.copying && c.queue[0].kind == wire.Execute {
			return // ignored by a server that reads COPY data
		}
		r.kind = wire.Sync
	case malformedMessage:
		switch r.bad = true; m[0] {
		case wire.Query, wire.FunctionCall:
			r.kind, r.list = wire.Query, []string{"bogus"}
		default:
			r.kind, r.text = wire.Parse, "bogus"
		}
		if m[0] == wire.Sync {
			defer c.wrote(&pgproto3.Sync{})
		}
	case *pgproto3.CopyDone, *pgproto3.CopyFail:
		c.copying = false
		return
	default:
		return
	}
	if c.skip && c.head().kind != wire.Query && !c.endInSight() && r.kind != wire.Sync {
		return // discarded
	}
	c.queue = append(c.queue, r)
}

// idsOf are the rows that a statement wants to insert.
func idsOf(text string) []int {
	if len(strings.Fields(text)) < 2 {
		return nil
	}
	switch word, _, _ := strings.Cut(text, " "); word {
	case "insert", "execute":
		s, _, _ := strings.Cut(text, " returning")
		if id := number(inside(s)); id > 0 {
			return []int{id}
		}
	case "create":
		return []int{number(strings.TrimPrefix(strings.Fields(text)[2], "c"))}
	case "copy":
		return []int{number(strings.TrimPrefix(strings.Fields(text)[1], "t"))}
	case "select":
		if strings.HasPrefix(text, "select f(") {
			return []int{number(inside(text))}
		}
	}
	return nil
}

// ahead are the statements of the segment that were not answered yet, the one in hand included.
func (c *modelClient) ahead() (list []string) {
	portals := maps.Clone(c.portals)
	prepared := maps.Clone(c.prepared)
	for _, r := range c.queue {
		switch r.kind {
		case wire.Query:
			return append(list, r.list[min(r.at, len(r.list)):]...)
		case wire.Sync:
			return list
		case wire.Parse:
			prepared[r.name] = r.text
		case wire.Bind:
			portals[r.port] = &modelRequest{text: bindText(prepared[r.name], r.args)}
		case wire.Execute:
			text := ""
			if p := portals[r.port]; p != nil {
				text = p.text
			}
			list = append(list, text)
		}
	}
	return list
}

func (c *modelClient) endInSight() bool {
	for _, r := range c.queue {
		if r.kind == wire.Query || r.kind == wire.Sync {
			return true
		}
	}
	return false
}

// read takes what the client is given.
func (c *modelClient) read(p []byte) {
	c.buf = append(c.buf, p...)
	for {
		n, ok := wire.Size(c.buf)
		if !ok || n > len(c.buf) {
			return
		}
		if n == 0 {
			c.fail("the client got bytes that are no message: %q", c.buf)
			return
		}
		msg := c.buf[:n]
		c.buf = c.buf[n:]
		c.message(msg[0], msg)
	}
}

func (c *modelClient) head() *modelRequest {
	if len(c.queue) == 0 {
		return &modelRequest{}
	}
	return c.queue[0]
}

func (c *modelClient) pop() {
	c.queue, c.copied = c.queue[1:], false
}

func (c *modelClient) message(kind byte, msg []byte) {
	h := c.head()
	c.log("   client <- %s", describeBackend(msg))
	bad := func() {
		c.fail("the client got %s, which does not answer its %q (%v)", describeBackend(msg), string(h.kind), h)
	}
	if c.skip && kind == wire.ErrorResponse {
		c.forgive("second error")
	}
	if c.skip && kind != wire.ReadyForQuery && kind != wire.NoticeResponse && kind != wire.ParameterStatus {
		c.fail("the client got %s after an error, before ReadyForQuery", describeBackend(msg))
	}
	switch kind {
	case wire.NoticeResponse, wire.ParameterStatus, wire.NotificationResponse:
	case wire.ParseComplete:
		if h.kind != wire.Parse {
			bad()
		}
		// One that exists already may be made once more: on a server that the session has moved to it does not exist yet.
		c.prepared[h.name] = h.text
		delete(c.blurred, h.name)
		c.pop()
	case wire.BindComplete:
		text, ok := c.prepared[h.name]
		if h.kind != wire.Bind {
			bad()
		}
		if !ok && !c.blurred[h.name] {
			c.fail("Bind of statement %q succeeded, which does not exist", h.name)
		}
		c.portals[h.port] = &modelRequest{text: bindText(text, h.args)}
		c.pop()
	case wire.CloseComplete:
		if h.kind != wire.Close {
			bad()
		}
		if h.what == 'S' {
			delete(c.prepared, h.name)
			delete(c.blurred, h.name)
		} else {
			delete(c.portals, h.name)
		}
		c.pop()
	case wire.ParameterDescription:
		if h.kind != wire.Describe || h.what != 'S' || h.begun {
			bad()
		}
		h.begun = true
	case wire.NoData, wire.RowDescription:
		switch h.kind {
		case wire.Describe:
			if h.what == 'S' && !h.begun {
				bad()
			}
			text := c.prepared[h.name]
			if h.what == 'P' {
				if p := c.portals[h.name]; p != nil {
					text = p.text
				}
			}
			if want := len(simColumns(text)) == 0; want != (kind == wire.NoData) {
				c.fail("Describe of %q was answered with %s", text, describeBackend(msg))
			}
			c.pop()
		case wire.Query:
			if kind == wire.NoData || h.begun || h.at >= len(h.list) {
				bad()
			}
			h.begun = true
		default:
			bad()
		}
	case wire.DataRow:
		if h.kind != wire.Execute && (h.kind != wire.Query || !h.begun) {
			bad()
		}
		var row pgproto3.DataRow
		if row.Decode(wire.Body(msg)) != nil || len(row.Values) != 1 {
			bad()
			return
		}
		c.row(c.statement(), string(row.Values[0]))
	case wire.CommandComplete:
		if h.kind == wire.Query && h.at >= len(h.list) || h.kind != wire.Query && h.kind != wire.Execute {
			bad()
			return
		}
		c.done(c.statement(), strings.TrimRight(string(wire.Body(msg)), "\x00"))
		if h.kind == wire.Execute {
			c.pop()
		} else {
			h.at, h.begun = h.at+1, false
		}
	case wire.PortalSuspended:
		if h.kind != wire.Execute || h.rows == 0 {
			bad()
		}
		c.pop()
	case wire.EmptyQueryResponse:
		if h.kind != wire.Query || len(h.list) > 0 {
			bad()
		}
	case wire.CopyInResponse:
		if !strings.HasPrefix(c.statement(), "copy") {
			bad()
		}
		c.copying = true
		if h.kind == wire.Execute {
			c.queue = append(c.queue[:1], slices.DeleteFunc(c.queue[1:], func(r *modelRequest) bool { return r.kind == wire.Sync })...)
		}
	case wire.ErrorResponse:
		c.error(wire.ParseError(wire.Body(msg)), h)
	case wire.ReadyForQuery:
		c.ready(h, msg[wire.HeaderLen])
	default:
		bad()
	}
}

// statement is the one that is being answered.
func (c *modelClient) statement() string {
	h := c.head()
	if h.kind == wire.Query && h.at < len(h.list) {
		return h.list[h.at]
	}
	if h.kind == wire.Execute && c.portals[h.port] != nil {
		return c.portals[h.port].text
	}
	return ""
}

func (c *modelClient) row(text, value string) {
	want := value
	switch {
	case strings.Contains(text, "returning nextval"), strings.HasPrefix(text, "select nextval"), strings.HasPrefix(text, "select now"),
		strings.HasPrefix(text, "select count"), strings.HasPrefix(text, "select many"), strings.HasPrefix(text, "execute"):
		return
	case strings.HasPrefix(text, "select f("):
		want = "f"
	case strings.HasPrefix(text, "insert"):
		want = fmt.Sprint(idsOf(text)[0])
	case strings.HasPrefix(text, "select "):
		want = strings.TrimPrefix(text, "select ")
	case strings.HasPrefix(text, "show "):
		name := strings.TrimPrefix(text, "show ")
		if c.vague[name] {
			return
		}
		var ok bool
		if want, ok = c.set.local[name]; !ok {
			want = c.set.sess[name]
		}
	}
	if value != want {
		c.fail("%q returned %q to the client, want %q", text, value, want)
	}
}

func describeBackend(msg []byte) string {
	body := wire.Body(msg)
	switch msg[0] {
	case wire.ErrorResponse, wire.NoticeResponse:
		e := wire.ParseError(body)
		return fmt.Sprintf("%c %s %s %q", msg[0], e.Severity, e.Code, e.Message)
	case wire.CommandComplete, wire.ReadyForQuery:
		return fmt.Sprintf("%c %q", msg[0], strings.TrimRight(string(body), "\x00"))
	case wire.DataRow:
		return fmt.Sprintf("D %q", body)
	}
	return string(msg[0])
}

// modelForgives are liberties that the machine takes: a program that meets one is left, so that others can be found behind
// it.
//   - A client that sends a Query before the one ahead of it was answered to the end can get, when the server is lost in
//     between, an error for the first behind its tags: the ReadyForQuery is all that is missing, and the error is that of
//     the second.
//   - In a pipeline a BEGIN or COMMIT that was not answered, behind other statements, may not have been reached: what follows
//     is undecided together with what stands before it.
//   - A transaction whose statements are not kept (journal_limit), or of which more than one Query was in flight, can end
//     with its error: the ReadyForQuery behind it says so.
var modelForgives = map[string]bool{"second error": true, "an error behind a tag": true, "a transaction ends with an error": true,
	"an undecided pipeline": true}

// forgiven ends a program.
type forgiven string

func (c *modelClient) forgive(defect string) {
	if modelForgives[defect] {
		panic(forgiven(defect))
	}
}
