package session

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/wire"
)

// modelStep is what the client does at one go.
type modelStep struct {
	msgs []pgproto3.FrontendMessage
	copy int  // id of the row that follows when the server asks for it
	wait bool // for all answers
	fail bool // the COPY is given up
}

func (st modelStep) String() string {
	var b []byte
	for _, m := range st.msgs {
		b, _ = m.Encode(b)
	}
	return fmt.Sprintf("%s (wait %t, copy %d)", frontendWords(b), st.wait, st.copy)
}

// modelProgram writes programs.
type modelProgram struct {
	t     *rapid.T
	id    int
	mixed bool // also does what no driver does
	wild  bool // also sends malformed messages
	open  bool // a segment of the extended protocol has no end yet
}

func (p *modelProgram) pick(n int, what string) int { return rapid.IntRange(0, n-1).Draw(p.t, what) }

func (p *modelProgram) next() int {
	p.id++
	return p.id
}

// statement is one that may stand anywhere.
func (p *modelProgram) statement() string {
	c := statementChoices[p.pick(len(statementChoices), "statement")]
	if strings.Contains(c, "%d") {
		return fmt.Sprintf(c, p.next())
	}
	return c
}

// statementChoices has each statement as often as it is to be likely.
var statementChoices = func() (list []string) {
	for _, c := range []struct {
		n   int
		sql string
	}{
		{14, "insert into t values (%d)"}, {14, "begin"}, {12, "commit"}, {6, "select 1"}, {4, "insert into t values (%d) returning id"},
		{4, "rollback"}, {3, "savepoint s"}, {3, "rollback to s"}, {2, "release s"}, {1, "savepoint r"}, {1, "rollback to r"},
		{2, "insert into t values (%d) returning nextval('q')"}, {2, "insert into d values (%d)"}, {3, "select count(*) from t"},
		{2, "select now()"}, {1, "select nextval('q')"}, {3, "select f(%d)"}, {3, "select 1/0"}, {1, "bogus"}, {2, "commit and chain"},
		{1, "rollback and chain"}, {2, "set app.a = '1'"}, {2, "set app.a = '2'"}, {1, "set app.b = '3'"}, {1, "set local app.a = '4'"},
		{1, "reset app.a"}, {3, "show app.a"}, {2, "prepare p as insert into t values ($1)"}, {3, "execute p(%d)"}, {1, "deallocate p"},
		{1, "deallocate all"}, {1, "discard all"}, {2, "create table c%d ()"}, {1, "begin read only"}, {1, "select many"},
	} {
		for range c.n {
			list = append(list, c.sql)
		}
	}
	return list
}()

func (p *modelProgram) step() modelStep {
	st := modelStep{wait: p.pick(10, "wait") < 7}
	k := p.pick(20, "step")
	if p.open && !p.mixed {
		k = 19
	}
	p.open = false
	switch {
	case p.wild && p.pick(6, "malformed") == 0:
		st.msgs = append(st.msgs, p.malformed("QF"))
	case k < 9:
		st.msgs = append(st.msgs, query(p.statement()))
	case k < 11:
		list := []string{p.statement()}
		for range 1 + p.pick(3, "more") {
			list = append(list, p.statement())
		}
		st.msgs = append(st.msgs, query(strings.Join(list, "; ")))
	case k == 11:
		st.copy, st.wait, st.fail = p.next(), true, p.pick(4, "copy fails") == 0
		text := fmt.Sprintf("copy t%d from stdin", st.copy)
		if p.pick(2, "copy by") == 0 {
			st.msgs = append(st.msgs, query(text))
		} else {
			st.msgs = extended(text)
		}
	default:
		for range 1 + p.pick(3, "batch") {
			if p.wild && p.pick(5, "malformed") == 0 {
				st.msgs = append(st.msgs, p.malformed("PBDECH"))
			}
			st.msgs = append(st.msgs, p.unit()...)
		}
		switch e := p.pick(12, "end"); {
		case e == 0:
			st.msgs, st.wait, p.open = append(st.msgs, &pgproto3.Flush{}), true, true
		case e == 1:
			st.wait, p.open = false, true
		case e == 2 && p.mixed:
			st.msgs = append(st.msgs, query(p.statement()))
		case p.wild && e < 5:
			st.msgs = append(st.msgs, p.malformed("S"))
		default:
			st.msgs = append(st.msgs, &pgproto3.Sync{})
		}
	}
	return st
}

// unit is a part of a batch.
func (p *modelProgram) unit() []pgproto3.FrontendMessage {
	run := func(msgs ...pgproto3.FrontendMessage) []pgproto3.FrontendMessage {
		if p.pick(2, "describe") == 0 {
			msgs = append(msgs, &pgproto3.Describe{ObjectType: 'P'})
		}
		e := &pgproto3.Execute{}
		if p.pick(8, "limit") == 0 {
			e.MaxRows = 2
		}
		return append(msgs, e)
	}
	name := []string{"n", "m"}[p.pick(2, "name")]
	const text = "insert into t values ($1)"
	bind := &pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{fmt.Append(nil, p.next())}}
	switch k := p.pick(16, "unit"); {
	case k < 8:
		return run(&pgproto3.Parse{Query: p.statement()}, &pgproto3.Bind{})
	case k < 10:
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: name, Query: text}, &pgproto3.Describe{ObjectType: 'S', Name: name}}
	case k == 10:
		return run(&pgproto3.Parse{Name: name, Query: text}, bind)
	case k < 14:
		return run(bind)
	case k == 14 && p.mixed:
		if p.pick(2, "odd") == 0 {
			return run(&pgproto3.Bind{})
		}
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: name, Query: "select 1"}}
	}
	return []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: name}}
}

// model runs one program with its losses.
type model struct {
	t   *rapid.T
	c   *modelClient
	m   *simMount
	log []string
	cut int // how the client's writes are cut up
}

func newModel(t *rapid.T) *model {
	md := &model{t: t, c: newModelClient()}
	md.c.log = func(f string, a ...any) { md.log = append(md.log, fmt.Sprintf(f, a...)) }
	md.c.fail = func(f string, a ...any) {
		text := fmt.Sprintf(f, a...)
		if !*strict && !strings.HasPrefix(text, "row ") && !strings.HasPrefix(text, "malformed") {
			panic(forgiven(text))
		}
		t.Fatalf("%s\n%s", text, strings.Join(md.log, "\n"))
	}
	md.c.insist = func(f string, a ...any) {
		t.Fatalf("%s\n%s", fmt.Sprintf(f, a...), strings.Join(md.log, "\n"))
	}
	params := map[string]string{"standard_conforming_strings": "on"}
	if rapid.Bool().Draw(t, "writes by default") {
		params["default_transaction_read_only"] = "off"
	}
	limit := 0
	if rapid.IntRange(0, 9).Draw(t, "limited") == 0 {
		limit = rapid.IntRange(50, 400).Draw(t, "limit")
	}
	md.c.limited = limit > 0
	s := New(Full, limit)
	s.Adopt(params)
	md.m = &simMount{
		t: t, c: md.c, s: s, w: newSimWorld(), key: [16]byte{15: 1}, log: md.c.log, verdicts: map[Verdict]int{},
		mode:   rapid.SampledFrom([]commit.Mode{commit.Marker, commit.Marker, commit.LSN, commit.Off}).Draw(t, "mode"),
		losses: rapid.IntRange(0, 5).Draw(t, "losses"),
		piece:  rapid.SampledFrom([]int{0, 0, 0, 1, 7, 30}).Draw(t, "piece"),
	}
	md.log = append(md.log, fmt.Sprintf("mode %s, limit %d, read %d at most", md.m.mode, limit, md.m.piece))
	return md
}

// write has the client write messages, whole or in pieces.
func (md *model) write(msgs ...pgproto3.FrontendMessage) {
	var b []byte
	for _, msg := range msgs {
		md.c.wrote(msg)
		b, _ = msg.Encode(b)
	}
	md.log = append(md.log, "client -> "+frontendWords(b))
	if md.cut > 0 && len(b) > 1 {
		n := 1 + rapid.IntRange(0, len(b)-2).Draw(md.t, "piece of a write")
		md.m.write(b[:n])
		for range md.cut - 1 {
			md.m.read()
		}
		b = b[n:]
	}
	md.m.write(b)
}

func (md *model) readAll() {
	for len(md.c.queue) > 0 && !md.m.ended && md.m.read() {
	}
}

func (md *model) step(st modelStep) {
	md.write(st.msgs...)
	if !st.wait {
		return
	}
	md.readAll()
	if md.c.copying {
		end := pgproto3.FrontendMessage(&pgproto3.CopyDone{})
		if st.fail {
			end = &pgproto3.CopyFail{Message: "no"}
		}
		list := []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: fmt.Append(nil, st.copy, "\n")}, end}
		ext := md.c.queue[0].kind == wire.Execute
		md.write(list...)
		if ext {
			md.write(&pgproto3.Sync{})
		}
		md.readAll()
	}
	for _, r := range md.c.queue {
		if (r.kind == wire.Sync || r.kind == wire.Query) && !md.m.ended && !md.c.copying {
			md.c.insist("the client waits for an answer that does not come: %v", r)
		}
	}
}

// simple runs a Query that must succeed, and returns its rows.
func (md *model) simple(sql string) {
	errors := len(md.c.codes)
	md.step(modelStep{msgs: []pgproto3.FrontendMessage{query(sql)}, wait: true})
	if len(md.c.codes) != errors {
		md.c.fail("the session is not usable afterwards: %q failed", sql)
	}
}

// audit compares what the client was told with what is so, and uses the session once more.
func (md *model) audit(last int) {
	md.log = append(md.log, "-- the end")
	md.m.losses, md.m.calm = 0, true
	if md.m.up != nil {
		md.m.up.plan.cut, md.m.up.b.whim = false, simWhim{}
	}
	md.cut = 0
	if md.c.copying {
		md.c.fail("COPY has no end")
	}
	md.step(modelStep{msgs: []pgproto3.FrontendMessage{&pgproto3.Sync{}}, wait: true})
	md.step(modelStep{msgs: []pgproto3.FrontendMessage{query("rollback")}, wait: true})
	if md.m.ended {
		md.c.fail("the session has ended")
	}
	if md.c.block {
		md.c.fail("ROLLBACK did not end the transaction")
	}
	clear(md.c.codes)
	md.simple("select 1")
	md.simple(fmt.Sprintf("insert into t values (%d)", last))
	md.simple("show app.a")
	md.simple("show app.b")
	for name := range md.c.prepared {
		if name != "" && name != "p" && !md.c.blurred[name] {
			last++
			md.step(modelStep{msgs: []pgproto3.FrontendMessage{
				&pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{fmt.Append(nil, last)}}, &pgproto3.Execute{}, &pgproto3.Sync{},
			}, wait: true})
			if len(md.c.codes) > 0 {
				md.c.fail("the prepared statement %q is not there any more", name)
			}
		}
	}
	md.auditRows(false)
}

// auditRows compares what the client was told with what is in the table. Of a program that was left before its end it is
// not known what the client would have been told of what was in flight.
func (md *model) auditRows(left bool) {
	for id := range md.m.w.table {
		n := md.m.w.table[id]
		if left && n == 1 && !md.c.acked[id] && !md.c.refused[id] {
			continue
		}
		switch {
		case n > 1:
			md.c.fail("row %d is in the table %d times", id, n)
		case n == 1 && md.c.refused[id]:
			md.c.fail("row %d was refused, and is in the table", id)
		case *strict && n == 1 && !md.c.acked[id] && !md.c.unknown[id]:
			md.c.fail("row %d is in the table, and the client was told nothing of it", id)
		}
	}
	for id := range md.c.acked {
		if md.c.acked[id] && md.m.w.table[id] == 0 {
			md.c.fail("row %d was acknowledged, and is not in the table", id)
		}
	}
}

// strict has the model insist on the order of all that the client is told. Without it only what is in the tables counts:
// programs that no driver writes (several Queries in flight at once, errors between messages of one segment) still lead to answers
// that a server would not give in this order.
var strict = flag.Bool("model.strict", false, "fail over the order of answers too, not only over lost, doubled and refused rows")

func runModel(t *rapid.T, mixed, pieces bool) (md *model) {
	return runProgram(t, &modelProgram{t: t, mixed: mixed}, pieces)
}

func runProgram(t *rapid.T, p *modelProgram, pieces bool) (md *model) {
	return newModel(t).run(p, pieces)
}

func (md *model) run(p *modelProgram, pieces bool) *model {
	t := md.t
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(forgiven); !ok {
				t.Logf("%s", strings.Join(md.log, "\n"))
				panic(r)
			}
			md.auditRows(true)
		}
	}()
	var steps []modelStep
	bytes := 0
	for range rapid.IntRange(1, 10).Draw(t, "steps") {
		st := p.step()
		for _, m := range st.msgs {
			b, _ := m.Encode(nil)
			bytes += len(b)
		}
		steps = append(steps, st)
	}
	md.m.span = min(bytes*3/2, 1500)
	for _, st := range steps {
		if pieces {
			md.cut = rapid.IntRange(-3, 3).Draw(t, "cut up")
		}
		md.step(st)
	}
	md.audit(p.next())
	return md
}

// Whatever a replay's server answers, the client gets an answer.
func TestModelOfReplaysThatDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			md := newModel(t)
			md.m.whimsical = true
			md.m.losses = max(1, md.m.losses)
			md.run(&modelProgram{t: t}, true)
		}
	})
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { runModel(t, false, false) })
}
