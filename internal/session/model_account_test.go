package session

import (
	"strings"

	"github.com/fairlead-go/fairlead/internal/wire"
)

// What the client may conclude from what it was told.

func (c *modelClient) ack(ids []int) {
	for _, id := range ids {
		if c.refused[id] || c.unknown[id] {
			c.fail("row %d was acknowledged after it was refused", id)
		}
		c.acked[id] = true
	}
}

func (c *modelClient) refuse(ids []int) {
	for _, id := range ids {
		if c.acked[id] {
			c.fail("row %d was refused after it was acknowledged", id)
		}
		c.refused[id] = true
	}
}

func (c *modelClient) doubt(ids []int) {
	for _, id := range ids {
		if c.acked[id] {
			c.fail("row %d is said to be in doubt after it was acknowledged", id)
		}
		c.unknown[id] = true
	}
}

// commit is a commit that the client knows of.
func (c *modelClient) commit() {
	c.ack(c.cur)
	c.base = c.set.sess
	c.reset()
}

func (c *modelClient) rollback() {
	c.refuse(c.cur)
	c.reset()
}

// undecided is a commit of which the client knows that nobody knows.
func (c *modelClient) undecided() {
	c.doubt(c.cur)
	for _, m := range []map[string]string{c.set.sess, c.base} {
		for name := range m {
			if c.set.sess[name] != c.base[name] {
				c.vague[name] = true
			}
		}
	}
	c.reset()
}

// done is a CommandComplete.
func (c *modelClient) done(text, tag string) {
	want := func(tags ...string) {
		for _, w := range tags {
			if w == tag {
				return
			}
		}
		c.fail("%q was answered with the tag %q", text, tag)
	}
	word, rest, _ := strings.Cut(text, " ")
	exit := word == "commit" || word == "rollback"
	if c.lost && text != "rollback" {
		c.insist("%q was answered with %q in a transaction that is lost", text, tag)
	}
	if c.failed && !exit {
		c.fail("%q succeeded in a failed transaction", text)
	}
	c.cur = append(c.cur, idsOf(text)...)
	switch word {
	case "begin":
		want("BEGIN")
		c.opened = c.opened || !c.block
		c.block = true
	case "commit":
		if c.failed {
			want("ROLLBACK")
			c.rollback()
		} else {
			want("COMMIT")
			c.commit()
		}
		c.failed = false
		c.block = rest == "and chain"
		clear(c.portals)
	case "rollback":
		want("ROLLBACK")
		name, to := strings.CutPrefix(rest, "to ")
		if to {
			c.rollbackTo(name)
			return
		}
		c.rollback()
		c.failed, c.lost = false, false
		c.block = rest == "and chain"
		clear(c.portals)
	case "savepoint":
		want("SAVEPOINT")
		s := c.set.clone()
		s.ids = append([]int(nil), c.cur...)
		c.points = append(c.points, simSavepoint{rest, s})
	case "release":
		want("RELEASE")
		for i := len(c.points) - 1; i >= 0; i-- {
			if c.points[i].name == rest {
				c.points = c.points[:i]
				break
			}
		}
	case "insert":
		want("INSERT 0 1")
	case "create":
		want("CREATE TABLE")
	case "select":
		if !strings.HasPrefix(tag, "SELECT ") {
			want("SELECT")
		}
	case "show":
		want("SHOW")
	case "set":
		want("SET")
		c.setting(rest)
	case "reset":
		want("RESET")
		c.set.sess[rest] = ""
		delete(c.set.local, rest)
		delete(c.vague, rest)
	case "prepare":
		want("PREPARE")
		name, as, _ := strings.Cut(rest, " as ")
		c.prepared[name] = as
		delete(c.blurred, name)
	case "execute":
		want("INSERT 0 1", "SELECT 1")
	case "deallocate":
		if rest == "all" {
			want("DEALLOCATE ALL")
			c.dropAll()
		} else {
			want("DEALLOCATE")
			delete(c.prepared, rest)
			delete(c.blurred, rest)
		}
	case "discard":
		want("DISCARD ALL")
		c.dropAll()
		clear(c.set.sess)
		clear(c.set.local)
		clear(c.vague)
	case "copy":
		want("COPY 1")
		c.copying = false
	default:
		c.fail("%q succeeded", text)
	}
}

func (c *modelClient) dropAll() {
	unnamed, ok := c.prepared[""]
	clear(c.prepared)
	if ok {
		c.prepared[""] = unnamed
	}
}

func (c *modelClient) setting(rest string) {
	rest, local := strings.CutPrefix(rest, "local ")
	name, v, _ := strings.Cut(rest, " = ")
	v = strings.Trim(v, "'")
	if !local {
		c.set.sess[name] = v
		delete(c.set.local, name)
		return
	}
	if c.block || c.head().kind == wire.Query && len(c.head().list) > 1 {
		c.set.local[name] = v
	}
}

func (c *modelClient) rollbackTo(name string) {
	for i := len(c.points) - 1; i >= 0; i-- {
		if c.points[i].name != name {
			continue
		}
		kept := map[int]bool{}
		for _, id := range c.points[i].state.ids {
			kept[id] = true
		}
		for _, id := range c.cur {
			if !kept[id] {
				c.refuse([]int{id})
			}
		}
		s := c.points[i].state.clone()
		c.cur, c.set = s.ids, s
		c.points = c.points[:i+1]
		c.failed = false
		return
	}
	c.fail("ROLLBACK TO %s succeeded without such a savepoint", name)
}

// commits reports whether what is in flight of the segment may have been committed.
func (c *modelClient) commits() bool {
	block := c.block
	dirty := len(c.cur) > 0
	for _, text := range c.ahead() {
		word, rest, _ := strings.Cut(text, " ")
		switch {
		case text == "": // of which nobody knows what it was
			return true
		case word == "commit" && !c.failed:
			return true
		case word == "begin":
			block = true
		case word == "rollback" && !strings.HasPrefix(rest, "to"):
			block = false
		}
		// What is no read of a known kind may have had an effect.
		if len(idsOf(text)) > 0 || word == "execute" || word == "select" && (strings.Contains(text, "nextval") || strings.Contains(text, "f(")) ||
			word == "copy" || word == "prepare" || word == "bogus" {
			dirty = true
		}
	}
	if !block && dirty && c.endInSight() {
		return true
	}
	// A transaction is in doubt from its first change on that was not answered.
	for _, r := range c.queue {
		if block && r.kind == wire.Query && strings.Contains(strings.Join(r.list, ";"), "commit") {
			return true
		}
		if p := c.portals[r.port]; block && r.kind == wire.Execute && (p == nil || p.text == "") {
			return true
		}
		if _, ok := c.prepared[r.name]; block && r.kind == wire.Bind && !ok {
			return true
		}
		if p := c.portals[r.port]; block && (p != nil && strings.HasPrefix(p.text, "commit") || r.kind == wire.Parse && strings.HasPrefix(r.text, "commit")) {
			return true
		}
	}
	return false
}

// error is an ErrorResponse.
func (c *modelClient) error(e wire.Error, h *modelRequest) {
	c.codes[e.Code]++
	if len(c.queue) == 0 {
		c.fail("the client got %s %s, and has asked for nothing", e.Severity, e.Code)
	}
	if e.Severity != "ERROR" {
		c.fail("the client got %s %s %s", e.Severity, e.Code, e.Message)
	}
	// A write that is committed by its Query is answered before it is committed, where its commit can be decided.
	wrapped := len(h.list) == 1 && !c.block
	if h.kind == wire.Query && h.at >= len(h.list) && len(h.list) > 0 && !wrapped {
		c.forgive("an error behind a tag")
		c.fail("the client got %s after everything of its Query was answered", e.Code)
	}
	if h.bad && e.Code == "42601" {
		c.fail("malformed, and answered with %s: %v", e.Code, h)
	}
	if c.lost && e.Code != CodeSerialization && !h.bad {
		c.insist("the client got %s in a transaction that is lost", e.Code)
	}
	c.errored = e.Code
	c.copying = false
	ours := strings.HasPrefix(e.Message, "fairlead:")
	could := c.commits()
	var attempted []int
	for _, text := range c.ahead() {
		attempted = append(attempted, idsOf(text)...)
		c.ending = c.ending || exits(text) && !strings.Contains(text, " to ")
	}
	c.blur(h, ours && e.Code == CodeUndecided)
	if h.kind == wire.Query {
		h.at = len(h.list)
		c.skip = true
	} else {
		for len(c.queue) > 0 && c.queue[0].kind != wire.Sync {
			c.pop()
		}
		c.skip = true
	}
	switch {
	case ours && strings.Contains(e.Message, "was committed"):
		c.cur = append(c.cur, attempted...)
		c.commit()
		c.errored = "committed"
	case ours && e.Code == CodeUndecided:
		for _, r := range c.queue {
			r.after = true
		}
		if !could && !h.after && !c.limited {
			if len(c.queue) > 1 {
				c.forgive("an undecided pipeline")
			}
			c.fail("the client got 08007, and nothing that commits was in flight")
		}
		c.cur = append(c.cur, attempted...)
		c.undecided()
		c.ending = true
	case c.block:
		c.refuse(attempted)
		c.failed = true
		c.lost = c.lost || ours && e.Code == CodeSerialization
	default:
		c.refuse(attempted)
		c.rollback()
	}
}

// blur forgets about statements that the part of the segment that failed may have made or dropped.
func (c *modelClient) blur(h *modelRequest, all bool) {
	for i, r := range c.queue {
		if i > 0 && !all || r.kind == wire.Sync {
			break
		}
		switch {
		case r.kind == wire.Parse && (all || r.name == ""), r.kind == wire.Close && all:
			c.blurred[r.name] = true
		case r.kind == wire.Query && all:
			for _, text := range r.list {
				if f := strings.Fields(text); f[0] == "prepare" || f[0] == "deallocate" {
					c.blurred[f[1]] = true
				}
			}
			return
		}
	}
}

// ready is a ReadyForQuery.
func (c *modelClient) ready(h *modelRequest, status byte) {
	c.zs++
	switch {
	case h.kind != wire.Query && h.kind != wire.Sync:
		c.fail("the client got a ReadyForQuery that it did not ask for (%v)", h)
		return
	case h.kind == wire.Query && h.at < len(h.list):
		c.fail("the client got ReadyForQuery, and %q was not answered", h.list[h.at])
	}
	c.pop()
	c.skip = false
	switch status {
	case wire.StatusIdle:
		switch {
		case !c.block:
			c.commit()
		case c.errored == "":
			c.fail("ReadyForQuery I in a transaction that nothing ended")
		case c.opened, c.ending:
			c.rollback() // an error of COMMIT; what is undecided is not among it any more
		default:
			c.forgive("a transaction ends with an error")
			c.fail("ReadyForQuery I after an error %s that did not end the transaction", c.errored)
			c.rollback()
		}
		c.block, c.failed, c.lost = false, false, false
		clear(c.portals)
	case wire.StatusTransaction:
		if !c.block || c.failed {
			c.fail("ReadyForQuery T (in a block: %t, failed: %t)", c.block, c.failed)
		}
	case wire.StatusFailed:
		if !c.block || !c.failed {
			c.fail("ReadyForQuery E (in a block: %t, failed: %t)", c.block, c.failed)
		}
	}
	c.errored, c.opened, c.ending = "", false, false
	if h.kind == wire.Query {
		delete(c.prepared, "")
	}
}
