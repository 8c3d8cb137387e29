package lambda_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

// service is one that notes what it is asked for.
type service struct {
	mu       sync.Mutex
	calls    []string
	warmth   lambda.Warmth
	deadline time.Time // of the last invocation
	drain    time.Time // the deadline of Shutdown
	listen   error     // what Listen returns
	warm     error     // what Warm returns
	ended    chan error
	shut     sync.Once
}

func newService() *service { return &service{ended: make(chan error, 1)} }

func (s *service) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// called says which calls of these there were, in their order.
func (s *service) called(of ...string) (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if slices.Contains(of, c) {
			calls = append(calls, c)
		}
	}
	return calls
}

func (s *service) Listen(context.Context) error { s.note("listen"); return s.listen }
func (s *service) Serve() error                 { s.note("serve"); return <-s.ended }
func (s *service) Thawed(time.Duration)         { s.note("thawed") }
func (s *service) Activity() lambda.Activity    { return lambda.Activity{} }
func (s *service) Release(context.Context)      { s.note("release") }

func (s *service) Warm(_ context.Context, w lambda.Warmth) error {
	s.note("warm")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmth = w
	return s.warm
}

func (s *service) Invoked(deadline time.Time) {
	s.note("invoked")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = deadline
}

func (s *service) Shutdown(ctx context.Context) error {
	s.note("shutdown")
	s.mu.Lock()
	s.drain, _ = ctx.Deadline()
	s.mu.Unlock()
	s.shut.Do(func() { close(s.ended) })
	return nil
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newAPI(t testing.TB, cfg fakelambda.APIConfig) *fakelambda.API {
	t.Helper()
	api, err := fakelambda.NewAPI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	return api
}

// start runs an extension with a service, and returns what waits for its end.
func start(t testing.TB, addr string, s *service, cfg lambda.Config) (wait func() error) {
	t.Helper()
	t.Setenv("AWS_LAMBDA_RUNTIME_API", addr)
	if cfg.Open == nil {
		cfg.Open = func(lambda.Sandbox) (lambda.Service, error) { return s, nil }
	}
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(testContext(t))
	ended, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		ended <- lambda.Run(ctx, cfg)
	}()
	t.Cleanup(func() { cancel(); <-over })
	return func() error {
		select {
		case err := <-ended:
			return err
		case <-testContext(t).Done():
			return errors.New("the extension does not end")
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is a runtime that takes one invocation and answers it.
func answer(t testing.TB, api *fakelambda.API) {
	t.Helper()
	base := "http://" + api.Addr() + "/2018-06-01/runtime/invocation/"
	resp, err := http.Get(base + "next")
	if err != nil {
		t.Error(err)
		return
	}
	_ = resp.Body.Close()
	if resp, err = http.Post(base+resp.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", strings.NewReader("{}")); err != nil {
		t.Error(err)
		return
	}
	_ = resp.Body.Close()
}
