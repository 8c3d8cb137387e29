package topology

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestMetricsOfAFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		reader := sdk.NewManualReader()
		w := plain(2)
		c := watch(t, w, func(cfg *Config) { cfg.MeterProvider = sdk.NewMeterProvider(sdk.WithReader(reader)) })
		pick(t, c, WantWriter, 0, time.Second)
		w.crash(1)
		ticket := c.Suspect(w.id(1), errGone)
		time.Sleep(time.Second)
		w.promote(2, 2)
		pick(t, c, WantWriter, ticket, time.Second)
		time.Sleep(time.Second)

		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		if len(all.ScopeMetrics) != 1 {
			t.Fatalf("%d scopes", len(all.ScopeMetrics))
		}
		phases := map[string]float64{}
		probes := map[string]uint64{}
		var failovers int64
		for _, m := range all.ScopeMetrics[0].Metrics {
			switch m.Name {
			case "fairlead.topology.failovers":
				for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
					failovers += p.Value
					if v, _ := p.Attributes.Value("fairlead.cluster"); v.AsString() != "app" {
						t.Errorf("attributes %v", p.Attributes)
					}
				}
			case "fairlead.topology.failover.duration":
				for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
					v, _ := p.Attributes.Value(attribute.Key("phase"))
					phases[v.AsString()] = p.Sum
				}
			case "fairlead.topology.probe.duration":
				for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
					v, _ := p.Attributes.Value("fairlead.instance")
					probes[v.AsString()] = p.Count
				}
			}
		}
		if failovers != 1 {
			t.Errorf("%d failovers", failovers)
		}
		if d := phases["total"]; d < 1 || d > 1.2 || phases["detect"]+phases["find"] != d {
			t.Errorf("phases %v", phases)
		}
		if probes[w.id(1)] == 0 || probes[w.id(2)] < 50 {
			t.Errorf("probes %v", probes)
		}
	})
}
