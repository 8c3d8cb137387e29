package emf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// maxMetrics is how many metrics a line may have.
const maxMetrics = 100

// Config says where lines go. All fields are required but Dimensions.
type Config struct {
	// Out gets whole lines, each in one Write.
	Out io.Writer
	// Namespace is the metrics' in CloudWatch.
	Namespace string
	// Dimensions are the metrics' in CloudWatch.
	Dimensions map[string]string
}

// Writer collects metrics until they are flushed. It comes from New.
type Writer struct {
	cfg      Config
	reader   *sdk.ManualReader
	provider *sdk.MeterProvider

	mu sync.Mutex // one flush at a time
}

// New returns a Writer that has nothing to write yet.
func New(cfg Config) *Writer {
	reader := sdk.NewManualReader(sdk.WithTemporalitySelector(func(k sdk.InstrumentKind) metricdata.Temporality {
		switch k {
		case sdk.InstrumentKindCounter, sdk.InstrumentKindObservableCounter, sdk.InstrumentKindHistogram:
			return metricdata.DeltaTemporality
		}
		return metricdata.CumulativeTemporality
	}))
	return &Writer{cfg: cfg, reader: reader, provider: sdk.NewMeterProvider(sdk.WithReader(reader))}
}

// MeterProvider is what instruments are made with.
func (w *Writer) MeterProvider() *sdk.MeterProvider { return w.provider }

// Flush writes what there is.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(ctx, &all); err != nil {
		return fmt.Errorf("emf: collect metrics: %w", err)
	}
	lines := make(map[attribute.Distinct]*line)
	var order []*line
	at := func(set attribute.Set) *line {
		l := lines[set.Equivalent()]
		if l == nil || len(l.metrics) >= maxMetrics {
			l = &line{attributes: set, values: make(map[string]any)}
			lines[set.Equivalent()] = l
			order = append(order, l)
		}
		return l
	}
	now := time.Now()
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			add(m, at)
		}
	}
	slices.SortFunc(order, func(a, b *line) int { return strings.Compare(a.key(), b.key()) })
	for _, l := range order {
		text, err := w.encode(l, now)
		if err != nil {
			return fmt.Errorf("emf: %w", err)
		}
		if _, err := w.cfg.Out.Write(text); err != nil {
			return fmt.Errorf("emf: write metrics: %w", err)
		}
	}
	return nil
}

// line is what is written of one set of attributes.
type line struct {
	attributes attribute.Set
	metrics    []definition
	values     map[string]any
}

func (l *line) key() string { return l.attributes.Encoded(attribute.DefaultEncoder()) }

// definition is a metric as CloudWatch reads it.
type definition struct {
	Name string
	Unit string `json:",omitempty"`
}

// statistics stand for the values of a histogram.
type statistics struct{ Max, Min, Sum, Count float64 }

// add puts a metric's numbers into their lines.
func add(m metricdata.Metrics, at func(attribute.Set) *line) {
	put := func(set attribute.Set, v any) {
		l := at(set)
		l.metrics = append(l.metrics, definition{m.Name, unit(m.Unit)})
		l.values[m.Name] = v
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		sums(data, put)
	case metricdata.Sum[float64]:
		sums(data, put)
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			put(p.Attributes, p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			put(p.Attributes, p.Value)
		}
	case metricdata.Histogram[int64]:
		histograms(data, put)
	case metricdata.Histogram[float64]:
		histograms(data, put)
	}
}

func sums[N int64 | float64](data metricdata.Sum[N], put func(attribute.Set, any)) {
	for _, p := range data.DataPoints {
		if p.Value != 0 || data.Temporality == metricdata.CumulativeTemporality {
			put(p.Attributes, p.Value)
		}
	}
}

func histograms[N int64 | float64](data metricdata.Histogram[N], put func(attribute.Set, any)) {
	for _, p := range data.DataPoints {
		if p.Count == 0 {
			continue
		}
		low, _ := p.Min.Value()
		high, _ := p.Max.Value()
		put(p.Attributes, statistics{Max: float64(high), Min: float64(low), Sum: float64(p.Sum), Count: float64(p.Count)})
	}
}

// unit is CloudWatch's name for a unit of UCUM.
func unit(u string) string {
	switch {
	case u == "s":
		return "Seconds"
	case u == "ms":
		return "Milliseconds"
	case u == "By":
		return "Bytes"
	case u == "1" || strings.HasPrefix(u, "{"):
		return "Count"
	}
	return ""
}

func (w *Writer) encode(l *line, now time.Time) ([]byte, error) {
	slices.SortFunc(l.metrics, func(a, b definition) int { return strings.Compare(a.Name, b.Name) })
	names := slices.Sorted(maps.Keys(w.cfg.Dimensions))
	if names == nil {
		names = []string{}
	}
	fields := map[string]any{
		"_aws": map[string]any{
			"Timestamp": now.UnixMilli(),
			"CloudWatchMetrics": []any{map[string]any{
				"Namespace": w.cfg.Namespace, "Dimensions": [][]string{names}, "Metrics": l.metrics,
			}},
		},
	}
	for _, kv := range l.attributes.ToSlice() {
		fields[string(kv.Key)] = kv.Value.String()
	}
	maps.Copy(fields, l.values)
	for name, value := range w.cfg.Dimensions {
		fields[name] = value
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf) // it ends with a newline
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
