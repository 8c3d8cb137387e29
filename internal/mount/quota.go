package mount

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Bounds are those of a Quota; 0 is for none.
type Bounds struct {
	// Max bounds the upstreams, and MaxPercent does so in percent of what the server admits. Before the first login, which finds
	// that out, there is one.
	Max, MaxPercent int
	// MaxIdlePercent bounds in the same way those that nobody uses.
	MaxIdlePercent int
}

// Quota bounds the upstreams that several Pools that lend have together. A Pool that needs another one when there may be no more
// gets that of a Pool that does not use it; when all are used, the next that becomes free, unless it has as many as the other.
//
// Its lock is taken with that of a lender held, and never the other way round.
type Quota struct {
	contended atomic.Bool // somebody asks; read without the lock

	mu       sync.Mutex
	bounds   Bounds
	admitted int // the connections that the server admits; 0: not known
	open     int
	held     map[*lender]int // how many of them each has
	asking   []*lender       // who needs one more, each once, in the order in which they began to ask
}

// NewQuota returns a Quota that nobody uses yet.
func NewQuota(b Bounds) *Quota { return &Quota{bounds: b, held: make(map[*lender]int)} }

// Set changes the bounds. Connections that are too many then are closed as they are given back.
func (q *Quota) Set(b Bounds) {
	q.mu.Lock()
	q.bounds = b
	q.mu.Unlock()
	q.serve()
}

// measures reports whether it matters what the server admits.
func (q *Quota) measures() bool {
	if q == nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bounds.MaxPercent > 0
}

// measured takes in what the server admits.
func (q *Quota) measured(n int) {
	q.mu.Lock()
	q.admitted = max(1, n)
	q.mu.Unlock()
	q.serve()
}

// limit is how many there may be. mu is held.
func (q *Quota) limit() int {
	n := math.MaxInt
	if q.bounds.Max > 0 {
		n = q.bounds.Max
	}
	if q.bounds.MaxPercent > 0 {
		n = min(n, max(1, q.admitted*q.bounds.MaxPercent/100))
	}
	return n
}

// take is for one more upstream of the lender's, if there may be one and nobody asks for it. The lender's lock is held.
func (q *Quota) take(l *lender) bool {
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open >= q.limit() || len(q.asking) > 0 {
		return false
	}
	q.open++
	q.held[l]++
	return true
}

// put is for upstreams that the lender has no more. No lender's lock is held.
func (q *Quota) put(l *lender, n int) {
	if q == nil || n == 0 {
		return
	}
	q.mu.Lock()
	q.open -= n
	if q.held[l] -= n; q.held[l] == 0 {
		delete(q.held, l)
	}
	q.mu.Unlock()
	q.serve()
}

// ask is for a lender that has somebody waiting for one more. No lender's lock is held.
func (q *Quota) ask(l *lender) {
	if q == nil {
		return
	}
	q.mu.Lock()
	q.enqueue(l)
	others := make([]*lender, 0, len(q.held))
	for o := range q.held {
		if o != l {
			others = append(others, o)
		}
	}
	slices.SortFunc(others, func(a, b *lender) int { return q.held[b] - q.held[a] })
	q.mu.Unlock()
	q.serve()
	for _, o := range others {
		for q.asks(l) && o.spare() { // what it spares may go to somebody who asks for longer
		}
	}
}

// enqueue puts a lender behind those who ask. mu is held.
func (q *Quota) enqueue(l *lender) {
	if !slices.Contains(q.asking, l) {
		q.asking = append(q.asking, l)
		q.contended.Store(true)
	}
}

func (q *Quota) asks(l *lender) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Contains(q.asking, l)
}

// serve gives what is free to those who ask, to each in turn. No lender's lock is held.
func (q *Quota) serve() {
	for {
		q.mu.Lock()
		if len(q.asking) == 0 || q.open >= q.limit() {
			q.mu.Unlock()
			return
		}
		l := q.asking[0]
		q.asking = slices.Delete(q.asking, 0, 1)
		q.contended.Store(len(q.asking) > 0)
		q.open++
		q.held[l]++
		q.mu.Unlock()

		taken, more := l.offered()
		q.mu.Lock()
		if !taken {
			q.open--
			if q.held[l]--; q.held[l] == 0 {
				delete(q.held, l)
			}
		}
		if more {
			q.enqueue(l)
		}
		q.mu.Unlock()
	}
}

// yields reports whether an upstream that none of the lender's sessions needs, or the first of them has waited for, is to go to
// another lender. The lender's lock is held.
func (q *Quota) yields(l *lender, needed bool) bool {
	if q == nil || !q.contended.Load() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	yields := slices.ContainsFunc(q.asking, func(o *lender) bool {
		return o != l && (!needed || q.held[o] == 0 || q.held[o] < q.held[l]-1)
	})
	if i := slices.Index(q.asking, l); yields && i >= 0 {
		q.asking = append(slices.Delete(q.asking, i, i+1), l)
	}
	return yields
}

// exceeded reports whether there are more upstreams than there may be.
func (q *Quota) exceeded() bool {
	if q == nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open > q.limit()
}

// tooManyIdle is by how many there are more that nobody uses than there may be. No lender's lock is held.
func (q *Quota) tooManyIdle() int {
	if q == nil {
		return 0
	}
	q.mu.Lock()
	allowed := q.admitted * q.bounds.MaxIdlePercent / 100
	if q.bounds.MaxIdlePercent == 0 || q.admitted == 0 {
		q.mu.Unlock()
		return 0
	}
	lenders := make([]*lender, 0, len(q.held))
	for l := range q.held {
		lenders = append(lenders, l)
	}
	q.mu.Unlock()
	idle := 0
	for _, l := range lenders {
		idle += l.countIdle()
	}
	return max(0, idle-allowed)
}

// explain says of a lender's want of upstreams what the quota has to do with it; "" for nothing.
func (q *Quota) explain(l *lender) string {
	if q == nil {
		return ""
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open < q.limit() {
		return ""
	}
	said := fmt.Sprintf("max_server_connections is %d", q.bounds.Max)
	if percent := q.bounds.MaxPercent; percent > 0 && (q.bounds.Max == 0 || q.limit() < q.bounds.Max) {
		said = fmt.Sprintf("max_connections_percent is %d, and the server admits %d", percent, q.admitted)
	}
	return fmt.Sprintf("All %d connections that the cluster's pools may have together are open (%s), %d of them this pool's", q.open, said, q.held[l])
}
