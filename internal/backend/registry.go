package backend

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/topology"
)

// pulse is the length of a tick, in which the registry looks for work that nothing comes back from.
const pulse = 50 * time.Millisecond

// patience is how many ticks may pass without a word from an instance that has work in flight, until it is probed.
const patience = 2

// restAfter is how many ticks without work in flight stop the clock.
const restAfter = 20

// Registry knows the upstreams of one cluster. Its methods may be called from any goroutine.
type Registry struct {
	check func(instanceID string) // topology.Cluster.Check

	tick   atomic.Uint32
	asleep atomic.Bool
	wakeUp chan struct{}

	mu        sync.Mutex
	upstreams map[*Upstream]struct{}
	dialing   map[*attempt]struct{}
	running   bool
	stop      chan struct{}
	done      chan struct{}

	round []watched // of beat's own
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

// Start begins the pulse; Stop ends it and waits for its goroutine.
func (r *Registry) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		return
	}
	r.running, r.stop, r.done = true, make(chan struct{}), make(chan struct{})
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
}

func (r *Registry) run(stop, done chan struct{}) {
	defer close(done)
	timer := time.NewTicker(pulse)
	defer timer.Stop()
	idle := 0
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		r.tick.Add(1)
		if r.beat() {
			idle = 0
			continue
		}
		if idle++; idle < restAfter {
			continue
		}
		// Nothing is in flight: the clock stands still until Begin wakes it, and an idle process uses no time at all.
		timer.Stop()
		r.asleep.Store(true)
		select {
		case <-stop:
			return
		case <-r.wakeUp:
		}
		r.tick.Add(restAfter)
		timer.Reset(pulse)
		idle = 0
	}
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
	r.mu.Lock()
	r.round = r.round[:0]
	for u := range r.upstreams {
		r.round = append(r.round, watched{u, u.owner})
	}
	r.mu.Unlock()
	var silent map[string]struct{}
	for i, w := range r.round {
		r.round[i] = watched{}
		u := w.upstream
		w.owner.Lock()
		if r.ownerOf(u) != w.owner {
			w.owner.Unlock()
			continue // it has changed hands, which only what is idle does
		}
		waiting, quiet := u.waiting, now-u.heard
		w.owner.Unlock()
		busy = busy || waiting
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
	return busy
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
