package mount

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/internal/session"
)

// metrics are a pool's instruments. They are touched when a session opens, closes or moves, never for a query.
type metrics struct {
	cluster  metric.MeasurementOption
	open     metric.Int64UpDownCounter
	verdicts metric.Int64Counter
	duration metric.Float64Histogram
	pins     metric.Int64Counter
	waits    metric.Float64Histogram
	gaps     metric.Int64Counter
	panics   metric.Int64Counter
}

func newMetrics(cfg Config) (*metrics, error) {
	meter := cfg.Meter
	m := &metrics{cluster: metric.WithAttributes(attribute.String("cluster", cfg.Name))}
	var err error
	if m.open, err = meter.Int64UpDownCounter("fairlead.sessions",
		metric.WithDescription("Client sessions that are open."), metric.WithUnit("{session}")); err != nil {
		return nil, err
	}
	if m.verdicts, err = meter.Int64Counter("fairlead.session.losses",
		metric.WithDescription("Upstreams lost under a session, by what became of the session's work."), metric.WithUnit("{loss}")); err != nil {
		return nil, err
	}
	if m.duration, err = meter.Float64Histogram("fairlead.session.resume.duration",
		metric.WithDescription("From the loss of an upstream until the session went on with another."), metric.WithUnit("s")); err != nil {
		return nil, err
	}
	if m.pins, err = meter.Int64Counter("fairlead.pool.pins",
		metric.WithDescription("Sessions that keep a pooled connection to themselves, by the state that they hold on it."), metric.WithUnit("{session}")); err != nil {
		return nil, err
	}
	if m.waits, err = meter.Float64Histogram("fairlead.pool.wait.duration",
		metric.WithDescription("Waits for a pooled connection to become free."), metric.WithUnit("s")); err != nil {
		return nil, err
	}
	if m.gaps, err = meter.Int64Counter("fairlead.pool.notifications.missed",
		metric.WithDescription("Sessions that were told that they may have missed notifications."), metric.WithUnit("{session}")); err != nil {
		return nil, err
	}
	if m.panics, err = meter.Int64Counter("fairlead.panics",
		metric.WithDescription("Internal errors that have ended a session, and nothing else; the log has their stacks."), metric.WithUnit("{panic}")); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *metrics) panicked() { m.panics.Add(context.Background(), 1, m.cluster) }

func (m *metrics) missed() { m.gaps.Add(context.Background(), 1, m.cluster) }

func (m *metrics) pinned(why string) {
	m.pins.Add(context.Background(), 1, m.cluster, metric.WithAttributes(attribute.String("state", why)))
}

func (m *metrics) waited(d time.Duration) {
	m.waits.Record(context.Background(), d.Seconds(), m.cluster)
}

func (m *metrics) sessions(n int64) { m.open.Add(context.Background(), n, m.cluster) }

// verdict counts a loss, with what kept the session's work from being carried over when it was not.
func (m *metrics) verdict(reason session.Reason, obstacle string) {
	attrs := []attribute.KeyValue{attribute.String("verdict", string(reason))}
	switch reason {
	case session.ReasonTransaction, session.ReasonUndecided, session.ReasonNotSent, session.ReasonState:
		if obstacle != "" {
			attrs = append(attrs, attribute.String("obstacle", obstacle))
		}
	}
	m.verdicts.Add(context.Background(), 1, m.cluster, metric.WithAttributes(attrs...))
}

func (m *metrics) resumed(reason session.Reason, took time.Duration) {
	switch reason {
	case session.ReasonIdle, session.ReasonRead, session.ReasonReplayed, session.ReasonAborted:
	default:
		return // answered already, and counted then
	}
	m.verdict(reason, "")
	m.duration.Record(context.Background(), took.Seconds(), m.cluster)
}
