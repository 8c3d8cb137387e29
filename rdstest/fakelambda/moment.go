package fakelambda

import (
	"context"
	"fmt"
	"sync"
)

// Moment is something that processes do at the API.
type Moment string

// The moments.
const (
	ExtensionRegisters  Moment = "extension registers"
	ExtensionRegistered Moment = "extension has registered" // the function starts after that
	ExtensionNext       Moment = "extension asks for an event"
	ExtensionInitError  Moment = "extension reports an error of its start"
	ExtensionExitError  Moment = "extension reports that it ends"
	ExtensionSubscribes Moment = "extension subscribes to telemetry"
	RuntimeNext         Moment = "runtime asks for an invocation"
	RuntimeAnswers      Moment = "runtime answers"
	RuntimeFails        Moment = "runtime reports an error"
	RuntimeInitError    Moment = "runtime reports an error of its start"
)

// moments counts what has happened and holds up what is to wait.
type moments struct {
	mu    sync.Mutex
	count map[Moment]int
	held  map[Moment]chan struct{} // closed at the release
	news  chan struct{}            // closed, and replaced, when a count rises
}

func newMoments() *moments {
	return &moments{count: make(map[Moment]int), held: make(map[Moment]chan struct{}), news: make(chan struct{})}
}

// reach counts a moment, and waits while it is held.
func (m *moments) reach(ctx context.Context, what Moment) error {
	m.mu.Lock()
	m.count[what]++
	close(m.news)
	m.news = make(chan struct{})
	held := m.held[what]
	m.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Count is how often a moment has come.
func (a *API) Count(what Moment) int {
	a.moments.mu.Lock()
	defer a.moments.mu.Unlock()
	return a.moments.count[what]
}

// Await waits until a moment has come for the nth time since the API began.
func (a *API) Await(ctx context.Context, what Moment, n int) error {
	m := a.moments
	for {
		m.mu.Lock()
		count, news := m.count[what], m.news
		m.mu.Unlock()
		if count >= n {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("fakelambda: %s: %d times, not %d: %w", what, count, n, context.Cause(ctx))
		}
	}
}

// Hold keeps requests of this kind waiting from now on, until the function that it returns is called. They are counted when
// they come.
func (a *API) Hold(what Moment) (release func()) {
	m := a.moments
	held := make(chan struct{})
	m.mu.Lock()
	m.held[what] = held
	m.mu.Unlock()
	return sync.OnceFunc(func() {
		m.mu.Lock()
		if m.held[what] == held {
			delete(m.held, what)
		}
		m.mu.Unlock()
		close(held)
	})
}
