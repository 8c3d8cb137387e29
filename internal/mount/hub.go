package mount

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

const (
	// hubLinger is how long a hub keeps its upstream when nobody listens any more.
	hubLinger = 10 * time.Second
	// hubPatience is how long a hub waits for an answer before it takes its upstream for lost.
	hubPatience = 10 * time.Second
	// hubPause is how long a hub waits after an upstream that it could not use.
	hubPause = 100 * time.Millisecond
)

// hub receives the notifications of a pool's database for all of its sessions that read them in the same encoding. It has an
// upstream of its own as long as somebody listens, and a goroutine that reads from it, and one that writes to it.
//
// What it says to the server is one statement at a time. When that is answered, the hub has been given all that was notified
// before the statement was sent: a server signals who listens before it answers a commit, and says what it has before it
// answers anything else. All that has to know that, waits for the next answer: a wish.
type hub struct {
	lender   *lender
	encoding string
	own      string // the channel of its marks

	mu      sync.Mutex                // also the owner of up; a Conn's is taken before it, never behind it
	ears    map[string]map[*Conn]bool // channel -> who listens; false: not yet
	marks   map[string]*mark
	counter uint64           // of marks
	senders map[uint32]*Conn // the sessions that listen, by the process IDs of the upstreams that they use
	wishes  []wish           // for the next statement
	sent    []wish           // for the answer to the last one
	sentAt  time.Time
	failed  error               // what the answer says so far
	there   map[string]struct{} // channels that up listens on, or will have been told to
	changed map[string]struct{} // those of which that may not be so
	up      *backend.Upstream   // nil: there is none
	stop    context.CancelCauseFunc
	done    chan struct{} // closed when it does not run; nil: it does not
	kick    chan struct{}
	useless time.Time // since when nobody listens
	refused error     // why there is no upstream; nil: that was not tried, or went well
	retryAt time.Time
}

// wish is something to be done when all has been received that was notified before it was wished for.
type wish struct {
	do func(error) // without a lock held
	// moot says that the loss of the upstream grants it.
	moot bool
}

// mark is a point in the order of notifications, from which on a hub has those of some channels for a session.
type mark struct {
	text     string
	conn     *Conn
	channels []string
	said     bool // the session's upstream has been heard to the end
	lost     bool // the upstream that was to receive it is gone
}

var (
	errClosed  = errors.New("the pool was closed")
	errUseless = errors.New("nobody listens")
	errHubLate = errors.New("there was no other connection to the server in time")
)

func newHub(l *lender, encoding string) *hub {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return &hub{
		lender: l, encoding: encoding, own: "fairlead_" + hex.EncodeToString(id[:]),
		ears: make(map[string]map[*Conn]bool), marks: make(map[string]*mark), senders: make(map[uint32]*Conn), kick: make(chan struct{}, 1),
	}
}

// listen has the hub listen on the channels for a session whose upstream is one to that instance, and returns when it does. Where
// there was no upstream to be had, it does not wait for one again.
func (h *hub) listen(ctx context.Context, m *Conn, channels []string, instance string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.lender.pool.login.ConnectTimeout(), errHubLate)
	defer cancel()
	h.mu.Lock()
	if h.refused != nil {
		defer h.mu.Unlock()
		if h.done == nil && time.Now().After(h.retryAt) {
			h.wish(wish{do: func(error) {}})
		}
		return h.refused
	}
	for _, name := range channels {
		h.ear(name, m)
	}
	listens := make(chan error, 1)
	h.wish(wish{do: func(err error) { listens <- err }})
	h.mu.Unlock()
	var err error
	select {
	case err = <-listens:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && (h.up == nil || h.up.Instance.ID != instance) {
		err = fmt.Errorf("it is connected to another instance than %s", instance)
	}
	if err != nil {
		for _, name := range channels {
			h.drop(name, m)
		}
	}
	if h.up == nil {
		h.refused = err
	}
	return err
}

// ear notes that a session listens on a channel, though not yet. mu is held.
func (h *hub) ear(name string, m *Conn) {
	if h.ears[name] == nil {
		h.ears[name] = make(map[*Conn]bool)
		h.changes(name)
	}
	h.ears[name][m] = false
}

// changes notes that the hub listens on a channel, or does not any more. mu is held.
func (h *hub) changes(name string) {
	if h.changed == nil {
		h.changed = make(map[string]struct{})
	}
	h.changed[name] = struct{}{}
}

func (h *hub) drop(name string, m *Conn) {
	if delete(h.ears[name], m); len(h.ears[name]) == 0 {
		delete(h.ears, name)
		h.changes(name)
	}
	if len(h.ears) == 0 {
		h.useless = time.Now()
	}
}

// wish is granted with the answer to the next statement. mu is held.
func (h *hub) wish(w wish) {
	h.wishes = append(h.wishes, w)
	if h.done == nil {
		ctx, stop := context.WithCancelCause(context.Background())
		h.stop, h.done = stop, make(chan struct{})
		go h.run(ctx, h.done)
	}
	h.nudge()
}

func (h *hub) nudge() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// mark begins to give channels of a session's to the hub, which has listened on them for a while. The mark is to be notified on
// the hub's own channel.
func (h *hub) mark(m *Conn, channels []string) *mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counter++
	k := &mark{text: fmt.Sprint(h.counter), conn: m, channels: channels}
	h.marks[k.text] = k
	return k
}

// handed says that the session's upstream has been heard to the mark; not ok, that it was lost before.
func (h *hub) handed(k *mark, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k.said = true
	if ok && !k.lost {
		return // the hub has seen it, or will
	}
	delete(h.marks, k.text)
	h.adopt(k.conn, k.channels)
}

// adopt gives channels to the hub though some notifications may be lost over it. mu is held.
func (h *hub) adopt(m *Conn, channels []string) {
	for _, name := range channels {
		h.ear(name, m)
	}
	h.wish(wish{do: func(err error) {
		if err != nil {
			m.deafen(err)
			return
		}
		h.mu.Lock()
		h.open(m, channels)
		h.mu.Unlock()
		m.missed()
	}})
}

// move is adopt for channels that another hub had.
func (h *hub) move(m *Conn, channels []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.adopt(m, channels)
}

// open lets a session have what comes from now on. mu is held.
func (h *hub) open(m *Conn, channels []string) {
	for _, name := range channels {
		if _, ok := h.ears[name][m]; ok {
			h.ears[name][m] = true
		}
	}
}

// keep forgets the channels of a session's but those; without any, the session.
func (h *hub) keep(m *Conn, channels []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make(map[string]bool, len(channels))
	for _, name := range channels {
		kept[name] = true
	}
	for name, who := range h.ears {
		if _, ok := who[m]; ok && !kept[name] {
			h.drop(name, m)
		}
	}
	if len(channels) > 0 {
		return
	}
	maps.DeleteFunc(h.marks, func(_ string, k *mark) bool { return k.conn == m })
	maps.DeleteFunc(h.senders, func(_ uint32, who *Conn) bool { return who == m })
}

// speaks says that what comes from an upstream is the session's, until silent.
func (h *hub) speaks(m *Conn, pid uint32) {
	h.mu.Lock()
	h.senders[pid] = m
	h.mu.Unlock()
}

// catchUp waits until the hub has received all that was notified before. That it has no upstream is as good: the next one is told
// of what comes later.
func (h *hub) catchUp(ctx context.Context) {
	h.mu.Lock()
	if h.up == nil {
		h.mu.Unlock()
		return
	}
	done := make(chan struct{})
	h.wish(wish{moot: true, do: func(error) { close(done) }})
	h.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// silent says that the session does not use an upstream any more. If that is to wait until the hub has received all that the
// session has notified over it, then is called later, without a lock held, and it is true.
func (h *hub) silent(m *Conn, pid uint32, then func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.senders[pid] != m {
		return false
	}
	if h.up == nil {
		delete(h.senders, pid)
		return false
	}
	h.wish(wish{moot: true, do: func(error) {
		h.mu.Lock()
		if h.senders[pid] == m {
			delete(h.senders, pid)
		}
		h.mu.Unlock()
		then()
	}})
	return true
}

// tidy ends a hub that nobody needs, and has one that is not answered find out.
func (h *hub) tidy(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.done == nil || h.up == nil:
	case len(h.sent) > 0 && now.Sub(h.sentAt) > hubPatience:
		h.up.Kill(fmt.Errorf("the server has not answered for %v", hubPatience))
	case len(h.ears) > 0 || len(h.wishes) > 0 || len(h.sent) > 0:
		if len(h.there) > len(h.ears) && len(h.wishes) == 0 && len(h.sent) == 0 {
			h.wish(wish{do: func(error) {}, moot: true}) // UNLISTEN
		}
	case now.Sub(h.useless) > hubLinger:
		h.stop(errUseless)
	}
}

// recheck has the hub ask its server for nothing, so that it finds out whether that is there.
func (h *hub) recheck() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up != nil && len(h.sent) == 0 {
		h.wish(wish{moot: true, do: func(error) {}})
	}
}

// end closes the hub and waits for its goroutines.
func (h *hub) end() {
	h.mu.Lock()
	done := h.done
	if done != nil {
		h.stop(errClosed)
	}
	h.mu.Unlock()
	if done != nil {
		<-done
	}
}

// connected reports whether the hub has an upstream.
func (h *hub) connected() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up != nil
}

// run has an upstream until nobody needs one any more, or none can be had.
func (h *hub) run(ctx context.Context, done chan struct{}) {
	if p := h.lender.pool.guard("notifications", func() { h.runUntil(ctx, done) }); p != nil {
		h.giveUp(p, done)
	}
}

func (h *hub) runUntil(ctx context.Context, done chan struct{}) {
	var ticket topology.Ticket
	for again := false; ; again = true {
		up, err := h.connect(ctx, ticket, again)
		if err != nil {
			h.giveUp(err, done)
			return
		}
		if again {
			h.resumed()
		}
		err = h.serve(ctx, up)
		if ended := context.Cause(ctx); ended != nil {
			h.giveUp(ended, done)
			return
		}
		ticket = 0
		if up.Killed() == nil {
			ticket = h.lender.pool.login.Cluster.Suspect(up.Instance.ID, err)
		}
	}
}

// connect logs in, and listens on what there is to be listened on.
func (h *hub) connect(ctx context.Context, ticket topology.Ticket, again bool) (*backend.Upstream, error) {
	p := h.lender.pool
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.FailoverTimeout, errTimeout)
	defer cancel()
	p.watch()
	for {
		up, err := p.login.Connect(ctx, ticket, &h.mu)
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		h.there, h.changed = make(map[string]struct{}), make(map[string]struct{})
		for name := range h.ears {
			h.changed[name] = struct{}{}
		}
		listen := hubTag + "LISTEN " + h.own + ";" + h.difference()
		h.mu.Unlock()
		if _, err = up.Query(ctx, hubTag+"SET client_encoding TO "+session.Quote(h.encoding)+"; SET search_path TO pg_catalog"); err == nil {
			_, err = up.Query(ctx, listen)
		}
		if err == nil {
			_ = up.Asides() // nobody has been promised them
			h.mu.Lock()
			h.up, h.refused, h.useless = up, nil, time.Now()
			h.mu.Unlock()
			return up, nil
		}
		up.Close(true)
		var pg *pgconn.PgError
		if refused := errors.As(err, &pg); ctx.Err() != nil || refused && !again {
			return nil, err
		}
		ticket = p.login.Cluster.Suspect(up.Instance.ID, err)
		select {
		case <-time.After(hubPause):
		case <-ctx.Done():
		}
	}
}

// hubTag marks statements of the hub's in logs.
const hubTag = "/* fairlead */ "

// difference is SQL that has the upstream listen on what there is to be listened on, and nothing else. mu is held.
func (h *hub) difference() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h.changed)) {
		_, wanted := h.ears[name]
		_, there := h.there[name]
		switch {
		case wanted && !there:
			b.WriteString("LISTEN " + session.QuoteIdentifier(name) + ";")
			h.there[name] = struct{}{}
		case there && !wanted:
			b.WriteString("UNLISTEN " + session.QuoteIdentifier(name) + ";")
			delete(h.there, name)
		}
	}
	clear(h.changed)
	return b.String()
}

// resumed tells those who listen that the upstream is another one, which has not heard what was notified in between.
func (h *hub) resumed() {
	h.mu.Lock()
	who := make(map[*Conn]struct{})
	for text, k := range h.marks {
		if k.lost = true; k.said {
			delete(h.marks, text)
			h.open(k.conn, k.channels)
		}
	}
	for _, conns := range h.ears {
		for m, open := range conns {
			if open {
				who[m] = struct{}{}
			}
		}
	}
	h.mu.Unlock()
	for m := range who {
		m.missed()
	}
}

// giveUp is the end of run: no upstream can be had, or none is needed.
func (h *hub) giveUp(err error, done chan struct{}) {
	h.mu.Lock()
	if errors.Is(err, errUseless) {
		if len(h.ears) > 0 || len(h.wishes) > 0 { // somebody has come meanwhile
			ctx, stop := context.WithCancelCause(context.Background())
			h.stop = stop
			go h.run(ctx, done)
			h.mu.Unlock()
			return
		}
	} else {
		h.refused, h.retryAt = err, time.Now().Add(janitorial)
	}
	wishes := append(h.sent, h.wishes...)
	deaf := make(map[*Conn]struct{})
	for _, conns := range h.ears {
		for m, open := range conns {
			if open {
				deaf[m] = struct{}{}
			}
		}
	}
	for _, k := range h.marks {
		if k.said {
			deaf[k.conn] = struct{}{}
		}
		k.lost = true
	}
	clear(h.ears)
	clear(h.changed)
	clear(h.marks)
	clear(h.senders)
	h.stop(err)
	h.sent, h.wishes, h.there, h.done, h.stop = nil, nil, nil, nil, nil
	h.mu.Unlock()
	h.grant(wishes, err)
	for m := range deaf {
		h.lender.pool.guard("end of notifications", func() { m.deafen(err) })
	}
	close(done)
}

// grant does what was wished for, each on its own: one that fails leaves the others.
func (h *hub) grant(wishes []wish, err error) {
	for _, w := range wishes {
		h.lender.pool.guard("what waits for notifications", func() { w.do(err) })
	}
}
