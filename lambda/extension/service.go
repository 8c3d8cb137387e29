package main

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/pooler"
)

// waitMargin is left of an invocation when a wait for a connection is given up, so that the function can still say why.
const waitMargin = 250 * time.Millisecond

// service is the pooler, as an extension serves it.
type service struct {
	server *pooler.Server
	until  atomic.Pointer[time.Time] // when waits in this invocation end
}

var _ lambda.Service = (*service)(nil)

// open makes the pooler.
func open(set *settings, sandbox lambda.Sandbox, log *slog.Logger, meters metric.MeterProvider) (*service, error) {
	s := new(service)
	s.until.Store(new(time.Time))
	cfg := set.pooler
	cfg.Logger, cfg.MeterProvider = log, meters
	// A client that was frozen was not idle, nor late with the rest of a message.
	cfg.IdleClientTimeout, cfg.ClientMessageTimeout = -1, -1
	for _, k := range cfg.Clusters {
		s.fit(k, set, sandbox)
	}
	var err error
	if s.server, err = pooler.New(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// fit makes a cluster one that a sandbox can do with.
func (s *service) fit(k *pooler.Cluster, set *settings, sandbox lambda.Sandbox) {
	k.WaitUntil = func() time.Time { return *s.until.Load() }
	if sandbox.Initialization == lambda.SnapStart {
		// Nothing is connected in a snapshot unless the function connects.
		k.Watch = pooler.WatchUsed
	}
	if set.freeze != lambda.FreezeKeep && sandbox.Initialization != lambda.ManagedInstances {
		own := k.Database.Conn.RuntimeParams
		if _, ok := own["idle_session_timeout"]; !ok {
			own["idle_session_timeout"] = strconv.FormatInt(set.freezeIdle.Milliseconds(), 10)
		}
	}
}

func (s *service) Listen(ctx context.Context) error { return s.server.Listen(ctx) }

func (s *service) Serve() error { return s.server.Run(context.Background()) }

func (s *service) Warm(ctx context.Context, w lambda.Warmth) error {
	if w < lambda.WarmConnections {
		return s.server.WarmCredentials(ctx)
	}
	return s.server.Warm(ctx)
}

func (s *service) Invoked(deadline time.Time) {
	deadline = deadline.Add(-waitMargin)
	s.until.Store(&deadline)
}

func (s *service) Thawed(time.Duration) { s.server.Tidy() }

func (s *service) Activity() lambda.Activity {
	st := s.server.Stats()
	return lambda.Activity{Busy: st.Busy, Mark: st.Borrowed + uint64(st.LastUse.UnixNano())}
}

func (s *service) Release(context.Context) { s.server.Rest() }

func (s *service) Shutdown(ctx context.Context) error {
	s.server.Shutdown(ctx)
	return nil
}
