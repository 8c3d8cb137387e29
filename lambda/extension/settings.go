package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/lambda"
	"github.com/fairlead-go/fairlead/pooler"
)

// settings are what the environment says.
type settings struct {
	file             string
	dsn              string
	pooler           pooler.Config
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
	{"FAIRLEAD_DSN", "", "How the cluster is reached: a DSN of the driver, whose parameters can also be variables (`FAIRLEAD_COMMIT_RESOLUTION` and so on). Needed, unless there is a file.", true,
		func(s *settings, v string) error { s.dsn = v; return nil }},
	{"FAIRLEAD_CONFIG", "", "A file in the pooler's format, instead of the variables from here to `FAIRLEAD_LOGIN_TIMEOUT`. By default `fairlead.yaml` in the function's package is looked for.", false,
		func(s *settings, v string) error { s.file = v; return nil }},
	{"FAIRLEAD_LISTEN", "127.0.0.1:5432,/tmp/.s.PGSQL.5432", "Where the function finds the pooler: addresses and paths of Unix sockets, with commas between them.", true,
		func(s *settings, v string) error {
			for address := range strings.SplitSeq(v, ",") {
				s.pooler.Listeners = append(s.pooler.Listeners, pooler.Listener{Address: strings.TrimSpace(address)})
			}
			return nil
		}},
	{"FAIRLEAD_MODE", "transaction", "How long a client keeps a server connection: `transaction` or `session`.", true,
		func(s *settings, v string) error {
			s.pooler.Cluster.Mode = pooler.Mode(v)
			return oneOf(v, string(pooler.Transaction), string(pooler.Session))
		}},
	number("FAIRLEAD_POOL_SIZE", 4, "How many server connections there are at most for each database.", func(s *settings) *int { return &s.pooler.Cluster.PoolSize }),
	pooling("FAIRLEAD_CONNECTION_BORROW_TIMEOUT", "120s", "How long a client waits for one. The end of the invocation ends it earlier.", func(s *settings) *time.Duration { return &s.pooler.Cluster.BorrowTimeout }),
	pooling("FAIRLEAD_SERVER_LIFETIME", "1h", "How old a server connection becomes.", func(s *settings) *time.Duration { return &s.pooler.Cluster.ServerLifetime }),
	pooling("FAIRLEAD_SERVER_IDLE_TIMEOUT", "10m", "How long one stays that nobody needs, while the sandbox runs.", func(s *settings) *time.Duration { return &s.pooler.Cluster.ServerIdleTimeout }),
	number("FAIRLEAD_MAX_PREPARED_STATEMENTS", pooler.DefaultStatements, "How many statements are prepared on a server connection.", func(s *settings) *int { return &s.pooler.Cluster.Statements }),
	number("FAIRLEAD_MAX_CLIENT_CONN", pooler.DefaultMaxClients, "How many clients there may be.", func(s *settings) *int { return &s.pooler.MaxClients }),
	pooling("FAIRLEAD_LOGIN_TIMEOUT", "10s", "How long a client's login may take.", func(s *settings) *time.Duration { return &s.pooler.LoginTimeout }),
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

func number(name string, def int, effect string, field func(*settings) *int) setting {
	return setting{name, strconv.Itoa(def), effect, true, func(s *settings, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return errors.New("a number of 1 or more is allowed")
		}
		*field(s) = n
		return nil
	}}
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

func pooling(name, def, effect string, field func(*settings) *time.Duration) setting {
	s := period(name, def, effect, field)
	s.pooling = true
	return s
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
			if t.name == "FAIRLEAD_DSN" {
				value = "…"
			}
			errs = append(errs, fmt.Errorf("extension: variable %s=%q: %w", t.name, value, err))
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
	if s.dsn == "" {
		return s, errors.New("extension: variable FAIRLEAD_DSN is not set: set it to the cluster's DSN, or put a fairlead.yaml into the function's package")
	}
	database, err := driver.ParseConfig(s.dsn)
	if err != nil {
		return s, fmt.Errorf("extension: variable FAIRLEAD_DSN: %w", err)
	}
	s.pooler.Cluster.Database = database
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
	if err != nil {
		return fmt.Errorf("extension: %w", err)
	}
	listeners := s.pooler.Listeners
	if s.pooler, err = pooler.ParseConfig(text); err != nil {
		return fmt.Errorf("extension: %s: %w", s.file, err)
	}
	if len(s.pooler.Listeners) == 0 {
		s.pooler.Listeners = listeners
	}
	return nil
}
