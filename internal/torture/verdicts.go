package torture

import (
	"context"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// verdictCounter is the driver's metric of what became of sessions.
const verdictCounter = "fairlead.session.losses"

// verdicts reads the driver's counts.
func verdicts(ctx context.Context, reader metric.Reader) (map[string]int64, error) {
	var data metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &data); err != nil {
		return nil, err
	}
	counts := make(map[string]int64)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != verdictCounter {
				continue
			}
			for _, p := range sum.DataPoints {
				v, _ := p.Attributes.Value("verdict")
				counts[v.AsString()] += p.Value
			}
		}
	}
	return counts, nil
}
