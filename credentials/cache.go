package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/fairlead-go/fairlead/internal/contain"
)

const (
	// DefaultFetchTimeout bounds one fetch of a [Cache].
	DefaultFetchTimeout = 30 * time.Second
	// retryPause is how long a value is used on after it could not be renewed, before that is tried again.
	retryPause = 15 * time.Second
)

// Life is how long a value is good for, counted from when its fetch began.
type Life struct {
	// Renew is when there should be a new one. The cache begins to fetch it, in the background, after about two thirds.
	Renew time.Duration
	// End is when the value is of no use any more. Zero: never, the value is served for as long as no other can be had.
	End time.Duration
}

// CacheConfig says what a [Cache] keeps. Fetch is required.
type CacheConfig[K comparable, V any] struct {
	// Fetch makes a new value. It runs in a goroutine of its own, once at a time for each key, with a context that is not
	// the caller's: others may wait for the same value.
	Fetch func(ctx context.Context, key K) (*V, Life, error)
	// FetchTimeout bounds Fetch; default DefaultFetchTimeout.
	FetchTimeout time.Duration
	// Logger is told at Info when a value could not be renewed in the background; nil: no logs.
	Logger *slog.Logger
}

// Cache keeps values for keys. To read one that is there takes no lock and allocates nothing. Use NewCache.
type Cache[K comparable, V any] struct {
	cfg     CacheConfig[K, V]
	entries table[K, *entry[V]]
	flights singleflight.Group

	mu   sync.Mutex
	work *work // guarded by mu
}

// entry is what is known for a key.
type entry[V any] struct{ now atomic.Pointer[item[V]] }

// item is a value with its times. It does not change.
type item[V any] struct {
	value *V
	began time.Time // its fetch
	renew time.Time // in the background
	end   time.Time // zero: never
}

func (it *item[V]) usable(now time.Time) bool {
	return it != nil && (it.end.IsZero() || now.Before(it.end))
}

// work is what runs until a Close.
type work struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// errCacheClosed is the cause of a fetch's end.
var errCacheClosed = errors.New("credentials: the cache was closed")

// NewCache returns an empty cache. Nothing runs before the first Get.
func NewCache[K comparable, V any](cfg CacheConfig[K, V]) *Cache[K, V] {
	if cfg.FetchTimeout <= 0 {
		cfg.FetchTimeout = DefaultFetchTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Cache[K, V]{cfg: cfg, work: newWork()}
}

func newWork() *work {
	w := new(work)
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	return w
}

// Get returns the value of a key. It waits only for the first one, and for another when the end of the one it has is over.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (*V, error) {
	now := wallNow()
	if e, ok := c.entries.get(key); ok {
		if it := e.now.Load(); it.usable(now) {
			if !now.Before(it.renew) {
				c.renewInBackground(key, e, it, now)
			}
			return it.value, nil
		}
	}
	return c.fetch(ctx, key, func(it *item[V]) bool { return it.usable(wallNow()) })
}

// Renew returns the value of a key if good accepts it, and otherwise fetches another one, once however many ask. age is
// how long ago the fetch of the value began. It is for values that were refused somewhere.
func (c *Cache[K, V]) Renew(ctx context.Context, key K, good func(v *V, age time.Duration) bool) (*V, error) {
	accepted := func(it *item[V]) bool {
		now := wallNow()
		return it.usable(now) && good(it.value, now.Sub(it.began))
	}
	if e, ok := c.entries.get(key); ok {
		if it := e.now.Load(); accepted(it) {
			return it.value, nil
		}
	}
	return c.fetch(ctx, key, accepted)
}

// Peek returns the value of a key if there is one that can be used, and fetches nothing.
func (c *Cache[K, V]) Peek(key K) (*V, bool) {
	if e, ok := c.entries.get(key); ok {
		if it := e.now.Load(); it.usable(wallNow()) {
			return it.value, true
		}
	}
	return nil, false
}

// Close ends fetches that are under way, and returns when they have. The cache can be used on; it needs another Close
// then.
func (c *Cache[K, V]) Close() error {
	c.mu.Lock()
	old := c.work
	c.work = newWork()
	c.mu.Unlock()
	old.cancel(errCacheClosed)
	old.wg.Wait()
	return nil
}

// enter counts one more piece of work; the caller calls its wg.Done.
func (c *Cache[K, V]) enter() *work {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.work.wg.Add(1)
	return c.work
}

// fetch waits for a value. Whoever gives up waiting does not take it from the others.
func (c *Cache[K, V]) fetch(ctx context.Context, key K, good func(*item[V]) bool) (*V, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := c.enter()
	result := c.flights.DoChan(fmt.Sprint(key), func() (any, error) { return c.fly(w, key, good) })
	select {
	case r := <-result:
		// What did not run for this caller leaves its count to this caller.
		w.wg.Done()
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*V), nil
	case <-ctx.Done():
		go func() { <-result; w.wg.Done() }()
		return nil, context.Cause(ctx)
	}
}

// renewInBackground lets one of those who notice fetch a new value; the old one is used on.
func (c *Cache[K, V]) renewInBackground(key K, e *entry[V], it *item[V], now time.Time) {
	later := *it
	later.renew = now.Add(jittered(retryPause))
	if !e.now.CompareAndSwap(it, &later) {
		return
	}
	w := c.enter()
	go func() {
		defer w.wg.Done()
		_, err, _ := c.flights.Do(fmt.Sprint(key), func() (any, error) {
			return c.fly(w, key, func(now *item[V]) bool { return now != &later })
		})
		if err != nil && w.ctx.Err() == nil {
			c.cfg.Logger.Info("credentials: could not be renewed, and is used on", "key", fmt.Sprint(key), "end", later.end, "err", err)
		}
	}()
}

// fly is one fetch. A value that has come while it waited for its turn will do.
func (c *Cache[K, V]) fly(w *work, key K, good func(*item[V]) bool) (*V, error) {
	e := c.entries.getOrMake(key, func() *entry[V] { return new(entry[V]) }, c.dead)
	if it := e.now.Load(); it != nil && good(it) {
		return it.value, nil
	}
	ctx, cancel := context.WithTimeout(w.ctx, c.cfg.FetchTimeout)
	defer cancel()
	began := wallNow()
	var v *V
	var life Life
	var err error
	if p := contain.Run(func() { v, life, err = c.cfg.Fetch(ctx, key) }); p != nil {
		p.Log(c.cfg.Logger, "credentials")
		err = p
	}
	if err != nil {
		if w.ctx.Err() != nil {
			return nil, &UnavailableError{Err: errors.Join(context.Cause(w.ctx), err)}
		}
		return nil, err
	}
	it := &item[V]{value: v, began: began, renew: began.Add(jittered(life.Renew * 2 / 3))}
	if life.End > 0 {
		it.end = began.Add(life.End)
	}
	e.now.Store(it)
	return v, nil
}

// dead says which entries need not be kept: values past their end, such as tokens for instances that are not there any more.
func (c *Cache[K, V]) dead(_ K, e *entry[V]) bool {
	it := e.now.Load()
	return it != nil && !it.usable(wallNow())
}

// jittered is d give or take a tenth, so that the processes of a fleet do not ask at the same time.
func jittered(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/10 + rand.N(d/5+1)
}
