package awscreds

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/credentials"
)

// detours are the targets that are logged in to with another version than the current one. There are none as a rule, and
// that is found out without a lock.
type detours struct {
	read atomic.Pointer[map[credentials.Target]detour]
	mu   sync.Mutex // held by who changes it
}

type detour struct {
	version *version
	instead string // the ID of the version that was current: the detour ends with it
}

// of is the version to use for the target in the place of current, nil if there is none.
func (d *detours) of(t credentials.Target, current *version) *version {
	m := d.read.Load()
	if m == nil {
		return nil
	}
	if way, ok := (*m)[t]; ok && way.instead == current.id {
		return way.version
	}
	return nil
}

func (d *detours) take(t credentials.Target, v, instead *version) {
	d.change(func(m map[credentials.Target]detour) { m[t] = detour{version: v, instead: instead.id} })
}

func (d *detours) forget(t credentials.Target) {
	if m := d.read.Load(); m == nil {
		return
	}
	d.change(func(m map[credentials.Target]detour) { delete(m, t) })
}

func (d *detours) change(f func(map[credentials.Target]detour)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := make(map[credentials.Target]detour)
	if m := d.read.Load(); m != nil {
		maps.Copy(next, *m)
	}
	f(next)
	if len(next) == 0 {
		d.read.Store(nil)
		return
	}
	d.read.Store(&next)
}
