package fakelambda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Config says what runs in a [Sandbox].
type Config struct {
	APIConfig
	// Extension is the command of the extension, nil for none.
	Extension []string
	// Function is the command of the function, with its runtime.
	Function []string
	// Env is added to what Lambda sets, for both, as "key=value".
	Env []string
	// Dir is the working directory and LAMBDA_TASK_ROOT. Default: a new one.
	Dir string
	// Timeout is the function's. Default 3 seconds, as Lambda's.
	Timeout time.Duration
	// Output gets what the processes print. Default: it can be had from Log alone.
	Output func(line string)
}

// shutdownTime is what an extension is given for its end.
const shutdownTime = 2 * time.Second

// Sandbox is a place for a function and its extension. It is safe for use by several goroutines, as invocations at once are; acts
// such as Freeze are for one goroutine.
type Sandbox struct {
	API *API

	cfg Config
	log log

	mu        sync.Mutex // guards what follows
	extension *process
	function  *process
	starts    int
}

// How an invocation ends other than by an answer.
var (
	ErrTimeout   = errors.New("fakelambda: the function has timed out")
	ErrFunction  = errors.New("fakelambda: the function's process has ended")
	ErrExtension = errors.New("fakelambda: the extension's process has ended: Extension.Crash")
)

// Start makes a sandbox for a test. Its processes start with Init, or the first Invoke, and are gone with the test.
func Start(t testing.TB, cfg Config) *Sandbox {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	api, err := NewAPI(cfg.APIConfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.APIConfig = api.cfg
	s := &Sandbox{API: api, cfg: cfg, log: log{also: cfg.Output}}
	t.Cleanup(func() {
		s.kill()
		if err := api.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the sandbox printed:\n%s", s.Log())
		}
	})
	return s
}

// Init starts the processes and waits until all of them have asked for what comes next, or one has ended.
func (s *Sandbox) Init(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.init(ctx)
}

func (s *Sandbox) init(ctx context.Context) error {
	if s.function != nil {
		return nil
	}
	s.API.reset()
	s.starts++
	runtime := s.API.Count(RuntimeNext)
	if s.cfg.Extension != nil {
		registered, next := s.API.Count(ExtensionRegistered), s.API.Count(ExtensionNext)
		var err error
		if s.extension, err = s.start(s.cfg.Extension, 0); err != nil {
			return err
		}
		if err := s.await(ctx, s.extension, ErrExtension, func(ctx context.Context) error { return s.API.Await(ctx, ExtensionRegistered, registered+1) }); err != nil {
			return err
		}
		if s.function, err = s.start(s.cfg.Function, s.extension.pid()); err != nil {
			if errors.Is(err, syscall.EPERM) { // nobody is left in the group that it was to join
				err = s.await(ctx, s.extension, ErrExtension, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
			}
			s.killLocked()
			return err
		}
		if err := s.await(ctx, s.extension, ErrExtension, func(ctx context.Context) error { return s.API.Await(ctx, ExtensionNext, next+1) }); err != nil {
			return err
		}
	} else {
		var err error
		if s.function, err = s.start(s.cfg.Function, 0); err != nil {
			return err
		}
	}
	return s.await(ctx, s.function, ErrFunction, func(ctx context.Context) error { return s.API.Await(ctx, RuntimeNext, runtime+1) })
}

// await waits for something unless a process ends before; then there is nothing left of the sandbox.
func (s *Sandbox) await(ctx context.Context, p *process, ended error, what func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.done:
			cancel(ended)
		case <-stop:
		}
	}()
	err := what(ctx)
	if err != nil {
		s.killLocked()
	}
	return err
}

// Invoke calls the function and returns its answer when the extension is done too. There are new processes if need be. An
// answer in time is returned with ErrExtension if the extension has ended.
func (s *Sandbox) Invoke(ctx context.Context, payload []byte) (Answer, error) {
	if err := s.Init(ctx); err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	extension, function := s.extension, s.function
	s.mu.Unlock()
	deadline := time.Now().Add(s.cfg.Timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(s.cfg.Timeout, func() { cancel(ErrTimeout) })
	defer timer.Stop()
	watched := make(chan struct{})
	defer close(watched)
	go func() {
		var gone <-chan struct{}
		if extension != nil {
			gone = extension.done
		}
		select {
		case <-function.done:
			cancel(ErrFunction)
		case <-gone:
			cancel(ErrExtension)
		case <-watched:
		}
	}()
	next := s.API.Count(ExtensionNext)
	answer, err := s.invoke(ctx, payload, deadline)
	if err == nil && extension != nil && s.cfg.Kind != ManagedInstances {
		err = s.API.Await(ctx, ExtensionNext, next+1)
	}
	switch {
	case errors.Is(err, ErrTimeout):
		return answer, errors.Join(err, s.end("TIMEOUT"))
	case errors.Is(err, ErrFunction), errors.Is(err, ErrExtension):
		return answer, errors.Join(err, s.end("FAILURE"))
	}
	return answer, err
}

func (s *Sandbox) invoke(ctx context.Context, payload []byte, deadline time.Time) (Answer, error) {
	inv, err := s.API.Begin(ctx, payload, deadline)
	if err != nil {
		return Answer{}, err
	}
	return s.API.Answer(ctx, inv)
}

// Shutdown ends the sandbox as Lambda does with one that is idle. An error says that the extension did not end in time, or not well.
func (s *Sandbox) Shutdown(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.end("SPINDOWN")
}

// end ends the function first and then the extension, which is told why.
func (s *Sandbox) end(reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.killLocked()
	if s.function != nil && reason == "SPINDOWN" {
		s.function.terminate()
	} else if s.function != nil {
		s.function.kill()
	}
	if s.extension == nil || s.extension.ended() {
		return nil
	}
	deadline := time.Now().Add(shutdownTime)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := s.API.Shutdown(ctx, reason, deadline); err != nil {
		return err
	}
	select {
	case <-s.extension.done:
	case <-ctx.Done():
		return fmt.Errorf("fakelambda: the extension has not ended %v after SHUTDOWN and is killed", shutdownTime)
	}
	if err := s.extension.err; err != nil {
		return fmt.Errorf("fakelambda: the extension's end: %w", err)
	}
	return nil
}

// KillExtension ends the extension's process at once.
func (s *Sandbox) KillExtension() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extension != nil {
		s.extension.kill()
	}
}

// Extension is the extension's process ID, 0 if there is none.
func (s *Sandbox) Extension() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extension == nil {
		return 0
	}
	return s.extension.pid()
}

// Function is the function's process ID, 0 if there is none.
func (s *Sandbox) Function() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.function == nil {
		return 0
	}
	return s.function.pid()
}

// Starts is how often the sandbox's processes were started.
func (s *Sandbox) Starts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// Log is what the processes have printed.
func (s *Sandbox) Log() string { return s.log.text() }

// Freeze stops all processes, and returns when they stand still.
func (s *Sandbox) Freeze(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.function == nil {
		return errors.New("fakelambda: freeze: nothing runs")
	}
	return stopGroup(ctx, s.group())
}

// Thaw lets them go on.
func (s *Sandbox) Thaw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.function == nil {
		return errors.New("fakelambda: thaw: nothing runs")
	}
	if err := syscall.Kill(-s.group(), syscall.SIGCONT); err != nil {
		return fmt.Errorf("fakelambda: thaw: %w", err)
	}
	return nil
}

// group is the processes' group, which the first of them leads.
func (s *Sandbox) group() int {
	if s.extension != nil {
		return s.extension.pid()
	}
	return s.function.pid()
}

func (s *Sandbox) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

func (s *Sandbox) killLocked() {
	if s.extension == nil && s.function == nil {
		return
	}
	_ = syscall.Kill(-s.group(), syscall.SIGKILL) // what the function has started too; an empty group is fine
	for _, p := range []*process{s.extension, s.function} {
		if p != nil {
			p.kill()
		}
	}
	s.extension, s.function = nil, nil
}

// env is what Lambda sets.
func (s *Sandbox) env() []string {
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + s.API.Addr(), "AWS_LAMBDA_FUNCTION_NAME=fake", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=" + string(s.cfg.Kind), "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_REGION=eu-west-1",
		"LAMBDA_TASK_ROOT=" + s.cfg.Dir, "_HANDLER=app.handler", "HOME=" + s.cfg.Dir, "TMPDIR=" + os.TempDir(),
		"PATH=" + os.Getenv("PATH"),
	}
	return append(env, s.cfg.Env...)
}

// log keeps what processes print.
type log struct {
	also func(line string)

	mu   sync.Mutex
	kept bytes.Buffer
	rest []byte // of a line that is not whole
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept.Write(p)
	if l.also != nil {
		l.rest = append(l.rest, p...)
		for {
			line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
			if !whole {
				break
			}
			l.also(string(line))
			l.rest = rest
		}
	}
	return len(p), nil
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.String()
}
