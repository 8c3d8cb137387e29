// Command extension is Fairlead's pooler as an external extension of AWS Lambda. In a layer it is called extensions/fairlead,
// and Lambda starts it beside the function, which finds a PostgreSQL server at 127.0.0.1:5432:
//
//	FAIRLEAD_DSN="postgres://app:secret@app.cluster-xyz.eu-west-1.rds.amazonaws.com/app"
//
// Everything is said by variables of the function's environment, or by a file in its package; see docs/lambda.md.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/fairlead-go/fairlead/internal/poolset"
	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/lambda/emf"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	set, broken := readSettings(os.Getenv) // what is wrong with them is told once there is somebody to tell
	log := slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: set.logLevel}))
	for _, text := range poolset.Unknown(os.Environ(), variables()...) {
		log.Warn(text)
	}
	metrics := emf.New(emf.Config{
		Out: os.Stdout, Namespace: set.metricsNamespace,
		Dimensions: map[string]string{"FunctionName": os.Getenv("AWS_LAMBDA_FUNCTION_NAME")},
	})
	cfg := lambda.Config{
		Open: func(s lambda.Sandbox) (lambda.Service, error) {
			if broken != nil {
				return nil, broken
			}
			return open(set, s, log, metrics.MeterProvider())
		},
		Freeze: set.freeze, Quiet: set.freezeWait, WarmTimeout: set.warmTimeout, FlushInterval: set.metricsInterval, Logger: log,
	}
	if set.metrics == metricsEMF {
		cfg.Flush = metrics.Flush
	}
	err := lambda.Run(ctx, cfg)
	stop()
	if err != nil {
		log.Error("the extension ends", "error", err)
		os.Exit(1)
	}
}
