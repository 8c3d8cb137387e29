package topology

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
)

const (
	// linger is how long connections stay open after a hunt, since suspicions come in bursts.
	linger = 2 * time.Second
	// headStart is how long a suspected writer may take to answer before the others are asked, too.
	headStart = 5 * time.Millisecond
	// resolvePause is how often names are looked up during a hunt: behind a single name, DNS is what moves.
	resolvePause = time.Second
	// seedsAfter is how long the members of an Aurora cluster are hunted before the seeds are asked as well.
	seedsAfter = 3 * time.Second
	// readerPause is how often instances that do not answer are asked while somebody waits for a reader.
	readerPause = 100 * time.Millisecond
)

// monitor is the goroutine that owns what is known, and the askers. It lives from the first Attach to the last release.
type monitor struct {
	c    *Cluster
	log  *slog.Logger
	ctx  context.Context
	wg   sync.WaitGroup
	out  chan observation
	mem  *memory
	hunt hunt

	targets []*target
	word    []Member // Aurora: the members, by the last word of the writer (or of anyone, until there is one)
	wordOf  uint64   // number of the probe that brought it
	proof   uint64   // number of the probe that last proved the writer
	floor   uint64   // answers to probes with this number or a lower one are no claims any more
	called  uint64   // a caller of Pick came at this number: a login refused before that is tried once more for it
	blind   bool     // a server cannot be asked what it is: the seeds are taken in order, as with KindNone
	split   bool     // the last decision was a tie
	detour  bool     // the writer is reached at a seed and not at its own endpoint

	found     chan resolved
	resolving map[string]bool
	refreshAt time.Time
	resolveAt time.Time
	readersAt time.Time
}

// target is an endpoint that is asked.
type target struct {
	ep    Endpoint
	id    string // of the instance behind it; "": not known yet
	seed  bool
	asker *asker
	end   context.CancelFunc

	addrs    []netip.Addr
	answer   *Report // the latest
	answered uint64  // number of the probe that brought it
	heardAt  time.Time
	asReader uint64 // number of the latest probe answered as a reader
	asBoot   string // and its boot in that answer
	attempt  uint64 // number of the latest attempt, whatever its end
	err      error  // how it ended
	lost     bool   // it ended in a way that means that the server is gone
	note     string // why the answer was not taken at its word
	doubt    uint64 // a suspicion against it: only its own answer to a later probe counts

	mode        mode
	lingerUntil time.Time
	checkAt     time.Time // a check that is not answered by then makes the others be asked
	checkOf     uint64    // and it is answered by a probe with a higher number than this
	retryAt     time.Time // when an instance that does not answer is asked again
	retryPause  time.Duration
}

// startMonitor starts a cluster's monitor; the returned function stops it and waits for all its goroutines.
func startMonitor(c *Cluster) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	m := &monitor{
		c: c, log: c.cfg.Logger, ctx: ctx, mem: &c.mem,
		out: make(chan observation), found: make(chan resolved), resolving: make(map[string]bool),
		floor: c.seq.Load(),
	}
	m.mem.gap = true
	m.wg.Go(m.run)
	return func() {
		cancel()
		m.wg.Wait()
	}
}

func (m *monitor) run() {
	now := time.Now()
	for _, ep := range m.c.cfg.Seeds {
		if m.byEndpoint(ep) == nil {
			m.add(ep, "", true)
		}
	}
	m.schedule(now)
	contain.Keep(m.log, "topology", m.watch)
}

// watch is run's loop. It begins with a search, since nothing is known, or it is not known of what.
func (m *monitor) watch() {
	m.resolve()
	m.begin(hunt{since: time.Now(), ticket: m.floor, quiet: true})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.c.wake:
			m.read(m.c.take(), time.Now())
		case o := <-m.out:
			contain.Point("monitor", nil)
			m.observe(o)
		case r := <-m.found:
			m.takeResolved(r)
		case <-timer.C:
		}
		timer.Reset(m.tick(time.Now()))
	}
}

// add makes a target and starts its asker.
func (m *monitor) add(ep Endpoint, id string, seed bool) *target {
	t := &target{ep: ep, id: id, seed: seed, addrs: literal(ep.Host)}
	ctx, cancel := context.WithCancel(m.ctx)
	t.end = cancel
	t.asker = newAsker(m.c, ep, t.addrs, m.out)
	m.wg.Go(func() { t.asker.run(ctx) })
	m.targets = append(m.targets, t)
	return t
}

func (m *monitor) byEndpoint(ep Endpoint) *target {
	for _, t := range m.targets {
		if t.ep == ep {
			return t
		}
	}
	return nil
}

// byID returns the target by which an instance is best asked: a member's own endpoint, unless that fails and a seed has
// answered as this instance since.
func (m *monitor) byID(id string) *target {
	var best *target
	for _, t := range m.targets {
		if t.id == id && (best == nil || t.better(best)) {
			best = t
		}
	}
	return best
}

// better tells whether the instance behind both is better asked here.
func (t *target) better(than *target) bool {
	if t.seed == than.seed {
		return false
	}
	own, seed := t, than
	if t.seed {
		own, seed = than, t
	}
	outdone := own.err != nil && seed.err == nil && seed.answered > own.answered
	return t.seed == outdone
}

// writer returns the target of the current epoch's writer.
func (m *monitor) writer() *target {
	if m.mem.epoch == 0 {
		return nil
	}
	return m.byID(m.mem.reign.id)
}

// setMode changes what a target's asker does.
func (m *monitor) setMode(t *target, mode mode) {
	if t.mode != mode {
		t.mode = mode
		t.asker.set(mode)
	}
}

// schedule sets the next refresh, a little earlier or later so that a fleet does not ask in step.
func (m *monitor) schedule(now time.Time) {
	d := m.c.cfg.RefreshInterval
	m.refreshAt = now.Add(d*9/10 + rand.N(d/5+1))
}

// read takes what callers want.
func (m *monitor) read(in inbox, now time.Time) {
	if m.blind {
		return
	}
	for id, s := range in.suspects {
		m.suspect(id, s)
	}
	for id, at := range in.checks {
		m.check(id, at)
	}
	if !in.wanted {
		return
	}
	m.called = m.c.seq.Load()
	for _, t := range m.targets {
		if isRefused(t.err) {
			t.asker.ask()
		}
	}
	if in.needAny > 0 {
		m.askAll(now)
	}
	if m.hunt.on {
		m.hunt.need = max(m.hunt.need, in.needWriter)
		if now.Sub(m.hunt.since) > relaxAfter {
			m.askAll(now)
		}
		return
	}
	if w := m.writer(); w == nil || m.split {
		m.begin(hunt{since: now, ticket: m.c.seq.Load(), quiet: true})
	} else if m.proof <= in.needWriter || in.needAny > 0 {
		w.asker.ask()
	}
}

// suspect begins a hunt if the writer is suspected, and asks a reader that is.
func (m *monitor) suspect(id string, s suspicion) {
	m.log.Debug("suspicion", "instance", id, "cause", s.cause)
	t := m.byID(id)
	if t != nil && m.mem.epoch > 0 && id != m.mem.reign.id {
		if t.answered <= uint64(s.ticket) {
			t.doubt = uint64(s.ticket)
			t.asker.ask()
		}
		if w := m.writer(); w != nil && m.proof <= uint64(s.ticket) {
			w.asker.ask()
		}
		return
	}
	if m.proof > uint64(s.ticket) && !m.hunt.on {
		m.c.suspicious.Store(false)
		return // proven since
	}
	// Its own connection gets a short start: most suspicions are false, and cost no login then.
	m.begin(hunt{since: s.at, ticket: uint64(s.ticket), cause: s.cause, wideAt: s.at.Add(headStart)})
}

// check asks an instance whose work is unanswered.
func (m *monitor) check(id string, at time.Time) {
	t := m.byID(id)
	if t == nil || !t.checkAt.IsZero() || at.Sub(t.heardAt) < m.c.cfg.ProbeTimeout/10 {
		return
	}
	t.checkOf = m.c.seq.Load()
	t.checkAt = at.Add(m.c.cfg.ProbeTimeout / 4)
	t.asker.ask()
}

// wanted are the targets that stand for an instance.
func (m *monitor) wanted(now time.Time) []*target {
	own := false // a member has answered at its own endpoint: they can be reached there
	for _, t := range m.targets {
		own = own || !t.seed && t.answer != nil
	}
	if !own || m.hunt.on && now.Sub(m.hunt.since) > seedsAfter {
		return m.targets
	}
	return slices.DeleteFunc(slices.Clone(m.targets), func(t *target) bool { return t.seed && m.covered(t) })
}

// covered tells whether a seed is not needed, since the members are asked at their own endpoints.
func (m *monitor) covered(seed *target) bool {
	for _, t := range m.targets {
		if !t.seed {
			return true
		}
	}
	return false
}

// tick does what is due, and returns how long there is nothing to do.
func (m *monitor) tick(now time.Time) time.Duration {
	next := m.refreshAt
	soon := func(at time.Time) {
		if at.Before(next) {
			next = at
		}
	}
	if m.blind {
		return m.c.cfg.RefreshInterval
	}
	if !now.Before(m.refreshAt) {
		m.schedule(now)
		next = m.refreshAt
		m.refresh(now)
	}
	if m.hunt.on {
		if !now.Before(m.resolveAt) {
			m.resolveAt = now.Add(resolvePause)
			m.resolve()
		}
		soon(m.resolveAt)
		if now.Before(m.hunt.wideAt) {
			soon(m.hunt.wideAt)
		} else {
			for _, t := range m.wanted(now) {
				m.setMode(t, modeHunt)
			}
		}
		if at := m.hunt.since.Add(seedsAfter + time.Millisecond); now.Before(at) {
			soon(at)
		}
	}
	asap := m.c.waitingReaders.Load() > 0 && !now.Before(m.readersAt)
	if asap {
		m.readersAt = now.Add(readerPause)
	}
	if m.c.waitingReaders.Load() > 0 {
		soon(m.readersAt)
	}
	for _, t := range m.targets {
		if !t.checkAt.IsZero() {
			if now.Before(t.checkAt) {
				soon(t.checkAt)
			} else if t.checkAt = (time.Time{}); t == m.writer() && !m.hunt.on {
				m.begin(hunt{since: now.Add(-m.c.cfg.ProbeTimeout / 4), ticket: t.checkOf, quiet: true})
			}
		}
		if t.mode == modeLinger {
			if now.Before(t.lingerUntil) {
				soon(t.lingerUntil)
			} else {
				m.setMode(t, modeIdle)
			}
		}
		if t.retryPause > 0 && !m.hunt.on {
			if asap || !now.Before(t.retryAt) {
				t.retryPause = min(2*t.retryPause, m.c.cfg.RefreshInterval)
				t.retryAt = now.Add(t.retryPause)
				t.asker.ask()
			}
			soon(t.retryAt)
		}
	}
	return max(time.Until(next), time.Millisecond)
}

// refresh asks the writer, and of replicated servers all: the writer of those does not know the others.
func (m *monitor) refresh(now time.Time) {
	m.resolve()
	if m.hunt.on {
		return
	}
	w := m.writer()
	if w == nil || w.answer == nil {
		return
	}
	m.floor = m.c.seq.Load()
	if w.answer.Kind == KindAurora {
		w.asker.ask()
		return
	}
	m.askAll(now)
}

// askAll asks every instance once.
func (m *monitor) askAll(now time.Time) {
	for _, t := range m.wanted(now) {
		t.asker.ask()
	}
}
