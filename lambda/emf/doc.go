// Package emf writes OpenTelemetry's metrics as lines of CloudWatch's Embedded Metric Format, for programs whose output goes to
// CloudWatch Logs: metrics with no agent, no network and no permission.
//
//	w := emf.New(emf.Config{Out: os.Stdout, Namespace: "Fairlead", Dimensions: map[string]string{"FunctionName": name}})
//	otel.SetMeterProvider(w.MeterProvider())
//	err := w.Flush(ctx) // now and then, and at the end
//
// Each set of attributes gets a line. CloudWatch makes metrics of the numbers under the Config's dimensions alone, since each
// further combination is paid for; the attributes are in the line as text, where CloudWatch Logs Insights finds them. Counters
// and histograms are given as what has come since the last flush, and nothing is written of what did not change.
package emf
