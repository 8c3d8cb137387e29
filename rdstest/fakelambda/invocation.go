package fakelambda

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Invocation is one call of the function.
type Invocation struct {
	ID       string
	Deadline time.Time

	payload  []byte
	answered chan Answer // capacity 1
}

// Answer is what the function has returned.
type Answer struct {
	Payload []byte
	Failed  bool // it is an error's description
}

// Begin delivers an invocation to the runtime, and to the extension if it has registered for that, and returns when both
// have taken it.
func (a *API) Begin(ctx context.Context, payload []byte, deadline time.Time) (*Invocation, error) {
	a.mu.Lock()
	a.requests++
	inv := &Invocation{ID: fmt.Sprintf("request-%d", a.requests), Deadline: deadline, payload: payload, answered: make(chan Answer, 1)}
	a.running[inv.ID] = inv
	told := slices.Contains(a.registered, "INVOKE")
	a.mu.Unlock()
	if told {
		e := event{Type: "INVOKE", DeadlineMs: deadline.UnixMilli(), RequestID: inv.ID, ARN: arn}
		if err := a.tell(ctx, e); err != nil {
			return nil, err
		}
	}
	select {
	case a.invocations <- inv:
		return inv, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("fakelambda: the function does not take %s: %w", inv.ID, context.Cause(ctx))
	}
}

// Tell delivers INVOKE to the extension alone, as if there were a function too.
func (a *API) Tell(ctx context.Context, requestID string, deadline time.Time) error {
	return a.tell(ctx, event{Type: "INVOKE", DeadlineMs: deadline.UnixMilli(), RequestID: requestID, ARN: arn})
}

// Shutdown delivers SHUTDOWN to the extension. The reason is one of SPINDOWN, TIMEOUT and FAILURE.
func (a *API) Shutdown(ctx context.Context, reason string, deadline time.Time) error {
	return a.tell(ctx, event{Type: "SHUTDOWN", DeadlineMs: deadline.UnixMilli(), Reason: reason})
}

func (a *API) tell(ctx context.Context, e event) error {
	a.mu.Lock()
	events := a.events
	a.mu.Unlock()
	select {
	case events <- e:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fakelambda: the extension does not ask for the event %s: %w", e.Type, context.Cause(ctx))
	}
}

// Answer waits for the function's answer, and has the platform tell of it.
func (a *API) Answer(ctx context.Context, inv *Invocation) (Answer, error) {
	select {
	case answer := <-inv.answered:
		status := "success"
		if answer.Failed {
			status = "error"
		}
		a.runtimeDone(ctx, inv.ID, status)
		return answer, nil
	case <-ctx.Done():
		return Answer{}, fmt.Errorf("fakelambda: no answer to %s: %w", inv.ID, context.Cause(ctx))
	}
}
