package mount

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

// Lending says how the sessions of a Pool share upstreams.
type Lending struct {
	// Max bounds the upstreams of the pool; MinIdle are kept open though nobody needs them.
	Max, MinIdle int
	// Quota bounds them together with those of other pools; nil: nothing does. It never changes.
	Quota *Quota
	// InitQuery is SQL that is run on each upstream before anything else. The settings that it makes are those that sessions
	// begin with. It never changes.
	InitQuery string
	// BorrowTimeout bounds the wait for an upstream to become free.
	BorrowTimeout time.Duration
	// Until is when waits end early, the zero time or one that is past for not at all; nil for never.
	Until func() time.Time
	// Lifetime is how old an upstream becomes, IdleTimeout how long one stays that nobody needs; 0 for no end.
	Lifetime, IdleTimeout time.Duration
	// Statements bounds the prepared statements of an upstream.
	Statements int
	// Whole has a session keep its upstream until it ends. It never changes, nor does NoBlocks, which refuses transaction
	// blocks.
	Whole, NoBlocks bool
	// ClientMemory bounds what a session keeps for its client, in bytes; 0: nothing does. It holds for those that begin.
	ClientMemory int
	// Lazy has the cluster watched from the first upstream on, and not from when somebody holds the pool.
	Lazy bool
	// Verify has the server asked before each hand-over whether the upstream is as clean as it is taken to be.
	Verify bool
}

// janitorial is how often a lender looks after the upstreams that nobody uses.
const janitorial = time.Second

// looked bounds how many idle upstreams are looked at for one with the right settings.
const looked = 16

// lent is an upstream that sessions use in turn. It belongs to whoever has it, or to the lender.
type lent struct {
	up     *backend.Upstream
	memory *session.Memory

	mode        commit.Mode
	modeAt      time.Time
	modeVersion uint64

	idleSince time.Time
	heardBy   *hub // it has received all that was notified over the upstream so far; nil: none is known to
	pinned    bool // its session keeps it; guarded by the lender's mu
	recheck   bool // whether it is still there is to be asked before anything else
}

// unwanted reports whether nobody is to be given the upstream any more.
func (x *lent) unwanted() bool { return x.up.Killed() != nil || x.up.Leaves() || x.up.Doubtful() }

// lender lends a pool's upstreams. First come, first served.
type lender struct {
	pool    *Pool
	lending atomic.Pointer[Lending]
	initial []session.Setting // that InitQuery makes
	fresh   string            // SQL that makes them

	mu        sync.Mutex // also the owner of idle upstreams
	idle      []*lent    // the last one was used last
	open      int        // upstreams that there are, or that somebody makes
	freed     int        // so many are open no more, and the quota does not know yet
	queue     []*waiter
	greetings map[string]map[string]string // settings -> what the server reports with them
	hubs      map[string]*hub              // by the encoding of their sessions
	closed    bool
	stop      chan struct{} // ends the janitor
	done      chan struct{}
	stats     LendingStats
}

// LendingStats says how a Pool's upstreams are doing.
type LendingStats struct {
	Open, Idle, Waiting int
	// Listening are the connections beside those that receive notifications for all sessions, and Missed counts how often a
	// session was told that it may have missed some.
	Listening int
	Missed    uint64
	// Borrowed counts hand-overs, Timeouts those that did not come about in time, and Unclean the upstreams that Verify has
	// thrown away.
	Borrowed, Timeouts, Unclean uint64
	// Pinned are the upstreams that a session keeps because of state that it has there, Pins counts sessions by that state.
	Pinned int
	Pins   map[string]uint64
}

// waiter is somebody in the queue. He is given an upstream, or nil: the right to make one.
type waiter struct{ turn chan *lent }

func newLender(p *Pool, cfg Lending) *lender {
	l := &lender{pool: p, initial: session.SettingsOf(cfg.InitQuery), greetings: make(map[string]map[string]string), hubs: make(map[string]*hub)}
	l.stats.Pins = make(map[string]uint64)
	l.lending.Store(&cfg)
	s := session.New(session.Full, 0)
	for _, set := range l.initial {
		s.SetBase(set.Name, set.SQL)
	}
	l.fresh = s.Wanted()
	return l
}

func (l *lender) cfg() *Lending { return l.lending.Load() }

// begin starts the janitor; end stops it and closes what is idle.
func (l *lender) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.stop, l.done = false, make(chan struct{}), make(chan struct{})
	go l.clean(l.stop, l.done)
}

func (l *lender) end() {
	for _, h := range l.allHubs() {
		h.end()
	}
	l.mu.Lock()
	l.closed = true
	idle := l.idle
	l.idle = nil
	l.fewer(len(idle))
	close(l.stop)
	done := l.done
	l.unlock()
	<-done
	for _, x := range idle {
		x.up.Close(false)
	}
}

// Stats is a look at the pool's upstreams; all zero when it does not lend any.
func (p *Pool) Stats() LendingStats {
	if p.lender == nil {
		return LendingStats{}
	}
	l := p.lender
	listening := l.listening()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Listening = listening
	s.Open, s.Idle, s.Waiting = l.open, len(l.idle), len(l.queue)
	s.Pins = maps.Clone(s.Pins)
	return s
}

// try returns an upstream that is free and has the settings, if there is one and nobody waits. It must not be Stale.
func (l *lender) try(settings string, version uint64) *lent {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 || l.cfg().Verify {
		return nil
	}
	now := time.Now()
	for i := len(l.idle) - 1; i >= max(0, len(l.idle)-looked); i-- {
		x := l.idle[i]
		if x.memory.Settings() != settings || x.unwanted() || x.modeVersion != version || now.Sub(x.modeAt) >= modeLife {
			continue
		}
		if x.up.Stale() && x.up.Readable() {
			continue // it has something to say; whoever has more time finds out what
		}
		l.idle = slices.Delete(l.idle, i, i+1)
		l.stats.Borrowed++
		return x
	}
	return nil
}

// borrow waits for an upstream, one whose instance was proven after the ticket. It prefers one with the settings.
func (l *lender) borrow(ctx context.Context, settings string, after topology.Ticket) (*lent, error) {
	x, w, lacks := l.first(settings)
	switch {
	case x != nil:
		return x, nil
	case w == nil:
		return l.make(ctx, after)
	}
	if lacks {
		l.quota().ask(l)
	}

	begun := time.Now()
	limit := l.bounded(l.cfg().BorrowTimeout)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var err error
	select {
	case x := <-w.turn:
		return l.served(ctx, x, after, begun)
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
	}
	l.mu.Lock()
	i := slices.Index(l.queue, w)
	if i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	open, waiting := l.open, len(l.queue)
	if err == nil && i >= 0 {
		l.stats.Timeouts++
	}
	l.mu.Unlock()
	switch {
	case i < 0 && err == nil:
		return l.served(ctx, <-w.turn, after, begun)
	case i < 0:
		l.pass(<-w.turn)
		return nil, err
	case err != nil:
		return nil, err
	}
	all := l.quota().explain(l)
	if all == "" || open >= l.cfg().Max {
		all = fmt.Sprintf("All %d connections of the pool are in use", open)
	}
	return nil, &refusal{Problem: session.Problem{
		Code:    "53300",
		Message: fmt.Sprintf("fairlead: no server connection became free within %v (connection_borrow_timeout)", limit),
		Detail:  fmt.Sprintf("%s, and %d other clients wait for one.", all, waiting),
		Hint:    "Look for transactions that stay open and for sessions that are pinned, or let the pool have more connections. Nothing was run.",
	}}
}

// first returns an upstream that is idle, or else a place in the queue; neither is the right to make one. With the place, it reports whether
// the quota stands in the way.
func (l *lender) first(settings string) (x *lent, w *waiter, lacks bool) {
	l.mu.Lock()
	defer l.unlock()
	if len(l.queue) == 0 {
		if x := l.takeIdle(settings); x != nil {
			l.stats.Borrowed++
			return x, nil, false
		}
		if l.another() {
			return nil, nil, false
		}
	}
	w = &waiter{turn: make(chan *lent, 1)}
	l.queue = append(l.queue, w)
	return nil, w, l.lacks()
}

// count changes the statistics.
func (l *lender) count(change func(*LendingStats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.stats)
}

// served is the end of a wait.
func (l *lender) served(ctx context.Context, x *lent, after topology.Ticket, begun time.Time) (*lent, error) {
	l.pool.metrics.waited(time.Since(begun))
	if x == nil {
		return l.make(ctx, after)
	}
	if x.unwanted() {
		x.up.Close(x.up.Killed() != nil)
		return l.make(ctx, after)
	}
	l.count(func(s *LendingStats) { s.Borrowed++ })
	return x, nil
}

// takeIdle takes an idle upstream that lives: one with the settings, else the one that was used last. mu is held.
func (l *lender) takeIdle(settings string) *lent {
	contain.Point("lender.take", nil)
	best := -1
	for i := len(l.idle) - 1; i >= 0; i-- {
		x := l.idle[i]
		if x.unwanted() || x.up.Stale() && x.up.Readable() {
			l.idle = slices.Delete(l.idle, i, i+1)
			if best > i {
				best--
			}
			l.fewer(1)
			x.up.Close(!x.up.Leaves())
			continue
		}
		if best < 0 {
			best = i
		}
		if x.memory.Settings() == settings {
			best = i
			break
		}
		if len(l.idle)-i >= looked {
			break
		}
	}
	if best < 0 {
		return nil
	}
	x := l.idle[best]
	l.idle = slices.Delete(l.idle, best, best+1)
	return x
}

var errUntil = errors.New("the invocation's time is over")

// make logs in; its caller has counted the upstream as open.
func (l *lender) make(ctx context.Context, after topology.Ticket) (*lent, error) {
	limit, cause := l.pool.cfg.FailoverTimeout, errTimeout
	if less := l.bounded(limit); less < limit {
		limit, cause = less, errUntil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, cause)
	defer cancel()
	made := false
	defer func() {
		if !made {
			l.pass(nil)
		}
	}()
	l.pool.watch()
	up, err := l.login(ctx, after)
	if err != nil {
		return nil, err
	}
	made = true
	l.count(func(s *LendingStats) { s.Borrowed++ })
	return &lent{up: up, memory: session.NewMemory(up.Params, l.fresh)}, nil
}

// bounded is how long a wait may take that may take so long by itself.
func (l *lender) bounded(d time.Duration) time.Duration {
	if l.cfg().Until == nil {
		return d
	}
	if left := time.Until(l.cfg().Until()); left > 0 {
		return min(d, left)
	}
	return d
}

// own makes somebody's lock the one that guards the upstream. It is held.
func (l *lender) own(x *lent, owner sync.Locker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x.up.Own(owner)
}

// give takes an upstream back whose session is done with it. The lock of its owner is held.
func (l *lender) give(x *lent) {
	l.own(x, &l.mu)
	if !x.memory.Usable() || x.unwanted() || l.tooMany() || l.cfg().Lifetime > 0 && time.Since(x.up.Since) > l.cfg().Lifetime {
		l.drop(x, false)
		return
	}
	l.pass(x)
}

// drop ends an upstream.
func (l *lender) drop(x *lent, abort bool) {
	x.up.Close(abort)
	l.pass(nil)
}

// pass gives an upstream, or the right to make one, to the first who waits, unless another pool is to have one instead.
func (l *lender) pass(x *lent) {
	ends, lacks := l.passed(x)
	if lacks {
		l.quota().ask(l)
	}
	if ends {
		x.up.Close(false)
	}
}

// passed is pass under the lock. It reports whether the upstream is to be closed, and whether the quota stands in the way of somebody who
// waits.
func (l *lender) passed(x *lent) (ends, lacks bool) {
	l.mu.Lock()
	defer l.unlock()
	waits := len(l.queue) > 0 && !l.closed
	switch yields := l.quota().yields(l, waits); {
	case waits && !yields:
		w := l.queue[0]
		l.queue = slices.Delete(l.queue, 0, 1)
		w.turn <- x
		return false, false
	case x == nil:
		l.fewer(1)
	case l.closed || yields:
		l.fewer(1)
		ends = true
	default:
		x.idleSince = time.Now()
		l.idle = append(l.idle, x)
	}
	return ends, l.lacks()
}

// greeting is what a server reports with the settings, nil when that is not known yet.
func (l *lender) greeting(settings string) map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.greetings[settings]
}

// maxGreetings bounds what is remembered of the settings that clients begin with.
const maxGreetings = 256

func (l *lender) greet(settings string, params map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.greetings) >= maxGreetings {
		clear(l.greetings)
	}
	l.greetings[settings] = params
}

// clean closes idle upstreams that are too old or not needed any more, and opens those that are to be kept ready.
func (l *lender) clean(stop, done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		<-stop
		cancel(errors.New("the pool was closed"))
	}()
	ticker := time.NewTicker(janitorial)
	defer ticker.Stop()
	for {
		l.pool.functions.Expire()
		l.pool.guard("upstreams that nobody uses", func() { l.tidy(ctx) })
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
	}
}

// tidy is one round of clean.
func (l *lender) tidy(ctx context.Context) {
	contain.Point("janitor", nil)
	l.closeIdle()
	for _, h := range l.allHubs() {
		h.tidy(time.Now())
	}
	for l.wants() {
		x, err := l.make(ctx, 0)
		if err != nil {
			break // the next client finds out why
		}
		l.pass(x)
	}
}

// wants reports whether another upstream is to be kept ready, and counts it as open then.
func (l *lender) wants() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.idle) < l.cfg().MinIdle && l.another()
}

// Recheck has each idle upstream asked whether it is there before it is used again, and those that notifications are waited for
// from at once.
func (p *Pool) Recheck() {
	l := p.lender
	for _, h := range l.allHubs() {
		h.recheck()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.idle {
		x.recheck = true
	}
}

// Tidy closes the idle upstreams that have nothing more to say than their end, or are too old.
func (p *Pool) Tidy() { p.lender.closeIdle() }

// closeAll closes all idle upstreams, and returns how many others there are.
func (l *lender) closeAll() int {
	l.mu.Lock()
	idle := l.idle
	l.idle = nil
	l.fewer(len(idle))
	left := l.open
	l.unlock()
	for _, x := range idle {
		x.up.Close(false)
	}
	return left + l.listening()
}

func (l *lender) closeIdle() {
	for _, x := range l.takeOld(l.quota().tooManyIdle()) {
		x.up.Close(false)
	}
}

// takeOld takes the idle upstreams that are to be closed; tooMany of them are so because of their number.
func (l *lender) takeOld(tooMany int) (old []*lent) {
	now := time.Now()
	l.mu.Lock()
	defer l.unlock()
	l.idle = slices.DeleteFunc(l.idle, func(x *lent) bool {
		spare := l.open-len(old) > l.cfg().MinIdle
		// What a server says unasked is mostly its end.
		if x.unwanted() || x.up.Readable() || l.cfg().Lifetime > 0 && now.Sub(x.up.Since) > l.cfg().Lifetime ||
			spare && l.cfg().IdleTimeout > 0 && now.Sub(x.idleSince) > l.cfg().IdleTimeout {
			old = append(old, x)
			return true
		}
		return false
	})
	if n := min(tooMany, len(l.idle)); n > 0 {
		old = append(old, l.idle[:n]...)
		l.idle = slices.Delete(l.idle, 0, n)
	}
	l.fewer(len(old))
	return old
}
