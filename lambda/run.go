package lambda

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// The types of faults that are reported to Lambda.
const (
	faultConfig = "Extension.ConfigInvalid"
	faultListen = "Extension.ListenFailed"
	faultServe  = "Extension.ServeFailed"
)

// extension is a running one.
type extension struct {
	cfg     Config
	sandbox Sandbox
	client  *Client
	service Service
	clock   *clock
	told    *telemetry // nil: the function's answers are not told

	flushed time.Time // the wall clock's time of the last flush; of watch's own
}

// Run serves until the sandbox ends, or ctx does. It returns an error when there is nothing that could be served, after Lambda
// was told.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	sandbox, err := ReadSandbox()
	if err != nil {
		return err
	}
	x := &extension{cfg: cfg, sandbox: sandbox, client: NewClient(sandbox.RuntimeAPI, sandbox.Extension), clock: newClock()}
	return x.run(ctx)
}

func (x *extension) run(ctx context.Context) error {
	fault := x.open(ctx)
	// Only who is registered can report why it does not begin.
	invocations, err := x.register(ctx)
	if fault != nil {
		if err == nil {
			err = x.client.InitError(ctx, *fault)
		}
		if err != nil {
			x.cfg.Logger.Error("lambda: an error could not be reported", "error", err)
		}
		return fault.Err
	}
	if err != nil {
		over, cancel := context.WithCancel(ctx)
		cancel() // nobody has come yet
		return errors.Join(err, x.service.Shutdown(over))
	}
	ctx, cancel := context.WithCancel(ctx)
	var goroutines sync.WaitGroup
	defer func() { cancel(); goroutines.Wait() }()
	served := make(chan error, 1)
	goroutines.Go(func() { served <- x.service.Serve() })
	goroutines.Go(func() { x.watch(ctx) })
	if invocations && x.cfg.Freeze == FreezeClose {
		x.subscribe(ctx)
		defer x.unsubscribe()
	}
	x.warm(ctx)
	events, done := make(chan *Event), make(chan struct{}, 1)
	done <- struct{}{}
	goroutines.Go(func() { x.receive(ctx, done, events) })
	return x.serve(ctx, served, events, done)
}

// open makes the service and its addresses.
func (x *extension) open(ctx context.Context) *Fault {
	var err error
	if x.service, err = x.cfg.Open(x.sandbox); err != nil {
		return &Fault{faultConfig, err}
	}
	if err := x.service.Listen(ctx); err != nil {
		return &Fault{faultListen, err}
	}
	return nil
}

// register asks for what there is to be told in this kind of sandbox, and reports whether invocations are.
func (x *extension) register(ctx context.Context) (invocations bool, err error) {
	if x.sandbox.freezes() {
		if _, err = x.client.Register(ctx, Invoke, Shutdown); err == nil || !refusesInvoke(err) {
			return err == nil, err
		}
	}
	_, err = x.client.Register(ctx, Shutdown)
	return false, err
}

// subscribe asks to be told when the function has answered. Without it that is guessed from what its clients do.
func (x *extension) subscribe(ctx context.Context) {
	t, err := listenTelemetry(ctx)
	if err == nil {
		if err = x.client.Subscribe(ctx, t.uri(), telemetryBuffering); err == nil {
			x.told = t
			return
		}
		t.close()
	}
	x.cfg.Logger.Warn("lambda: the end of invocations is not told, and is taken from what clients do", "error", err)
}

func (x *extension) unsubscribe() {
	if x.told != nil {
		x.told.close()
	}
}

// warm prepares the service while the function initializes.
func (x *extension) warm(ctx context.Context) {
	w := WarmConnections
	if x.sandbox.Initialization == SnapStart {
		w = WarmCredentials
	}
	ctx, cancel := context.WithTimeout(ctx, x.cfg.WarmTimeout)
	defer cancel()
	if err := x.service.Warm(ctx, w); err != nil {
		x.cfg.Logger.Warn("lambda: the service is not warm; the first client waits for it", "error", err)
	}
}

// serve takes events until there is one that ends the sandbox, or the service ends. It says on done that it is done with one.
func (x *extension) serve(ctx context.Context, served <-chan error, events <-chan *Event, done chan<- struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return x.shutdown(ctx, time.Time{}, served)
		case err := <-served:
			return x.failed(ctx, err)
		case e := <-events:
			if e.Type == Shutdown {
				x.cfg.Logger.Info("lambda: the sandbox ends", "reason", string(e.Reason))
				return x.shutdown(ctx, e.Deadline(), served)
			}
			x.invoked(ctx, e)
			done <- struct{}{}
		}
	}
}

// receive asks for an event each time that the one before is done. A failure is no reason to stop serving.
func (x *extension) receive(ctx context.Context, done <-chan struct{}, events chan<- *Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-done:
		}
		pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(2*time.Second),
			backoff.WithMaxElapsedTime(0))
		event, err := backoff.RetryNotifyWithData(func() (*Event, error) { return x.client.Next(ctx) }, backoff.WithContext(pause, ctx),
			func(err error, again time.Duration) {
				x.cfg.Logger.Warn("lambda: no event could be had, and the service goes on", "error", err, "again_in", again)
			})
		if err != nil {
			return // ctx is over
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return
		}
	}
}

// failed reports that the service has ended though nobody asked it to.
func (x *extension) failed(ctx context.Context, err error) error {
	if err == nil {
		err = errors.New("lambda: the service has ended by itself")
	}
	if report := x.client.ExitError(ctx, Fault{faultServe, err}); report != nil {
		err = errors.Join(err, report)
	}
	return err
}

// shutdown drains the service until shortly before the deadline; zero is for when nobody told one.
func (x *extension) shutdown(ctx context.Context, deadline time.Time, served <-chan error) error {
	if deadline.IsZero() {
		deadline = time.Now().Add(shutdownTime)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(-shutdownMargin))
	defer cancel()
	err := x.service.Shutdown(ctx)
	if err == nil {
		err = <-served
	}
	last, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	if err := x.cfg.Flush(last); err != nil {
		x.cfg.Logger.Warn("lambda: metrics could not be written", "error", err)
	}
	if err != nil {
		return fmt.Errorf("lambda: shut down: %w", err)
	}
	return nil
}
