package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/fakelambda"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

func TestFiftyInvocationsShareAConnection(t *testing.T) {
	for _, l := range []language{inGo, inPython, inNode} {
		t.Run(string(l), func(t *testing.T) {
			s := start(t, shared, l, fakelambda.Config{})
			pids := make(map[int64]bool)
			for i := range 50 {
				pids[ask(t, s, deed{ID: fmt.Sprintf("fifty-%s-%d", l, i)}).PID] = true
			}
			if n := deeds(t, shared, fmt.Sprintf("fifty-%s-", l)); n != 50 {
				t.Errorf("%d deeds were done", n)
			}
			if len(pids) != 1 {
				t.Errorf("they ran on %d connections", len(pids))
			}
			must(t, s.Shutdown(testContext(t)))
			eventually(t, "connections after the end", func() bool { return connections(t, shared) == 0 })
		})
	}
}

func TestTheFirstConnectionIsMadeInInit(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{Env: []string{"FAIRLEAD_POOLSIZE=9"}})
	must(t, s.Init(testContext(t)))
	if n := connections(t, shared); n < 1 {
		t.Error("nothing is connected after Init")
	}
	if !logged(s, "did you mean FAIRLEAD_POOL_SIZE?") {
		t.Error("nothing was said of the misspelt variable")
	}
}

func TestASnapshotHasNoConnections(t *testing.T) {
	eventually(t, "the connections of the tests before", func() bool { return connections(t, shared) == 0 })
	s := start(t, shared, inGo, fakelambda.Config{APIConfig: fakelambda.APIConfig{Kind: fakelambda.SnapStart}})
	must(t, s.Init(testContext(t)))
	if n := connections(t, shared); n != 0 {
		t.Errorf("%d connections would be in the snapshot", n)
	}
	ask(t, s, deed{ID: "snapshot"})
}

func TestAFreezeInWhichTheServerEndsConnectionsIsNotSeen(t *testing.T) {
	for _, l := range []language{inGo, inPython, inNode} {
		t.Run(string(l), func(t *testing.T) {
			s := start(t, shared, l, fakelambda.Config{})
			first := ask(t, s, deed{ID: fmt.Sprintf("freeze-%s-1", l)})
			must(t, s.Freeze(testContext(t)))
			admin(t, shared, "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name in ($1, 'fairlead-topology')", short(t.Name()))
			eventually(t, "the end of the connections", func() bool { return connections(t, shared) == 0 })
			must(t, s.Thaw())
			if second := ask(t, s, deed{ID: fmt.Sprintf("freeze-%s-2", l)}); second.PID == first.PID {
				t.Error("the connection is still there")
			}
			if s.Starts() != 1 {
				t.Error("the processes were started anew")
			}
		})
	}
}

func TestAFreezeInWhichThePathIsForgottenIsNotSeen(t *testing.T) {
	own := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication}) // its server keeps what was forgotten
	must(t, prepare(testContext(t), own))
	s := start(t, own, inGo, fakelambda.Config{Env: []string{"FAIRLEAD_FREEZE=keep"}})
	first := ask(t, s, deed{ID: "forgotten-1"})
	must(t, s.Freeze(testContext(t)))
	time.Sleep(4 * time.Second) // what the extension takes for a freeze
	own.Writer().Front().Forget(front.Swallow)
	must(t, s.Thaw())
	begun := time.Now()
	second := ask(t, s, deed{ID: "forgotten-2"})
	if took := time.Since(begun); second.PID == first.PID || second.Count != first.Count+1 || took > 10*time.Second {
		t.Errorf("after %v: %+v, and %+v before", took, second, first)
	}
}

func TestTheServerEndsTheConnectionsOfAFrozenSandbox(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{Env: []string{"FAIRLEAD_FREEZE_IDLE=1"}})
	ask(t, s, deed{ID: "slot-1"})
	must(t, s.Freeze(testContext(t)))
	eventually(t, "a slot of the server", func() bool { return connections(t, shared) == 0 })
	must(t, s.Thaw())
	ask(t, s, deed{ID: "slot-2"})
}

func TestClosedBeforeAFreezeMeansThatNoConnectionIsLeft(t *testing.T) {
	for _, telemetry := range []fakelambda.Telemetry{fakelambda.TelemetryOn, fakelambda.TelemetryOff} {
		t.Run("telemetry "+string(telemetry), func(t *testing.T) {
			s := start(t, shared, inGo, fakelambda.Config{
				APIConfig: fakelambda.APIConfig{Telemetry: telemetry}, Env: []string{"FAIRLEAD_FREEZE=close"},
			})
			for i := range 3 {
				ask(t, s, deed{ID: fmt.Sprintf("close-%s-%d", telemetry, i)})
				must(t, s.Freeze(testContext(t)))
				// A server process is gone a moment after its socket.
				eventually(t, "connections of a frozen sandbox", func() bool { return connections(t, shared) == 0 })
				must(t, s.Thaw())
			}
		})
	}
}

func TestAfterATimeoutThereAreNewProcesses(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{Timeout: 5 * time.Second})
	ask(t, s, deed{ID: "timeout-1"})
	_, err := s.Invoke(testContext(t), encode(t, deed{Op: "sleep", ID: "timeout-2", Seconds: 3600}))
	if !errors.Is(err, fakelambda.ErrTimeout) || strings.Contains(err.Error(), "extension") {
		t.Errorf("the invocation ended with %v", err)
	}
	eventually(t, "the end of the transaction", func() bool { return connections(t, shared) == 0 })
	ask(t, s, deed{ID: "timeout-3"})
	if s.Starts() != 2 {
		t.Errorf("started %d times", s.Starts())
	}
	if n := deeds(t, shared, "timeout-"); n != 2 {
		t.Errorf("%d deeds were done", n)
	}
}

func TestAfterACrashOfTheFunctionThereAreNewProcesses(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{})
	ask(t, s, deed{ID: "crash-1"})
	_, err := s.Invoke(testContext(t), encode(t, deed{Op: "crash"}))
	if !errors.Is(err, fakelambda.ErrFunction) || strings.Contains(err.Error(), "extension") {
		t.Errorf("the invocation ended with %v", err)
	}
	ask(t, s, deed{ID: "crash-2"})
}

func TestAnExtensionThatIsKilledCostsTheSandboxAndNoMore(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{})
	ask(t, s, deed{ID: "killed-1"})
	s.KillExtension()
	if _, err := s.Invoke(testContext(t), encode(t, deed{ID: "killed-2"})); !errors.Is(err, fakelambda.ErrExtension) {
		t.Errorf("the invocation ended with %v", err)
	}
	ask(t, s, deed{ID: "killed-3"})
	eventually(t, "the end of the old connections", func() bool { return connections(t, shared) <= 2 })
}

func TestTheEndComesInTimeWithATransactionOpen(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{})
	must(t, s.Init(testContext(t)))
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		_, _ = s.Invoke(t.Context(), encode(t, deed{Op: "sleep", ID: "end", Seconds: 3600})) // it ends with the sandbox
	}()
	eventually(t, "the transaction", func() bool {
		return admin(t, shared, "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()") > 0
	})
	if err := s.Shutdown(testContext(t)); err != nil {
		t.Error(err)
	}
	<-begun
	eventually(t, "connections after the end", func() bool { return connections(t, shared) == 0 })
	if n := deeds(t, shared, "end"); n != 0 {
		t.Error("half a transaction was committed")
	}
}

func TestWhatCannotBeginSaysWhy(t *testing.T) {
	for _, c := range []struct{ name, env, fault, message string }{
		{"pool size", "FAIRLEAD_POOL_SIZE=none", "Extension.ConfigInvalid", "FAIRLEAD_POOL_SIZE: a number of 1 or more"},
		{"DSN", "FAIRLEAD_DSN=postgres://u:geheim@h/db?topology=guess", "Extension.ConfigInvalid", "parameter topology: unknown value"},
		{"no DSN", "FAIRLEAD_DSN=", "Extension.ConfigInvalid", "FAIRLEAD_DSN is not set"},
		{"address", "FAIRLEAD_LISTEN=192.0.2.1:5432", "Extension.ConfigInvalid", "listener 1: nobody could log in"},
		{"port", "FAIRLEAD_LISTEN=127.0.0.1:99999", "Extension.ListenFailed", "99999"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, shared, inGo, fakelambda.Config{Env: []string{c.env}})
			if err := s.Init(testContext(t)); !errors.Is(err, fakelambda.ErrExtension) {
				t.Errorf("Init ended with %v", err)
			}
			faults := s.API.Faults()
			if len(faults) != 1 || faults[0].Moment != fakelambda.ExtensionInitError || faults[0].Type != c.fault || !strings.Contains(faults[0].Message, c.message) {
				t.Errorf("reported %+v", faults)
			}
			if !logged(s, `"level":"ERROR"`) {
				t.Error("it is not in the log")
			}
			if logged(s, "geheim") || len(faults) > 0 && strings.Contains(faults[0].Message, "geheim") {
				t.Error("the password was told")
			}
		})
	}
}

func TestADatabaseThatIsDownDoesNotHoldUpInit(t *testing.T) {
	s := start(t, shared, inGo, fakelambda.Config{Env: []string{
		"FAIRLEAD_DSN=postgres://app:x@127.0.0.1:1/app?failover_timeout=500ms", "FAIRLEAD_WARM_TIMEOUT=200ms",
	}})
	must(t, s.Init(testContext(t)))
	answer, err := s.Invoke(testContext(t), encode(t, deed{ID: "down"}))
	must(t, err)
	if !answer.Failed {
		t.Errorf("the function answered %s", answer.Payload)
	}
	if !logged(s, "not warm") {
		t.Error("the log does not say that the service is not warm")
	}
}

func TestAFailoverIsNotSeen(t *testing.T) {
	ctx := testContext(t)
	c := rdstest.Start(t, rdstest.Config{Readers: 1, Flavor: rdstest.Replication})
	must(t, prepare(ctx, c))
	s := start(t, c, inPython, fakelambda.Config{Timeout: 2 * time.Minute})
	ask(t, s, deed{ID: "failover-1"})
	must(t, c.Crash(ctx, c.Writer()))
	_, err := c.Failover(ctx)
	must(t, err)
	ask(t, s, deed{ID: "failover-2"}) // between two invocations
	must(t, c.WaitSettled(ctx))
	answered := make(chan error, 1)
	go func() {
		answer, err := s.Invoke(ctx, []byte(`{"op":"sleep","id":"failover-3","seconds":2}`))
		if err == nil && answer.Failed {
			err = errors.New(string(answer.Payload))
		}
		answered <- err
	}()
	eventually(t, "the transaction", func() bool {
		return admin(t, c, "select count(*) from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()") > 0
	})
	must(t, c.Crash(ctx, c.Writer()))
	_, err = c.Failover(ctx)
	must(t, err)
	must(t, <-answered) // during one
	if n := deeds(t, c, "failover-"); n != 3 {
		t.Errorf("%d deeds were done", n)
	}
}

func TestProcessesOfOneSandboxShareThePool(t *testing.T) {
	const workers, size = 16, 4
	s := start(t, shared, inPython, fakelambda.Config{
		APIConfig: fakelambda.APIConfig{Kind: fakelambda.ManagedInstances},
		Env:       []string{fmt.Sprint("WORKERS=", workers), fmt.Sprint("FAIRLEAD_POOL_SIZE=", size)},
	})
	must(t, s.Init(testContext(t)))
	must(t, s.API.Await(testContext(t), fakelambda.RuntimeNext, workers))
	var all sync.WaitGroup
	pids := make(chan int64, workers)
	for i := range workers {
		all.Go(func() {
			for n := range 3 {
				answer, err := s.Invoke(t.Context(), []byte(fmt.Sprintf(`{"id":"share-%d-%d"}`, i, n)))
				var out done
				if err == nil {
					err = json.Unmarshal(answer.Payload, &out)
				}
				if err != nil || answer.Failed {
					t.Errorf("%s: %v", answer.Payload, err)
					return
				}
				if n == 2 {
					pids <- out.PID
				}
			}
		})
	}
	all.Wait()
	close(pids)
	different := make(map[int64]bool)
	for pid := range pids {
		different[pid] = true
	}
	if len(different) > size {
		t.Errorf("%d processes had %d connections", workers, len(different))
	}
	// One more watches the cluster.
	if n := connections(t, shared); n > size+1 {
		t.Errorf("%d connections", n)
	}
	if n := deeds(t, shared, "share-"); n != 3*workers {
		t.Errorf("%d deeds were done", n)
	}
	must(t, s.Shutdown(testContext(t)))
}
