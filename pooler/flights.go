package pooler

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// flights finds something out once however many want to know it. Whoever gives up waiting does not take it from the others.
type flights[V any] struct {
	group  singleflight.Group
	limit  time.Duration // of each; set before the first
	ctx    context.Context
	cancel context.CancelCauseFunc
	flying sync.WaitGroup
}

// errLoginsOver is the cause of the end of what is under way when logins are closed.
var errLoginsOver = errors.New("the configuration has changed, or the pooler shuts down")

func newFlights[V any]() *flights[V] {
	f := &flights[V]{limit: DefaultLoginTimeout}
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	return f
}

// do has find run, for no longer than limit, or waits for one that runs already. That the end of ctx came first is an
// *uncheckedError.
func (f *flights[V]) do(ctx context.Context, key string, find func(context.Context) (V, error)) (v V, err error) {
	f.flying.Add(1)
	result := f.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(f.ctx, f.limit)
		defer cancel()
		var found V
		var failed error
		if p := contain.Run(func() { found, failed = find(ctx) }); p != nil { // here it would be the end of the process
			p.Log(nil, "login")
			return nil, &uncheckedError{p}
		}
		return found, failed
	})
	select {
	case r := <-result:
		f.flying.Done()
		if r.Err != nil {
			return v, r.Err
		}
		return r.Val.(V), nil
	case <-ctx.Done():
		go func() { <-result; f.flying.Done() }()
		return v, &uncheckedError{context.Cause(ctx)}
	}
}

// close ends what is under way, and returns when it has ended.
func (f *flights[V]) close() {
	f.cancel(errLoginsOver)
	f.flying.Wait()
}
