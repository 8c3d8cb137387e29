package emf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/lambda/emf"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMetricsAreLinesThatCloudWatchReads(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) { // the time is always the same there
		w := emf.New(emf.Config{Out: &out, Namespace: "Fairlead", Dimensions: map[string]string{"FunctionName": "orders"}})
		meter := w.MeterProvider().Meter("test")
		resumed, err := meter.Int64Counter("fairlead.resumed", metric.WithUnit("{session}"))
		must(t, err)
		waited, err := meter.Float64Histogram("fairlead.wait.duration", metric.WithUnit("s"))
		must(t, err)
		open, err := meter.Int64UpDownCounter("fairlead.connections", metric.WithUnit("{connection}"))
		must(t, err)
		lag, err := meter.Float64Gauge("fairlead.lag", metric.WithUnit("ms"))
		must(t, err)
		writer := metric.WithAttributes(attribute.String("fairlead.cluster", "app"), attribute.String("fairlead.instance", "app-1"))
		resumed.Add(t.Context(), 3, writer)
		resumed.Add(t.Context(), 2)
		waited.Record(t.Context(), 0.25, writer)
		waited.Record(t.Context(), 0.5, writer)
		open.Add(t.Context(), 4)
		lag.Record(t.Context(), 12.5, writer)
		must(t, w.Flush(t.Context()))
		fmt.Fprintln(&out)
		resumed.Add(t.Context(), 1)
		open.Add(t.Context(), -1)
		must(t, w.Flush(t.Context()))
	})
	for line := range strings.Lines(out.String()) {
		if line != "\n" && !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	const path = "testdata/metrics.golden"
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, out.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s\nif that is meant, run go test ./lambda/emf -update", out.String(), want)
	}
}

func TestALineHasNoMoreMetricsThanCloudWatchTakes(t *testing.T) {
	var out bytes.Buffer
	w := emf.New(emf.Config{Out: &out, Namespace: "Fairlead"})
	meter := w.MeterProvider().Meter("test")
	for i := range 250 {
		c, err := meter.Int64Counter(fmt.Sprintf("m%d", i))
		must(t, err)
		c.Add(t.Context(), 1)
	}
	must(t, w.Flush(t.Context()))
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 3 {
		t.Errorf("%d lines", n)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestAnOutputThatFailsIsAnError(t *testing.T) {
	w := emf.New(emf.Config{Out: broken{}, Namespace: "Fairlead"})
	c, err := w.MeterProvider().Meter("test").Int64Counter("m")
	must(t, err)
	c.Add(context.Background(), 1)
	if err := w.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "the pipe is closed") {
		t.Errorf("error %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
