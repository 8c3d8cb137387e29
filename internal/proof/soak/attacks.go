package soak

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Attacks returns the names of all kinds of attack, sorted.
func Attacks() []string { return slices.Sorted(maps.Keys(attacks)) }

var attacks = map[string]func(*attacker, context.Context) error{
	"abandoned statement":   (*attacker).abandonStatement,
	"abandoned transaction": (*attacker).abandonTransaction,
	"cancel requests":       (*attacker).cancelRequests,
	"copy":                  (*attacker).copyIn,
	"half message":          (*attacker).halfMessage,
	"hoard":                 (*attacker).hoard,
	"idle transaction":      (*attacker).idleTransaction,
	"malformed message":     (*attacker).malformed,
	"malformed startup":     (*attacker).malformedStartup,
	"own backend":           (*attacker).endBackend,
	"pipeline":              (*attacker).pipeline,
	"skipped pipeline":      (*attacker).skipped,
	"slow login":            (*attacker).slowLogin,
	"slow statement":        (*attacker).slowStatement,
	"state":                 (*attacker).leaveState,
	"ten bytes":             (*attacker).tenBytes,
	"trickle":               (*attacker).trickle,
	"unread answers":        (*attacker).unread,
}

func (a *attacker) tenBytes(context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	kind := "PBDCEQFfdp"[a.random.IntN(10)]
	return errors.Join(a.send(message(kind, nil), syncMessage), a.ready())
}

// malformed changes well-formed messages in one place each.
func (a *attacker) malformed(context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	for range 20 {
		if err := a.send(a.mutate(a.wellFormed()), syncMessage); err != nil {
			return err
		}
		a.drain(20 * time.Millisecond)
	}
	return nil
}

func (a *attacker) wellFormed() []byte {
	messages := [][]byte{
		query("select 1"), parse("s", "select $1::int"), bind("p", "s"), execute("p"), syncMessage, message('D', []byte("Ss\x00")),
		message('C', []byte("Pp\x00")), message('H', nil), message('d', []byte("1\n")), message('c', nil), message('f', []byte("no\x00")),
		message('F', []byte{0, 0, 4, 210, 0, 0, 0, 0, 0, 0}), message('p', []byte("secret\x00")), message('B', []byte("\x00s\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x04\x00\x00\x00\x07\x00\x00")),
	}
	return messages[a.random.IntN(len(messages))]
}

func (a *attacker) mutate(msg []byte) []byte {
	msg = bytes.Clone(msg)
	body := len(msg) - 5
	switch a.random.IntN(7) {
	case 0:
		return message(msg[0], msg[5:5+a.random.IntN(body+1)]) // short
	case 1:
		return message(msg[0], append(msg[5:], make([]byte, 1+a.random.IntN(8))...)) // overlong
	case 2:
		msg[0] = byte(a.random.IntN(256))
	case 3:
		binary.BigEndian.PutUint32(msg[1:], a.random.Uint32()>>a.random.IntN(32)) // another length
	case 4:
		if body > 0 {
			msg[5+a.random.IntN(body)] = byte(a.random.IntN(256))
		}
	case 5:
		return message(msg[0], bytes.ReplaceAll(msg[5:], []byte{0}, []byte{0xff})) // no terminator, huge counts
	case 6:
		return message(msg[0], nil)
	}
	return msg
}

func (a *attacker) malformedStartup(context.Context) error {
	b := make([]byte, a.random.IntN(200))
	for i := range b {
		b[i] = byte(a.random.IntN(256))
	}
	switch a.random.IntN(4) {
	case 0: // any bytes
	case 1:
		b = binary.BigEndian.AppendUint32(nil, a.random.Uint32()>>a.random.IntN(32))
		b = append(b, 0, 3, 0, 0)
	case 2:
		b = fmt.Appendf(nil, "\x00\x00\x00\x26\x00\x03\x00\x00user\x00app\x00database\x00%s", strings.Repeat("x", a.random.IntN(20)))
	case 3:
		b = fmt.Appendf(nil, "\x00\x00\x00\x2d\x00\x03\x00\x00user\x00app\x00options\x00-c %s=1\x00\x00", strings.Repeat("x", 10))
	}
	if err := a.send(b); err != nil {
		return err
	}
	a.drain(100 * time.Millisecond)
	return nil
}

func (a *attacker) slowLogin(ctx context.Context) error {
	whole := []byte("\x00\x00\x00\x22\x00\x03\x00\x00user\x00app\x00database\x00app\x00\x00")
	for _, c := range whole {
		if err := a.send([]byte{c}); err != nil {
			return err
		}
		a.linger(ctx, 200*time.Millisecond)
	}
	return nil
}

func (a *attacker) halfMessage(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	kind := "QPBd"[a.random.IntN(4)]
	sent := []int{10, 1000, 70_000, 300_000}[a.random.IntN(4)]
	head := binary.BigEndian.AppendUint32([]byte{kind}, 1<<20)
	if err := a.send(head, []byte("\x00\x00select 1"), bytes.Repeat([]byte(" "), sent)); err != nil {
		return err
	}
	a.linger(ctx, 5*time.Second)
	return nil
}

func (a *attacker) trickle(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32([]byte{'Q'}, 1<<20)
	if err := a.send(head, []byte("select 1"), bytes.Repeat([]byte(" "), 66_000)); err != nil {
		return err
	}
	for range 100 {
		if err := a.send([]byte(" ")); err != nil || ctx.Err() != nil {
			return err
		}
		a.linger(ctx, 100*time.Millisecond)
	}
	return nil
}

// hoard has the pooler keep things, of one kind.
func (a *attacker) hoard(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	filler := strings.Repeat("x", 1+a.random.IntN(30_000))
	kind := a.random.IntN(6)
	if kind == 4 {
		if err := a.query("begin"); err != nil {
			return err
		}
	}
	for i, begun := 0, time.Now(); i < 500 && time.Since(begun) < 10*time.Second; i++ {
		var err error
		switch kind {
		case 0:
			err = errors.Join(a.send(parse(fmt.Sprint("s", i), "select 1 /* "+filler+" */"), syncMessage), a.ready())
		case 1:
			err = a.query(fmt.Sprintf("set app.x%d = '%s'", i, filler))
		case 2:
			err = a.query(fmt.Sprint("listen ch", i))
		case 3:
			err = a.send(message('C', []byte(fmt.Sprintf("Sn%d%s\x00", i, filler))))
		case 4:
			err = a.query(fmt.Sprint("savepoint s", i))
		case 5:
			err = a.query(fmt.Sprintf("prepare q%d as select '%s'", i, filler))
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// pipeline sends without end and without a Sync.
func (a *attacker) pipeline(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	go a.drain(patience)
	for i := range 3000 {
		if err := a.send(parse(fmt.Sprint("n", i), fmt.Sprint("select ", i)), bind(fmt.Sprint("p", i), fmt.Sprint("n", i))); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// skipped sends what a server skips, without end.
func (a *attacker) skipped(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	if err := a.send(parse("", "select 1/0"), bind("", ""), execute("")); err != nil {
		return err
	}
	more := bytes.Repeat(slices.Concat(parse("a", "select 1"), bind("", "a"), execute("")), 200)
	for range 500 {
		if err := a.send(more); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// unread sends statements and reads no answer.
func (a *attacker) unread(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	more := bytes.Repeat(query("select repeat('x', 10000)"), 50)
	for range 1000 {
		if err := a.send(more); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (a *attacker) idleTransaction(ctx context.Context) error {
	if err := errors.Join(a.login(), a.query("begin"), a.query("insert into loot values ('idle')")); err != nil {
		return err
	}
	a.linger(ctx, 2*idleTransaction)
	return nil
}

func (a *attacker) abandonTransaction(context.Context) error {
	return errors.Join(a.login(), a.query("begin"), a.query("insert into loot values ('left')"))
}

func (a *attacker) abandonStatement(ctx context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	filler := strings.Repeat(" ", []int{0, 20_000, 100_000, 300_000}[a.random.IntN(4)])
	if err := a.send(query("select pg_sleep(100)" + filler)); err != nil {
		return err
	}
	a.linger(ctx, 100*time.Millisecond)
	return nil
}

func (a *attacker) slowStatement(context.Context) error {
	return errors.Join(a.login(), a.query("select pg_sleep(100)"))
}

// leaveState leaves in the session what another client must not meet.
func (a *attacker) leaveState(context.Context) error {
	if err := a.login(); err != nil {
		return err
	}
	statements := []string{
		"set search_path = nowhere", "set app.tenant = 'stolen'", "select set_config('app.tenant', 'stolen', false)", "set statement_timeout = 1",
		"create temp table account (id int)", "prepare stmtcache_1 as select 'stolen'", "select pg_advisory_lock(1)", "listen everything",
		"set session characteristics as transaction read only", "set role pg_monitor", "do $$ begin perform set_config('app.tenant', 'stolen', false); end $$",
		"begin; declare c cursor with hold for select 1; commit", "set client_encoding = 'latin1'", "set standard_conforming_strings = off",
		"set app.tenant = 'stolen'; select '" + strings.Repeat("x", 100_000) + "'",
		"select '" + strings.Repeat("x", 100_000) + "'; set search_path = nowhere",
	}
	for range 3 {
		if err := a.query(statements[a.random.IntN(len(statements))]); err != nil {
			return err
		}
	}
	return nil
}

func (a *attacker) endBackend(context.Context) error {
	return errors.Join(a.login(), a.query("select pg_terminate_backend(pg_backend_pid())"), a.query("select 1"))
}

func (a *attacker) copyIn(context.Context) error {
	if err := errors.Join(a.login(), a.send(query("copy loot from stdin"))); err != nil {
		return err
	}
	data := message('d', bytes.Repeat([]byte("loot\n"), 1000))
	for range a.random.IntN(300) {
		if err := a.send(data); err != nil {
			return err
		}
	}
	switch a.random.IntN(4) {
	case 0:
		return errors.Join(a.send(message('f', []byte("no\x00"))), a.ready())
	case 1:
		return a.query("select 1") // within COPY
	case 2:
		return a.send(message('c', nil), message('c', nil), syncMessage, message('d', nil))
	}
	return nil
}

// cancelRequests guesses keys.
func (a *attacker) cancelRequests(context.Context) error {
	b := []byte{0, 0, 0, 16, 4, 210, 22, 46}
	for range 8 {
		b = append(b, byte(a.random.IntN(256)))
	}
	if err := a.send(b); err != nil {
		return err
	}
	a.drain(50 * time.Millisecond)
	return nil
}
