package pooler

import (
	"container/list"
	"sync"
	"time"
)

// recent remembers values until their end, and no more than size of them: those that were not asked for the longest go first.
type recent[K comparable, V any] struct {
	size int

	mu    sync.Mutex
	order *list.List // of *remembered, the last used in front
	byKey map[K]*list.Element
}

type remembered[K comparable, V any] struct {
	key   K
	value V
	until time.Time
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, order: list.New(), byKey: make(map[K]*list.Element)}
}

func (r *recent[K, V]) get(key K) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byKey[key]
	if e == nil {
		return v, false
	}
	it := e.Value.(*remembered[K, V])
	if !time.Now().Before(it.until) {
		r.order.Remove(e)
		delete(r.byKey, key)
		return v, false
	}
	r.order.MoveToFront(e)
	return it.value, true
}

func (r *recent[K, V]) put(key K, value V, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := &remembered[K, V]{key, value, until.Round(0)} // a frozen process has no monotonic clock that goes on
	if e := r.byKey[key]; e != nil {
		e.Value = it
		r.order.MoveToFront(e)
		return
	}
	r.byKey[key] = r.order.PushFront(it)
	if r.order.Len() > r.size {
		last := r.order.Back()
		r.order.Remove(last)
		delete(r.byKey, last.Value.(*remembered[K, V]).key)
	}
}
