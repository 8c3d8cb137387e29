package lambda_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
)

func TestTheServiceListensBeforeTheExtensionRegisters(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	release := api.Hold(fakelambda.ExtensionRegisters)
	start(t, api.Addr(), s, lambda.Config{})
	must(t, api.Await(testContext(t), fakelambda.ExtensionRegisters, 1))
	if got := s.called("listen"); len(got) != 1 {
		t.Error("the function can start, and the service does not listen")
	}
	release()
	must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 1))
	if got := s.called("warm"); len(got) != 1 {
		t.Error("Init is over, and the service was not asked to warm up")
	}
	if got := api.Registered(); !slices.Equal(got, []string{"INVOKE", "SHUTDOWN"}) {
		t.Errorf("registered for %v", got)
	}
}

func TestInvocationsAreToldWithTheirDeadline(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	start(t, api.Addr(), s, lambda.Config{})
	for i := range 3 {
		deadline := time.UnixMilli(2_000_000_000_000 + int64(i))
		must(t, api.Tell(testContext(t), fmt.Sprint(i), deadline))
		must(t, api.Await(testContext(t), fakelambda.ExtensionNext, i+2))
		if !s.deadline.Equal(deadline) {
			t.Errorf("invocation %d: deadline %v, not %v", i, s.deadline, deadline)
		}
	}
	if got := s.called("release"); len(got) != 0 {
		t.Error("connections were released though they are to be left open")
	}
}

func TestOnManagedInstancesOnlyTheEndIsAskedFor(t *testing.T) {
	for environment, asks := range map[string]int{"lambda-managed-instances": 1, "a kind that is not known yet": 2} {
		t.Run(environment, func(t *testing.T) {
			t.Setenv("AWS_LAMBDA_INITIALIZATION_TYPE", environment)
			api, s := newAPI(t, fakelambda.APIConfig{Kind: fakelambda.ManagedInstances}), newService()
			wait := start(t, api.Addr(), s, lambda.Config{Freeze: lambda.FreezeClose})
			must(t, api.Shutdown(testContext(t), "SPINDOWN", time.Now().Add(2*time.Second)))
			must(t, wait())
			if got := api.Registered(); !slices.Equal(got, []string{"SHUTDOWN"}) {
				t.Errorf("registered for %v", got)
			}
			if n := api.Count(fakelambda.ExtensionRegisters); n != asks {
				t.Errorf("registered %d times, not %d", n, asks)
			}
			if n := api.Count(fakelambda.ExtensionSubscribes); n != 0 {
				t.Error("telemetry was asked for though there is no freeze")
			}
		})
	}
}

func TestUnderSnapStartOnlyWhatSurvivesIsWarmed(t *testing.T) {
	for environment, want := range map[string]lambda.Warmth{"snap-start": lambda.WarmCredentials, "on-demand": lambda.WarmConnections} {
		t.Run(environment, func(t *testing.T) {
			t.Setenv("AWS_LAMBDA_INITIALIZATION_TYPE", environment)
			api, s := newAPI(t, fakelambda.APIConfig{}), newService()
			start(t, api.Addr(), s, lambda.Config{})
			must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 1))
			if s.warmth != want {
				t.Errorf("warmth %d, not %d", s.warmth, want)
			}
		})
	}
}

func TestAServiceThatIsNotWarmIsServed(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	s.warm = errors.New("AWS is down")
	start(t, api.Addr(), s, lambda.Config{})
	must(t, api.Tell(testContext(t), "one", time.Now().Add(time.Minute)))
	if faults := api.Faults(); len(faults) != 0 {
		t.Errorf("reported: %v", faults)
	}
}

func TestWhatCannotBeginIsReportedAndEnds(t *testing.T) {
	broken := errors.New("pool_size: 0 is too small")
	for _, c := range []struct {
		name, fault string
		cfg         lambda.Config
		listen      error
	}{
		{"configuration", "Extension.ConfigInvalid", lambda.Config{Open: func(lambda.Sandbox) (lambda.Service, error) { return nil, broken }}, nil},
		{"address", "Extension.ListenFailed", lambda.Config{}, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, s := newAPI(t, fakelambda.APIConfig{}), newService()
			s.listen = c.listen
			if err := start(t, api.Addr(), s, c.cfg)(); !errors.Is(err, broken) {
				t.Errorf("Run returned %v", err)
			}
			want := fakelambda.Fault{Moment: fakelambda.ExtensionInitError, Type: c.fault, Message: broken.Error()}
			if got := api.Faults(); !slices.Equal(got, []fakelambda.Fault{want}) {
				t.Errorf("reported %v", got)
			}
		})
	}
}

func TestAServiceThatEndsByItselfIsReported(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	wait := start(t, api.Addr(), s, lambda.Config{})
	must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 1))
	s.ended <- errors.New("the listener broke")
	if err := wait(); err == nil || !strings.Contains(err.Error(), "the listener broke") {
		t.Errorf("Run returned %v", err)
	}
	want := fakelambda.Fault{Moment: fakelambda.ExtensionExitError, Type: "Extension.ServeFailed", Message: "the listener broke"}
	if got := api.Faults(); !slices.Equal(got, []fakelambda.Fault{want}) {
		t.Errorf("reported %v", got)
	}
}

func TestTheEndDrainsShortlyBeforeItsDeadlineAndFlushes(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	wait := start(t, api.Addr(), s, lambda.Config{Flush: func(context.Context) error { s.note("flush"); return nil }})
	deadline := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	must(t, api.Shutdown(testContext(t), "spindown", deadline))
	must(t, wait())
	if got := s.called("shutdown", "flush"); !slices.Equal(got, []string{"shutdown", "flush"}) {
		t.Errorf("at the end: %v", got)
	}
	if left := deadline.Sub(s.drain); left < 100*time.Millisecond || left > 500*time.Millisecond {
		t.Errorf("draining may take until %v before the end", left)
	}
}

func TestTheEndOfTheContextDrains(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	t.Setenv("AWS_LAMBDA_RUNTIME_API", api.Addr())
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan error, 1)
	go func() {
		ended <- lambda.Run(ctx, lambda.Config{Open: func(lambda.Sandbox) (lambda.Service, error) { return s, nil }})
	}()
	must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 1))
	cancel()
	must(t, <-ended)
	if got := s.called("shutdown"); len(got) != 1 || s.drain.IsZero() {
		t.Error("the service was not shut down")
	}
}

func TestFailuresOfTheAPIDoNotEndTheService(t *testing.T) {
	var asked atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/register"):
			w.Header().Set("Lambda-Extension-Identifier", "one")
			_, _ = w.Write([]byte("{}"))
		case asked.Add(1) < 3:
			http.Error(w, "out of order", http.StatusInternalServerError)
		default:
			_, _ = fmt.Fprintf(w, `{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":%d}`, time.Now().Add(2*time.Second).UnixMilli())
		}
	}))
	defer api.Close()
	s := newService()
	must(t, start(t, strings.TrimPrefix(api.URL, "http://"), s, lambda.Config{})())
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times for an event", n)
	}
}

func TestConnectionsAreReleasedBetweenTheAnswerAndTheNextEvent(t *testing.T) {
	api, s := newAPI(t, fakelambda.APIConfig{}), newService()
	start(t, api.Addr(), s, lambda.Config{Freeze: lambda.FreezeClose, Quiet: time.Hour})
	must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 1))
	release := api.Hold(fakelambda.RuntimeAnswers)
	go answer(t, api)
	inv, err := api.Begin(testContext(t), nil, time.Now().Add(time.Hour))
	must(t, err)
	must(t, api.Await(testContext(t), fakelambda.RuntimeAnswers, 1))
	if got := s.called("release"); len(got) != 0 {
		t.Error("released while the function runs")
	}
	next := api.Hold(fakelambda.ExtensionNext)
	defer next()
	release()
	_, err = api.Answer(testContext(t), inv)
	must(t, err)
	must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 2))
	if got := s.called("release"); len(got) != 1 {
		t.Errorf("released %d times before the sandbox can be frozen", len(got))
	}
}

func TestWithoutTelemetryTheEndOfTheUseCounts(t *testing.T) {
	for _, telemetry := range []fakelambda.Telemetry{fakelambda.TelemetryOff, fakelambda.TelemetrySilent} {
		t.Run(string(telemetry), func(t *testing.T) {
			api, s := newAPI(t, fakelambda.APIConfig{Telemetry: telemetry}), newService()
			start(t, api.Addr(), s, lambda.Config{Freeze: lambda.FreezeClose, Quiet: time.Millisecond})
			must(t, api.Tell(testContext(t), "one", time.Now().Add(time.Hour)))
			must(t, api.Await(testContext(t), fakelambda.ExtensionNext, 2))
			if got := s.called("release"); len(got) != 1 {
				t.Errorf("released %d times", len(got))
			}
		})
	}
}

func TestOutsideOfLambdaTheRemedyIsNamed(t *testing.T) {
	t.Setenv("AWS_LAMBDA_RUNTIME_API", "")
	err := lambda.Run(t.Context(), lambda.Config{Open: func(lambda.Sandbox) (lambda.Service, error) { return newService(), nil }})
	if err == nil || !strings.Contains(err.Error(), "layer's extensions/") {
		t.Errorf("Run returned %v", err)
	}
}
