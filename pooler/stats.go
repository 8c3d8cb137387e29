package pooler

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Stats is how a Server is doing.
type Stats struct {
	// Clients are those that are connected.
	Clients int `json:"clients"`
	// Busy are those of them that log in, have something in flight or a transaction open, and LastUse is when one of them
	// last began to wait, for its server or its client; the zero time if there is none.
	Busy    int       `json:"busy"`
	LastUse time.Time `json:"last_use"`
	// Panics counts internal errors, each of which has ended one client and nothing else; the log has their stacks.
	Panics uint64 `json:"panics"`
	// Connections are those of all Pools.
	Connections
	// Pools are those that are in use, in the order of their clusters, databases, roles and modes.
	Pools []PoolStats `json:"pools"`
}

// PoolStats is how one pool is doing: the connections to a database of a cluster for one role and mode.
type PoolStats struct {
	Cluster    string     `json:"cluster"`
	Database   string     `json:"database"`
	TargetRole TargetRole `json:"target_role"` // "": what the cluster's DSN says
	Mode       Mode       `json:"mode"`
	// Replaced says that it is there for clients only who came before the configuration changed.
	Replaced bool `json:"replaced"`
	// Clients are those who have it, and Busy those of them that have something in flight or a transaction open.
	Clients int `json:"clients"`
	Busy    int `json:"busy"`
	Connections
}

// Connections are what pools have of them, and what became of the wish for one.
type Connections struct {
	// Open server connections, those of them that nobody uses, the sessions that wait for one, and those that keep one because
	// of state that they have on it.
	Open    int `json:"open"`
	Idle    int `json:"idle"`
	Waiting int `json:"waiting"`
	Pinned  int `json:"pinned"`
	// Listening are server connections beside the open ones, which receive notifications for all sessions, and Missed counts
	// how often a session was told that it may have missed some.
	Listening int    `json:"listening"`
	Missed    uint64 `json:"missed"`
	// Borrowed counts how often a session was given a connection, Timeouts how often none became free in time, and Unclean the
	// connections that VerifyClean has found wanting.
	Borrowed uint64 `json:"borrowed"`
	Timeouts uint64 `json:"timeouts"`
	Unclean  uint64 `json:"unclean"`
	// Pins counts the sessions that state has kept on a connection, by that state.
	Pins map[string]uint64 `json:"pins"`
}

func (c *Connections) add(o Connections) {
	c.Open += o.Open
	c.Idle += o.Idle
	c.Waiting += o.Waiting
	c.Pinned += o.Pinned
	c.Listening += o.Listening
	c.Missed += o.Missed
	c.Borrowed += o.Borrowed
	c.Timeouts += o.Timeouts
	c.Unclean += o.Unclean
	for state, n := range o.Pins {
		c.Pins[state] += n
	}
}

// Stats is a look at the Server.
func (s *Server) Stats() Stats {
	st := Stats{Panics: s.panics.Load(), Connections: Connections{Pins: make(map[string]uint64)}}
	clients, busy := make(map[*shared]int), make(map[*shared]int)
	for _, c := range s.all() {
		st.Clients++
		since := c.waiting.Load()
		if since != 0 { // shared is set before
			clients[c.shared]++
		}
		if since >= 0 || !c.mount.Idle() {
			st.Busy++
			if since != 0 {
				busy[c.shared]++
			}
		}
		if at := time.Unix(0, max(since, -since)); since != 0 && at.After(st.LastUse) {
			st.LastUse = at
		}
	}
	for _, p := range s.pools.list() {
		l := p.pool.Stats()
		one := PoolStats{
			Cluster: p.key.cluster, Database: p.key.database, TargetRole: p.key.role, Mode: p.key.mode, Replaced: s.pools.replaced(p),
			Clients: clients[p], Busy: busy[p],
			Connections: Connections{
				Open: l.Open, Idle: l.Idle, Waiting: l.Waiting, Pinned: l.Pinned, Listening: l.Listening, Missed: l.Missed, Borrowed: l.Borrowed, Timeouts: l.Timeouts,
				Unclean: l.Unclean, Pins: l.Pins,
			},
		}
		st.Pools = append(st.Pools, one)
		st.add(one.Connections)
	}
	return st
}

// scope names the instrumentation.
const scope = "github.com/fairlead-go/fairlead/pooler"

// meter has the pools' gauges looked at until it is undone.
func (s *Server) meter() (undo func(), err error) {
	provider := s.cfg.Load().MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope)
	var instruments []metric.Observable
	gauge := func(name, description, unit string) metric.Int64ObservableGauge {
		g, failed := meter.Int64ObservableGauge(name, metric.WithDescription(description), metric.WithUnit(unit))
		if failed != nil && err == nil {
			err = fmt.Errorf("pooler: metric %s: %w", name, failed)
		}
		instruments = append(instruments, g)
		return g
	}
	open := gauge("fairlead.pool.connections.open", "Server connections of a pool.", "{connection}")
	idle := gauge("fairlead.pool.connections.idle", "Server connections of a pool that nobody uses.", "{connection}")
	pinned := gauge("fairlead.pool.connections.pinned", "Server connections of a pool that one session keeps because of state that it has there.", "{connection}")
	listening := gauge("fairlead.pool.connections.listening", "Server connections that receive notifications for all sessions of a pool.", "{connection}")
	waiting := gauge("fairlead.pool.waiting", "Sessions that wait for a server connection of a pool.", "{session}")
	clients := gauge("fairlead.pool.clients", "Clients of a pool.", "{client}")
	panics, failed := meter.Int64ObservableCounter("fairlead.pooler.panics",
		metric.WithDescription("Internal errors, each of which has ended one client and nothing else."), metric.WithUnit("{panic}"))
	if failed != nil && err == nil {
		err = fmt.Errorf("pooler: metric fairlead.pooler.panics: %w", failed)
	}
	instruments = append(instruments, panics)
	if err != nil {
		return nil, err
	}
	registered, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(panics, int64(s.panics.Load()))
		for _, p := range s.Stats().Pools {
			if p.Replaced {
				continue
			}
			pool := metric.WithAttributes(attribute.String("cluster", p.Cluster), attribute.String("database", p.Database),
				attribute.String("target_role", string(p.TargetRole)), attribute.String("mode", string(p.Mode)))
			o.ObserveInt64(open, int64(p.Open), pool)
			o.ObserveInt64(idle, int64(p.Idle), pool)
			o.ObserveInt64(pinned, int64(p.Pinned), pool)
			o.ObserveInt64(listening, int64(p.Listening), pool)
			o.ObserveInt64(waiting, int64(p.Waiting), pool)
			o.ObserveInt64(clients, int64(p.Clients), pool)
		}
		return nil
	}, instruments...)
	if err != nil {
		return nil, fmt.Errorf("pooler: metrics of the pools: %w", err)
	}
	return func() { _ = registered.Unregister() }, nil // it never fails
}
