package topology

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics are a cluster's instruments; their names are in the package's documentation.
type metrics struct {
	cluster   attribute.KeyValue
	failovers metric.Int64Counter
	durations metric.Float64Histogram
	probes    metric.Float64Histogram
}

func newMetrics(cfg Config) (*metrics, error) {
	mp := cfg.MeterProvider
	if mp == nil {
		mp = otel.GetMeterProvider()
	}
	meter := mp.Meter("github.com/fairlead-go/fairlead/topology")
	m := &metrics{cluster: attribute.String("fairlead.cluster", cfg.Name)}
	var err error
	if m.failovers, err = meter.Int64Counter("fairlead.topology.failovers",
		metric.WithDescription("Epochs after the first: another writer, or the same one restarted.")); err != nil {
		return nil, fmt.Errorf("topology: make metrics: %w", err)
	}
	if m.durations, err = meter.Float64Histogram("fairlead.topology.failover.duration", metric.WithUnit("s"),
		metric.WithDescription("How long a failover's phases took."),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120)); err != nil {
		return nil, fmt.Errorf("topology: make metrics: %w", err)
	}
	if m.probes, err = meter.Float64Histogram("fairlead.topology.probe.duration", metric.WithUnit("s"),
		metric.WithDescription("From a probe's question to its answer."),
		metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1)); err != nil {
		return nil, fmt.Errorf("topology: make metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) failover(f Failover) {
	ctx := context.Background()
	m.failovers.Add(ctx, 1, metric.WithAttributes(m.cluster))
	for phase, d := range map[string]time.Duration{"detect": f.Detect, "find": f.Find, "total": f.Detect + f.Find} {
		m.durations.Record(ctx, d.Seconds(), metric.WithAttributes(m.cluster, attribute.String("phase", phase)))
	}
}

// of is the attributes of what is measured at one endpoint, made once: probes come in hundreds a second.
func (m *metrics) of(ep Endpoint) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(m.cluster, attribute.String("fairlead.instance", ep.String())))
}
