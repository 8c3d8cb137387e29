package backend

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/topology"
)

// pulse is the length of a tick, in which the registry looks for work that nothing comes back from.
const pulse = 50 * time.Millisecond

// patience is how many ticks may pass without a word from an instance that has work in flight, until it is probed.
const patience = 2

// restAfter is how many ticks without work in flight stop the clock.
const restAfter = 20

// listenPause is how often an instance is probed of which only notifications are waited for.
const (
	listenPause = time.Second
	listenTicks = uint32(listenPause / pulse)
)

// Registry knows the upstreams of one cluster. Its methods may be called from any goroutine.
type Registry struct {
	// Logger is told of mistakes of the pulse's; nil: slog's default. It is set before Start.
	Logger *slog.Logger

	check func(instanceID string) // topology.Cluster.Check

	tick   atomic.Uint32
	asleep atomic.Bool
	slept  atomic.Int64 // since when, by the wall clock in Unix nanoseconds
	wakeUp chan struct{}

	mu        sync.Mutex
	upstreams map[*Upstream]struct{}
	dialing   map[*attempt]struct{}
	running   bool
	stop      chan struct{}
	done      chan struct{}

	round []watched // of beat's own

	paths pathfinder
}

// attempt is a login in progress.
type attempt struct {
	instance string
	want     topology.Want
	cancel   context.CancelCauseFunc
}

// NewRegistry returns a registry whose pulse calls check for each instance with work that is not answered.
func NewRegistry(check func(instanceID string)) *Registry {
	r := &Registry{
		check: check, wakeUp: make(chan struct{}, 1),
		upstreams: make(map[*Upstream]struct{}), dialing: make(map[*attempt]struct{}),
	}
	r.tick.Store(1)
	return r
}

// Start begins the pulse; Stop ends it and waits for its goroutines.
func (r *Registry) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		return
	}
	r.running, r.stop, r.done = true, make(chan struct{}), make(chan struct{})
	r.paths.begin(r)
	go r.run(r.stop, r.done)
}

// Stop ends the pulse.
func (r *Registry) Stop() {
	r.mu.Lock()
	if !r.running {
		r.mu.Unlock()
		return
	}
	r.running = false
	close(r.stop)
	done := r.done
	r.mu.Unlock()
	<-done
	r.paths.end()
}

func (r *Registry) run(stop, done chan struct{}) {
	defer close(done)
	timer := time.NewTicker(pulse)
	defer timer.Stop()
	idle := 0
	for last := wall(); ; {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		r.tick.Add(ticksBetween(last, wall()))
		last = wall()
		busy := true
		if p := contain.Run(func() { busy = r.beat() }); p != nil {
			p.Log(r.Logger, "pulse")
		}
		if busy {
			idle = 0
			continue
		}
		if idle++; idle < restAfter {
			continue
		}
		// Nothing is in flight: the clock stands still until Begin wakes it, and an idle process uses no time at all.
		timer.Stop()
		r.slept.Store(wall())
		r.asleep.Store(true)
		if r.beat() {
			r.wake() // it began before whoever began it could see that the clock stands still
		}
		if !r.doze(stop) {
			return
		}
		r.tick.Add(max(restAfter, ticksBetween(r.slept.Load(), wall())))
		timer.Reset(pulse)
		idle, last = 0, wall()
	}
}

// wall is the wall clock's time in Unix nanoseconds: in a process that was frozen, the other one may have stood still.
func wall() int64 { return time.Now().Round(0).UnixNano() }

// ticksBetween is how many ticks have passed, at least 1: a process that was frozen has missed some.
func ticksBetween(before, now int64) uint32 {
	return uint32(max(1, min((now-before+int64(pulse)/2)/int64(pulse), math.MaxInt32)))
}

// since is how long ago a tick was, about.
func (r *Registry) since(tick uint32) time.Duration {
	d := time.Duration(r.tick.Load()-tick) * pulse
	if r.asleep.Load() {
		d += time.Duration(max(0, wall()-r.slept.Load()))
	}
	return d
}

// doze waits until the clock is to go again, and has instances probed until then that notifications are waited for from. It reports
// false when the registry has been stopped.
func (r *Registry) doze(stop chan struct{}) bool {
	var listening <-chan time.Time
	var timer *time.Timer
	for {
		if instances := r.listened(); len(instances) > 0 {
			if timer == nil {
				timer = time.NewTimer(listenPause)
				defer timer.Stop()
			} else {
				for id := range instances {
					r.check(id)
				}
				timer.Reset(listenPause)
			}
			listening = timer.C
		} else {
			listening = nil
		}
		select {
		case <-stop:
			return false
		case <-r.wakeUp:
			return true
		case <-listening:
		}
	}
}

// listened are the instances that somebody reads from though nothing is asked of them.
func (r *Registry) listened() map[string]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	var instances map[string]struct{}
	for u := range r.upstreams {
		if u.reading.Load() != 0 {
			if instances == nil {
				instances = make(map[string]struct{})
			}
			instances[u.Instance.ID] = struct{}{}
		}
	}
	return instances
}

func (r *Registry) wake() {
	if r.asleep.CompareAndSwap(true, false) {
		r.wakeUp <- struct{}{}
	}
}

// beat has every instance probed that has been silent about work in flight; it reports whether any work is in flight.
func (r *Registry) beat() (busy bool) {
	now := r.tick.Load()
	// The owners' locks are taken without ours: they take ours while they hold their own.
	r.list()
	var silent, listened map[string]struct{}
	var doubtful []*Upstream
	for i, w := range r.round {
		r.round[i] = watched{}
		u := w.upstream
		waiting, due, quiet, ok := r.lookAt(w, now)
		if !ok {
			continue
		}
		if due {
			doubtful = append(doubtful, u)
		}
		busy = busy || waiting
		if !waiting && now%listenTicks == 0 && u.reading.Load() != 0 {
			if listened == nil {
				listened = make(map[string]struct{})
			}
			listened[u.Instance.ID] = struct{}{}
		}
		if waiting && quiet >= patience {
			if silent == nil {
				silent = make(map[string]struct{})
			}
			silent[u.Instance.ID] = struct{}{}
		}
	}
	for id := range silent {
		r.check(id)
	}
	for id := range listened {
		if _, asked := silent[id]; !asked {
			r.check(id)
		}
	}
	r.paths.examine(doubtful)
	return busy
}

// lookAt reports whether work is in flight on an upstream, whether its path is to be examined, and how many ticks it has been quiet for; not ok,
// that it has changed hands, which only what is idle does.
func (r *Registry) lookAt(w watched, now uint32) (waiting, due bool, quiet uint32, ok bool) {
	if !tryLock(w.owner) {
		return true, false, 0, true // it is seen to with the next beat: nobody waits for a session that is stuck
	}
	defer w.owner.Unlock()
	u := w.upstream
	if r.ownerOf(u) != w.owner {
		return false, false, 0, false
	}
	return u.waiting, u.waiting && u.path.due(u, now), now - u.heard, true
}

// tries is how often a lock that others hold is tried, each time a little later. They hold it for some instructions.
const tries = 20

// tryLock takes an owner's lock, if that is to be had.
func tryLock(owner sync.Locker) bool {
	l, ok := owner.(interface{ TryLock() bool })
	if !ok {
		owner.Lock()
		return true
	}
	for range tries {
		if l.TryLock() {
			return true
		}
		time.Sleep(50 * time.Microsecond)
	}
	return false
}

// list makes the list of the upstreams that there are.
func (r *Registry) list() {
	r.mu.Lock()
	defer r.mu.Unlock()
	contain.Point("registry.beat", nil)
	r.round = r.round[:0]
	for u := range r.upstreams {
		r.round = append(r.round, watched{u, u.owner})
	}
}

// watched is an upstream with the lock that guarded it a moment ago.
type watched struct {
	upstream *Upstream
	owner    sync.Locker
}

func (r *Registry) ownerOf(u *Upstream) sync.Locker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return u.owner
}

func (r *Registry) add(u *Upstream) {
	r.mu.Lock()
	r.upstreams[u] = struct{}{}
	r.mu.Unlock()
}

func (r *Registry) remove(u *Upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.upstreams, u)
	u.onLeave = nil
	u.stay()
}

// Upstreams is how many connections are open.
func (r *Registry) Upstreams() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.upstreams)
}
