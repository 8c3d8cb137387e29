package credentials

import (
	"maps"
	"sync"
	"sync/atomic"
)

// table is a small map that is read without a lock: a change makes a copy. The zero value is empty.
type table[K comparable, V any] struct {
	read atomic.Pointer[map[K]V]
	mu   sync.Mutex // held by who changes it
}

func (t *table[K, V]) get(key K) (v V, ok bool) {
	if m := t.read.Load(); m != nil {
		v, ok = (*m)[key]
	}
	return v, ok
}

// getOrMake returns the value of the key, which is made if there is none. drop says which others are to go on that
// occasion.
func (t *table[K, V]) getOrMake(key K, fresh func() V, drop func(K, V) bool) V {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.get(key); ok {
		return v
	}
	next := make(map[K]V)
	if m := t.read.Load(); m != nil {
		maps.Copy(next, *m)
		maps.DeleteFunc(next, drop)
	}
	v := fresh()
	next[key] = v
	t.read.Store(&next)
	return v
}
