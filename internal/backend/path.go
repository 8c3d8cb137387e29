package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/topology"
)

// A path can swallow what is sent over a connection and say nothing, as a firewall or a NAT gateway does that has forgotten it. The
// instance lives then, and answers everybody else, so that nothing is suspected of it. Whether a path is dead is decided by what
// the instance says over another connection, which proves that it lives, and
//   - by TCP: what was sent over the old one was sent again and again and is not acknowledged; or
//   - by the server process at the other end: it is idle, and stays as it is, while it has a request to answer.
//
// A statement that takes long is acknowledged, and its server process is active: it is left alone.

const (
	// pathAfter is how many ticks work may be unanswered until its path is looked at, and how long two looks must agree that are to
	// decide without TCP.
	pathAfter = 6
	// pathPartly is the same where a part of the answer has come: the rest may be late.
	pathPartly = 40
	// pathSlow is the first pause, in ticks, between two looks at a server process that works, and pathSlowest the longest.
	pathSlow, pathSlowest = 20, 40
	// pathRate is how many bytes a tick a connection is expected to carry at least: so much longer a large statement may be on its way.
	pathRate = 4 << 10
	// pathRetransmits is how often TCP must have sent the same in vain.
	pathRetransmits = 2
	// pathAsk bounds a question about server processes, pathAgain one over a connection that was open before, which may be on a dead
	// path too, and pathIdle is how long that stays open.
	pathAsk, pathAgain, pathIdle = time.Second, 250 * time.Millisecond, 3 * time.Second
)

// ErrPath is why an Upstream was closed whose path was dead.
var ErrPath = errors.New("the path to the server swallows what is sent")

// path is what was found of an upstream's path while work was unanswered; guarded by the owner's lock.
type path struct {
	heard uint32 // when the server was last heard of: what is here is void when that changes
	next  uint32 // tick of the next look; 0: none has been planned
	gap   uint32
	seen  look
}

// look is what the instance said of an upstream's server process.
type look struct {
	at, reading uint32 // ticks: of the look, and since when an answer is waited for
	known       bool   // the instance tells of its server processes
	missing     bool   // there is no such process
	idle        bool   // it waits for its client
	stuck       bool   // it has an answer, which its client does not take
	took        time.Duration
	change      string // when it last changed its state, in the server's words
}

// due reports whether an upstream with unanswered work is to be looked at now. The owner's lock is held.
func (p *path) due(u *Upstream, now uint32) bool {
	if now-u.heard < pathAfter {
		return false
	}
	reading, writing := u.reading.Load(), u.writing.Load()
	if (reading == 0 || now-reading < pathAfter) && (writing == 0 || now-writing < pathAfter) {
		return false // nobody waits for it, so that nothing tells whether there is an answer
	}
	if !u.owes && tcpFactsOf(rawConn(u.conn)).unacknowledged == 0 {
		return false // it has taken all that it was sent, and waits for more
	}
	if p.next == 0 || p.heard != u.heard {
		*p = path{heard: u.heard, next: now}
	}
	if int32(now-p.next) < 0 {
		return false
	}
	p.next = now + pathAfter
	return true
}

// pathfinder looks at the paths of a registry's upstreams, over a connection for each instance and login that is open as long as there is
// anything to look at.
type pathfinder struct {
	registry *Registry
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu   sync.Mutex
	open map[pathKey]chan []*Upstream
}

type pathKey struct {
	login    *Login
	instance string
}

func (f *pathfinder) begin(r *Registry) {
	f.registry = r
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.open = make(map[pathKey]chan []*Upstream)
}

func (f *pathfinder) end() {
	f.cancel()
	f.running.Wait()
}

// examine has upstreams looked at. One whose examiner is busy comes again.
func (f *pathfinder) examine(list []*Upstream) {
	groups := make(map[pathKey][]*Upstream)
	for _, u := range list {
		key := pathKey{u.login, u.Instance.ID}
		groups[key] = append(groups[key], u)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, group := range groups {
		work := f.open[key]
		if work == nil {
			work = make(chan []*Upstream, 1)
			f.open[key] = work
			f.running.Go(func() { f.run(key, work) })
		}
		select {
		case work <- group:
		default:
		}
	}
}

func (f *pathfinder) run(key pathKey, work chan []*Upstream) {
	x := &examiner{login: key.login, registry: f.registry}
	defer x.close()
	idle := time.NewTimer(pathIdle)
	defer idle.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case group := <-work:
			if p := contain.Run(func() { x.examine(f.ctx, group) }); p != nil {
				p.Log(f.registry.Logger, "examination of paths")
			}
			idle.Reset(pathIdle)
		case <-idle.C:
			f.mu.Lock()
			if len(work) == 0 {
				delete(f.open, key)
				f.mu.Unlock()
				return
			}
			f.mu.Unlock()
			idle.Reset(pathIdle)
		}
	}
}

// examiner asks one instance about its server processes.
type examiner struct {
	login    *Login
	registry *Registry
	conn     *pgconn.PgConn // nil: not logged in
	genuine  bool           // the process IDs that it tells are the server's own
}

func (x *examiner) close() {
	if x.conn != nil {
		drop(x.conn)
		x.conn = nil
	}
}

// examine looks at upstreams to one instance, and closes those whose path is dead. An instance that does not answer is not this one's
// affair.
func (x *examiner) examine(ctx context.Context, group []*Upstream) {
	in := group[0].Instance
	patience, kept := pathAsk, x.conn != nil
	if kept {
		patience = pathAgain
	}
	begun := time.Now()
	looks, err := x.ask(ctx, in, group, patience)
	if err != nil && kept {
		looks, err = x.ask(ctx, in, group, pathAsk)
	}
	if err != nil {
		return
	}
	for i, u := range group {
		looks[i].took = time.Since(begun)
		if why := x.registry.judge(u, looks[i]); why != nil {
			u.Kill(why)
			x.registry.doubtAll(in.ID)
		}
	}
}

// judge takes in a look at an upstream, at an instance that lives, and says why its path is dead, nil when that is not certain.
func (r *Registry) judge(u *Upstream, now look) error {
	owner := r.ownerOf(u)
	owner.Lock()
	defer owner.Unlock()
	p := &u.path
	if !u.waiting || p.heard != u.heard || u.Killed() != nil {
		return nil // it has answered meanwhile
	}
	now.at, now.reading = r.tick.Load(), u.reading.Load()
	tcp := tcpFactsOf(rawConn(u.conn))
	switch {
	case tcp.unacknowledged > 0 && tcp.retransmits >= pathRetransmits:
		return fmt.Errorf("%w: %s answers others, and does not acknowledge what was sent over this connection", ErrPath, u.Instance.ID)
	case tcp.unacknowledged > 0 || now.reading == 0 || !now.known || !u.owes:
		return nil
	case !now.idle && !now.missing && !now.stuck:
		p.seen = look{}
		p.gap = min(max(pathSlow, 2*p.gap), pathSlowest)
		p.next = now.at + p.gap
		return nil
	case !p.seen.agrees(now):
		p.seen = now
		return nil
	case now.at-p.seen.at < u.patience(p.seen, now):
		return nil
	case now.missing:
		return fmt.Errorf("%w: %s answers others, and its process %d is gone", ErrPath, u.Instance.ID, u.PID)
	case now.stuck:
		return fmt.Errorf("%w: %s answers others, and what its process %d has sent does not come", ErrPath, u.Instance.ID, u.PID)
	}
	return fmt.Errorf("%w: %s answers others, and its process %d has nothing to do", ErrPath, u.Instance.ID, u.PID)
}

// agrees reports whether nothing has changed between two looks, and somebody has waited all the time.
func (l look) agrees(with look) bool {
	return l.reading != 0 && l.reading == with.reading && l.idle == with.idle && l.stuck == with.stuck && l.missing == with.missing && l.change == with.change
}

// patience is how many ticks two looks must be apart to decide: more of them where a part of the answer has come, where the instance is
// slow or far away, and where much was sent that may be on its way. The owner's lock is held.
func (u *Upstream) patience(looks ...look) uint32 {
	ticks := uint32(pathAfter - 1)
	if u.heard != u.begun || looks[0].stuck {
		ticks = pathPartly
	}
	for _, l := range looks {
		ticks = max(ticks, uint32(2*l.took/pulse))
	}
	return ticks + uint32(min((u.sent.Load()-u.sentBefore)/pathRate, 1<<20))
}

// doubtAll marks the upstreams to an instance that were silent while the path of another was found dead.
func (r *Registry) doubtAll(instance string) {
	now := r.tick.Load()
	r.mu.Lock()
	var list []watched
	for u := range r.upstreams {
		if u.Instance.ID == instance && u.Killed() == nil {
			list = append(list, watched{u, u.owner})
		}
	}
	r.mu.Unlock()
	for _, w := range list {
		if !tryLock(w.owner) {
			continue // it is busy, and finds out itself
		}
		if r.ownerOf(w.upstream) == w.owner && now-w.upstream.heard > 2*pathAfter {
			w.upstream.doubt.Store(true)
		}
		w.owner.Unlock()
	}
}

// ask returns what the instance says of the server processes of upstreams.
func (x *examiner) ask(ctx context.Context, in topology.Instance, group []*Upstream, patience time.Duration) (looks []look, err error) {
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	if err := x.logIn(ctx, in); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer endWith(ctx, x.conn)()
	results, err := x.conn.Exec(ctx, processes(group)).ReadAll()
	if err != nil {
		return nil, err
	}
	looks = make([]look, len(group))
	if len(results) == 0 {
		return looks, nil
	}
	found := make(map[uint32]process)
	for _, row := range results[0].Rows {
		if pid, p, ok := readProcess(row); ok {
			found[pid] = p
		}
	}
	known := x.login.Cluster.Snapshot().Kind != topology.KindNone
	for i, u := range group {
		switch p, ok := found[u.PID]; {
		case ok && p.serves(u):
			looks[i] = look{known: p.state != "" && p.change != "", idle: p.idle(), stuck: p.stuck(), change: p.change}
		default:
			looks[i] = look{known: known && x.genuine, missing: true}
		}
	}
	return looks, nil
}

// logIn opens the connection, if it is not open.
func (x *examiner) logIn(ctx context.Context, in topology.Instance) error {
	if x.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.login.ConnectTimeout())
	defer cancel()
	cfg := x.login.config(in.Endpoint, in.Addrs)
	cfg.RuntimeParams = map[string]string{"application_name": "fairlead-path", "search_path": "pg_catalog"}
	conn, err := x.login.enter(ctx, cfg)
	if err != nil {
		return err
	}
	x.conn = conn
	defer endWith(ctx, conn)()
	results, err := conn.Exec(ctx, "select pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil {
		return err
	}
	x.genuine = len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) == fmt.Sprint(conn.PID())
	return nil
}
