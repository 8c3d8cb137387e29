package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/internal/poolset"
	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/pooler"
)

// settings are what the environment says.
type settings struct {
	file             string
	set              poolset.Set   // what the variables say
	pooler           pooler.Config // what they or the file say
	freeze           lambda.Freeze
	freezeIdle       time.Duration
	freezeWait       time.Duration
	warmTimeout      time.Duration
	logLevel         slog.Level
	metrics          metrics
	metricsNamespace string
	metricsInterval  time.Duration
}

// metrics says whether metrics are written.
type metrics string

const (
	metricsEMF metrics = "emf"
	metricsOff metrics = "off"
)

// setting is one variable of the environment. Those of the driver are not among them: driver.ParseConfig reads these.
type setting struct {
	name    string
	def     string // "": there is none
	effect  string
	pooling bool // a file says this instead
	set     func(s *settings, value string) error
}

// table is all variables. docs/lambda.md has it, and a test compares them.
var table = []setting{
	pooling("dsn", "", "Needed, unless there is a file."),
	{"FAIRLEAD_CONFIG", "", "A file in the pooler's format, instead of `FAIRLEAD_DSN` and the variables from here to `FAIRLEAD_LOGIN_TIMEOUT`. By default `fairlead.yaml` in the function's package is looked for.", false,
		func(s *settings, v string) error { s.file = v; return nil }},
	pooling("listen", "127.0.0.1:5432,/tmp/.s.PGSQL.5432", ""),
	pooling("mode", "", ""),
	pooling("target_role", "", ""),
	pooling("pool_size", "4", ""),
	pooling("connection_borrow_timeout", "", "The end of the invocation ends it earlier."),
	pooling("init_query", "", ""),
	pooling("session_pinning_filters", "", ""),
	pooling("server_lifetime", "", ""),
	pooling("server_idle_timeout", "", "While the sandbox runs."),
	pooling("max_prepared_statements", "", ""),
	pooling("max_client_conn", "", ""),
	pooling("idle_transaction_timeout", "", ""),
	pooling("query_timeout", "", ""),
	pooling("login_timeout", "", ""),
	{"FAIRLEAD_FREEZE", string(lambda.FreezeIdle), "What becomes of server connections when the sandbox is frozen: `keep` leaves them open, `idle` has the server end them after `FAIRLEAD_FREEZE_IDLE`, `close` closes those that nobody uses before the freeze, as part of the invocation, and is `idle` for the rest.", false,
		func(s *settings, v string) error {
			s.freeze = lambda.Freeze(v)
			return oneOf(v, string(lambda.FreezeKeep), string(lambda.FreezeIdle), string(lambda.FreezeClose))
		}},
	period("FAIRLEAD_FREEZE_IDLE", "60s", "The server's `idle_session_timeout` for the extension's sessions (PostgreSQL 14 and later).", func(s *settings) *time.Duration { return &s.freezeIdle }),
	period("FAIRLEAD_FREEZE_WAIT", lambda.DefaultQuiet.String(), "With `close`: how long nothing happens until the function is taken to be done with the database, if Lambda does not say earlier that it has answered.", func(s *settings) *time.Duration { return &s.freezeWait }),
	period("FAIRLEAD_WARM_TIMEOUT", lambda.DefaultWarmTimeout.String(), "How long Init waits for the first server connection.", func(s *settings) *time.Duration { return &s.warmTimeout }),
	{"FAIRLEAD_LOG_LEVEL", "info", "`debug`, `info`, `warn` or `error`.", false,
		func(s *settings, v string) error { return s.logLevel.UnmarshalText([]byte(v)) }},
	{"FAIRLEAD_METRICS", string(metricsEMF), "`emf` writes metrics into the log, of which CloudWatch makes metrics; `off` does not.", false,
		func(s *settings, v string) error {
			s.metrics = metrics(v)
			return oneOf(v, string(metricsEMF), string(metricsOff))
		}},
	{"FAIRLEAD_METRICS_NAMESPACE", "Fairlead", "Their namespace.", false,
		func(s *settings, v string) error { s.metricsNamespace = v; return nil }},
	period("FAIRLEAD_METRICS_INTERVAL", lambda.DefaultFlushInterval.String(), "How long they are collected.", func(s *settings) *time.Duration { return &s.metricsInterval }),
}

// variables are the names of the table.
func variables() []string {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	return names
}

func period(name, def, effect string, field func(*settings) *time.Duration) setting {
	return setting{name, def, effect, false, func(s *settings, v string) error {
		if n, err := strconv.Atoi(v); err == nil {
			v = strconv.Itoa(n) + "s"
		}
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return errors.New("a duration is allowed, in seconds or with a unit, as in 2, 1500ms or 1m")
		}
		*field(s) = d
		return nil
	}}
}

// pooling is one of the pooler's parameters, with another default if there is one, and what is to be added to its effect.
func pooling(name, def, more string) setting {
	i := slices.IndexFunc(poolset.Parameters, func(p poolset.Parameter) bool { return p.Name == name })
	p := poolset.Parameters[i]
	return setting{p.Variable(), cmp.Or(def, p.Default), strings.TrimSpace(p.Effect + " " + more), true, func(s *settings, v string) error { return p.Set(&s.set, v) }}
}

func oneOf(value string, words ...string) error {
	for _, w := range words {
		if value == w {
			return nil
		}
	}
	return fmt.Errorf("allowed are %s", strings.Join(words, ", "))
}

// readSettings reads the environment. Where it is wrong, what can be had of it comes with the error.
func readSettings(getenv func(string) string) (*settings, error) {
	s := new(settings)
	var errs []error
	var given []string
	for _, t := range table {
		value, own := getenv(t.name), true
		if value == "" {
			value, own = t.def, false
		}
		if own && t.pooling {
			given = append(given, t.name)
		}
		if value == "" {
			continue
		}
		if err := t.set(s, value); err != nil {
			errs = append(errs, fmt.Errorf("extension: variable %s: %w", t.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return s, err
	}
	if s.file == "" {
		s.file = packaged(getenv("LAMBDA_TASK_ROOT"))
	}
	if s.file != "" {
		return s, s.readFile(given)
	}
	if s.set.DSN == "" {
		return s, errors.New("extension: variable FAIRLEAD_DSN is not set: set it to the cluster's DSN, or put a fairlead.yaml into the function's package")
	}
	cfg, err := s.set.Config()
	if err != nil {
		return s, fmt.Errorf("extension: variable FAIRLEAD_DSN: %w", err)
	}
	s.pooler = cfg
	return s, nil
}

// packaged is the file in the function's package, "" if there is none.
func packaged(root string) string {
	if root == "" {
		return ""
	}
	path := filepath.Join(root, "fairlead.yaml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}

// readFile reads the pooler's part from a file.
func (s *settings) readFile(given []string) error {
	if len(given) > 0 {
		return fmt.Errorf("extension: %s together with the file %s: what it says belongs into the file", strings.Join(given, ", "), s.file)
	}
	text, err := os.ReadFile(s.file)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err // a DSN may be in the path's place
	}
	if err != nil {
		return fmt.Errorf("extension: the configuration file cannot be read: %w", err)
	}
	if s.pooler, err = pooler.ParseConfig(text); err != nil {
		return fmt.Errorf("extension: %s: %w", s.file, err)
	}
	if s.pooler.DebugLogging == pooler.DebugOn {
		s.logLevel = slog.LevelDebug
	}
	if len(s.pooler.Listeners) == 0 {
		for _, address := range s.set.Listen {
			s.pooler.Listeners = append(s.pooler.Listeners, pooler.Listener{Address: address})
		}
	}
	return nil
}
