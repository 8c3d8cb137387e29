package front

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// lineLimit bounds the bytes on their way in one delay line: at 100 ms it lets 160 MB a second pass.
const lineLimit = 16 << 20

// delayLine keeps what is written for a while, in order. The zero value is ready for use.
type delayLine struct {
	mu      sync.Mutex
	queue   []parcel
	bytes   int
	busy    bool // something is queued, or being delivered
	err     error
	change  chan struct{} // closed and replaced with every change; nil: nobody has ever waited
	started bool
}

type parcel struct {
	data []byte
	due  time.Time
}

// push queues b to be delivered d from now. It reports false, and keeps nothing, if b can go at once: there is no delay and
// nothing is on its way. start is called once, before the first parcel, to start run.
func (q *delayLine) push(ctx context.Context, b []byte, d time.Duration, start func()) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d <= 0 && !q.busy {
		return false, q.err
	}
	due := time.Now().Add(d)
	for q.err == nil && q.bytes > 0 && q.bytes+len(b) > lineLimit {
		if err := q.wait(ctx); err != nil {
			return true, err
		}
	}
	if q.err != nil {
		return true, q.err
	}
	if !q.started {
		q.started = true
		start()
	}
	q.queue = append(q.queue, parcel{data: bytes.Clone(b), due: due})
	q.bytes += len(b)
	q.busy = true
	q.changed()
	return true, nil
}

// drain waits until nothing is on its way.
func (q *delayLine) drain(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.busy && q.err == nil {
		if err := q.wait(ctx); err != nil {
			return err
		}
	}
	return q.err
}

// run delivers what is due until ctx ends or deliver fails.
func (q *delayLine) run(ctx context.Context, deliver func([]byte) error) {
	for {
		next, err := q.next(ctx)
		if err == nil {
			err = sleep(ctx, time.Until(next.due))
		}
		if err == nil {
			err = deliver(next.data)
		}
		q.mu.Lock()
		if err != nil {
			q.err, q.queue, q.bytes = err, nil, 0
			q.changed()
			q.mu.Unlock()
			return
		}
		q.queue[0].data = nil
		q.queue = q.queue[1:]
		q.bytes -= len(next.data)
		q.busy = len(q.queue) > 0
		q.changed()
		q.mu.Unlock()
	}
}

// next waits for a parcel and leaves it in the queue.
func (q *delayLine) next(ctx context.Context) (parcel, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 {
		if err := q.wait(ctx); err != nil {
			return parcel{}, err
		}
	}
	return q.queue[0], nil
}

// wait gives q.mu away until something has changed.
func (q *delayLine) wait(ctx context.Context) error {
	if q.change == nil {
		q.change = make(chan struct{})
	}
	change := q.change
	q.mu.Unlock()
	defer q.mu.Lock()
	select {
	case <-change:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changed wakes all that wait. q.mu is held.
func (q *delayLine) changed() {
	if q.change != nil {
		close(q.change)
		q.change = nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
