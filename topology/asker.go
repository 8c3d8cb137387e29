package topology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// mode is what an asker does when nobody wants anything of it.
type mode uint8

const (
	modeIdle   mode = iota // no connection
	modeLinger             // a connection that is open stays
	modeKeep               // a connection is open, and opened again when it is lost
	modeHunt               // ask again and again
)

// relaxAfter is how long a hunt goes on at full pace when nobody waits for its end.
const relaxAfter = 30 * time.Second

// relaxedPause is the least pause after that.
const relaxedPause = time.Second

// asker asks one endpoint, in a goroutine of its own, so that an endpoint that hangs delays no other.
type asker struct {
	c    *Cluster
	ep   Endpoint
	out  chan<- observation
	wake chan struct{} // capacity 1

	attrs metric.MeasurementOption

	mu     sync.Mutex // guards the orders
	orders orders

	// The goroutine's own.
	link  *link
	pace  *pace
	news  <-chan struct{} // closed when the server has ended an idle link; nil: that is not watched
	still func()          // ends that watch
	began uint64          // number of the last attempt
	due   time.Time       // when the pace allows the next one
	login int             // how many logins in a row hung
}

// orders are what the monitor wants.
type orders struct {
	mode  mode
	since time.Time // when the mode began
	want  uint64    // an attempt with this number or a higher one is wanted
	addrs []netip.Addr
	reset bool // the pace begins anew
}

// link is an open session and the prober it came from.
type link struct {
	Session
	from *attached
}

// observation is how an attempt to ask an endpoint ended.
type observation struct {
	asker  *asker
	round  uint64 // taken before the question was sent, or before the login if it never was
	at     time.Time
	report Report
	err    error
	stale  bool // the error is that of a connection opened before; the server may serve others
}

func newAsker(c *Cluster, ep Endpoint, addrs []netip.Addr, out chan<- observation) *asker {
	return &asker{c: c, ep: ep, out: out, wake: make(chan struct{}, 1), pace: newPace(), attrs: c.metrics.of(ep), orders: orders{addrs: addrs}}
}

// order changes the orders and wakes the asker.
func (a *asker) order(change func(*orders)) {
	a.mu.Lock()
	change(&a.orders)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// ask orders an attempt that begins after this call.
func (a *asker) ask() {
	want := a.c.seq.Load() + 1
	a.order(func(o *orders) { o.want = max(o.want, want) })
}

// set orders a mode.
func (a *asker) set(m mode) {
	a.order(func(o *orders) {
		if o.mode != m {
			o.mode, o.since = m, time.Now()
			o.reset = o.reset || m == modeHunt
		}
	})
}

// run works until ctx ends, then closes the connection.
func (a *asker) run(ctx context.Context) {
	defer a.drop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		o := a.read()
		if a.link != nil && a.link.from.ctx.Err() != nil {
			a.drop()
		}
		wait := time.Duration(-1)
		switch {
		case a.began < o.want:
			wait = 0
		case o.mode == modeHunt, o.mode == modeKeep && a.link == nil:
			wait = max(0, time.Until(a.due))
			if time.Since(o.since) > relaxAfter && a.c.waiting.Load() == 0 {
				wait = max(wait, time.Until(a.due.Add(relaxedPause)))
			}
		case o.mode == modeIdle:
			a.drop()
		}
		if wait == 0 {
			a.attempt(ctx, o)
			continue
		}
		var released <-chan struct{}
		if a.link != nil {
			released = a.link.from.ctx.Done()
		}
		a.listen(o)
		var tick <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			tick = timer.C
		}
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-released:
		case <-tick:
		case <-a.news:
			a.attempt(ctx, o)
		}
	}
}

// listen watches the connection to a writer while nobody asks anything: a server that closes it goes away, and that is known at
// once then.
func (a *asker) listen(o orders) {
	if a.link == nil || o.mode != modeKeep || a.still != nil {
		return
	}
	if w, ok := a.link.Session.(watcher); ok {
		a.news, a.still = w.watch()
	}
}

// unlisten is for who is about to use the connection.
func (a *asker) unlisten() {
	if a.still != nil {
		a.still()
		a.news, a.still = nil, nil
	}
}

// read takes the orders.
func (a *asker) read() orders {
	a.mu.Lock()
	o := a.orders
	a.orders.reset = false
	a.mu.Unlock()
	if o.reset {
		a.pace.reset()
		a.login = 0
		a.due = time.Time{}
	}
	return o
}

// attempt asks once, over a connection that is opened if there is none, and reports how it went.
func (a *asker) attempt(ctx context.Context, o orders) {
	a.unlisten()
	obs := observation{asker: a}
	a.began = a.c.seq.Add(1)
	obs.round = a.began
	kept := a.link != nil
	if p := contain.Run(func() {
		contain.Point("asker", nil)
		if !kept {
			obs.err = a.open(ctx, o.addrs)
		}
		if obs.err == nil {
			obs.report, obs.err = a.probe(ctx, &obs)
		}
	}); p != nil {
		p.Log(a.c.cfg.Logger, "probe of an instance", "instance", a.ep.String())
		obs.err = p
	}
	if obs.err != nil {
		a.drop()
	}
	result := outcomeAnswered
	if obs.err != nil {
		result = outcomeFailed
		if isRefused(obs.err) {
			result = outcomeRefused
		} else if busy := (*BusyError)(nil); errors.As(obs.err, &busy) {
			result = outcomeBusy
		}
	}
	obs.at = time.Now()
	a.due = obs.at.Add(a.pace.next(result))
	if kept && obs.err != nil && !errors.Is(obs.err, context.DeadlineExceeded) {
		obs.stale = true
		// The server may have closed this connection alone, or be back already: a new one is tried at once.
		a.due = time.Time{}
	}
	select {
	case a.out <- obs:
	case <-ctx.Done():
	}
}

// probe asks over the open connection.
func (a *asker) probe(ctx context.Context, obs *observation) (Report, error) {
	pctx, cancel := context.WithTimeout(ctx, a.c.cfg.ProbeTimeout)
	defer cancel()
	defer context.AfterFunc(a.link.from.ctx, cancel)()
	// A login takes time in which the instance may have become something else: the question's own number counts.
	a.began = a.c.seq.Add(1)
	obs.round = a.began
	start := time.Now()
	r, err := a.link.Probe(pctx)
	if err != nil {
		if pctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("no answer in %v: %w", a.c.cfg.ProbeTimeout, context.DeadlineExceeded)
		}
		return Report{}, err
	}
	a.c.metrics.probes.Record(ctx, time.Since(start).Seconds(), a.attrs)
	return r, nil
}

// open logs in with the first prober whose login is not refused.
func (a *asker) open(ctx context.Context, addrs []netip.Addr) error {
	var refusals []error
	for _, p := range a.c.byTrust() {
		if !p.enter() {
			continue
		}
		timeout := a.loginTimeout()
		octx, cancel := context.WithTimeout(ctx, timeout)
		stop := context.AfterFunc(p.ctx, cancel)
		var s Session
		var err error
		if failed := contain.Run(func() { s, err = p.Open(octx, a.ep, addrs) }); failed != nil {
			failed.Log(a.c.cfg.Logger, "login for a probe", "instance", a.ep.String())
			err = failed
		}
		hung := octx.Err() == context.DeadlineExceeded
		stop()
		cancel()
		if err == nil {
			p.refused.Store(false)
			a.login = 0
			a.link = &link{Session: s, from: p}
			return nil
		}
		p.leave()
		if isRefused(err) {
			p.refused.Store(true)
			refusals = append(refusals, err)
			continue
		}
		if hung {
			a.login++
			return fmt.Errorf("login timed out after %v: %w", timeout, context.DeadlineExceeded)
		}
		a.login = 0
		return err
	}
	if refusals == nil {
		return errors.New("no credentials to ask with")
	}
	return &LoginRefusedError{Err: errors.Join(refusals...)}
}

// loginTimeout is how long the next login may take. A login that hangs may do so because its packets were lost in a partition
// that has healed since, so the first ones are given up soon; it may also be slow honestly, so later ones get more time. Then it begins
// anew.
func (a *asker) loginTimeout() time.Duration {
	return 2 * a.c.cfg.ProbeTimeout << (a.login % 3)
}

// drop closes the connection, if there is one.
func (a *asker) drop() {
	if a.link == nil {
		return
	}
	a.unlisten()
	_ = a.link.Close() // it is given up either way
	a.link.from.leave()
	a.link = nil
}
