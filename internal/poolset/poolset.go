// Package poolset is the pooler's configuration for the simple case: one cluster, said in flags or variables of the environment
// and not in a file.
package poolset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

// Cluster is the name of the only cluster.
const Cluster = "main"

// Set is what was said so far.
type Set struct {
	DSN      string
	Listen   []string        // addresses
	Listener pooler.Listener // what holds at all of them
	Cluster  pooler.Cluster
	Pooler   pooler.Config
}

// Config is what was said, as a whole.
func (s *Set) Config() (pooler.Config, error) {
	database, err := driver.ParseConfig(s.DSN)
	if err != nil {
		return pooler.Config{}, err
	}
	cfg, cluster := s.Pooler, s.Cluster
	cluster.Database = database
	cfg.Clusters = map[string]*pooler.Cluster{Cluster: &cluster}
	for _, address := range s.Listen {
		l := s.Listener
		l.Address = address
		cfg.Listeners = append(cfg.Listeners, l)
	}
	return cfg, nil
}

// Parameter is one of those that a file has too.
type Parameter struct {
	// Name is its key in a file. Its flag has hyphens for underscores, and its variable FAIRLEAD_ before it, in upper case.
	Name    string
	Default string // "": nothing
	Effect  string
	Set     func(s *Set, value string) error
}

// Flag is the parameter's name on a command line.
func (p *Parameter) Flag() string { return strings.ReplaceAll(p.Name, "_", "-") }

// Variable is the parameter's name in the environment.
func (p *Parameter) Variable() string { return "FAIRLEAD_" + strings.ToUpper(p.Name) }

// Parameters are all of them.
var Parameters = []Parameter{
	{"dsn", "", "How the cluster is reached: a DSN of the driver, whose parameters can also be variables (`FAIRLEAD_COMMIT_RESOLUTION` and so on).",
		func(s *Set, v string) error { s.DSN = v; return nil }},
	{"listen", "", "Where clients come in: addresses and paths of Unix sockets, with commas between them.",
		func(s *Set, v string) error {
			s.Listen = nil
			for address := range strings.SplitSeq(v, ",") {
				s.Listen = append(s.Listen, strings.TrimSpace(address))
			}
			return nil
		}},
	word("mode", string(pooler.Transaction), "How long a client keeps a server connection: for a `transaction`, its `session`, or a `statement`, which refuses BEGIN.",
		func(s *Set) *pooler.Mode { return &s.Listener.Mode }, pooler.Transaction, pooler.Session, pooler.Statement),
	word("target_role", "", "Which instances clients get: `READ_WRITE` the writer, `READ_ONLY` readers.",
		func(s *Set) *pooler.TargetRole { return &s.Listener.TargetRole }, pooler.ReadWrite, pooler.ReadOnly),
	number("pool_size", pooler.DefaultPoolSize, 1, "How many server connections there are at most for each database.", func(s *Set) *int { return &s.Cluster.PoolSize }),
	number("max_server_connections", 0, 0, "How many there are at most for all databases together; 0: no more than `pool_size` says.", func(s *Set) *int { return &s.Cluster.MaxServerConnections }),
	number("max_connections_percent", 0, 0, "The same in percent of the connections that the server admits, and `pool_size` does not count; 0: that holds.", func(s *Set) *int { return &s.Cluster.MaxConnectionsPercent }),
	number("max_idle_connections_percent", 0, 0, "How many of them may be idle, in percent of the same; 0: as many as there are.", func(s *Set) *int { return &s.Cluster.MaxIdleConnectionsPercent }),
	number("min_pool_size", 0, 0, "How many of them are kept open though nobody needs them.", func(s *Set) *int { return &s.Cluster.MinPoolSize }),
	period("connection_borrow_timeout", pooler.DefaultBorrowTimeout, "How long a client waits for one before it gets SQLSTATE 53300.", func(s *Set) *time.Duration { return &s.Cluster.BorrowTimeout }),
	{"init_query", "", "SQL that is run on each server connection before anything else.",
		func(s *Set, v string) error { s.Cluster.InitQuery = v; return nil }},
	{"session_pinning_filters", "", "`EXCLUDE_VARIABLE_SETS`: functions of your own are taken to set nothing in a session.",
		func(s *Set, v string) error {
			s.Cluster.PinningFilters = []pooler.PinningFilter{pooler.PinningFilter(v)}
			return oneOf(v, string(pooler.ExcludeVariableSets))
		}},
	period("server_lifetime", pooler.DefaultServerLifetime, "How old a server connection becomes.", func(s *Set) *time.Duration { return &s.Cluster.ServerLifetime }),
	period("server_idle_timeout", pooler.DefaultServerIdleTimeout, "How long one stays that nobody needs.", func(s *Set) *time.Duration { return &s.Cluster.ServerIdleTimeout }),
	number("max_prepared_statements", pooler.DefaultStatements, 1, "How many statements are prepared on a server connection.", func(s *Set) *int { return &s.Cluster.Statements }),
	number("max_client_conn", pooler.DefaultMaxClients, 1, "How many clients there may be.", func(s *Set) *int { return &s.Pooler.MaxClients }),
	period("idle_client_timeout", pooler.DefaultIdleClientTimeout, "How long a client may say nothing outside of a transaction.", func(s *Set) *time.Duration { return &s.Pooler.IdleClientTimeout }),
	period("idle_transaction_timeout", 0, "How long a client may say nothing within a transaction before it is rolled back, and the client ended with SQLSTATE 25P03; 0: for ever.", func(s *Set) *time.Duration { return &s.Pooler.IdleTransactionTimeout }),
	period("query_timeout", 0, "How long a statement may run before it is canceled with SQLSTATE 57014; 0: for ever.", func(s *Set) *time.Duration { return &s.Pooler.QueryTimeout }),
	period("client_message_timeout", pooler.DefaultMessageTimeout, "How long the rest of a message that a client has begun may take, or 16 kB of it, before the client is ended with SQLSTATE 57P05.", func(s *Set) *time.Duration { return &s.Pooler.ClientMessageTimeout }),
	{"client_memory_limit", "16MB", "How much is kept for a client: what would pass it is refused with SQLSTATE 54000; -1: no bound.",
		func(s *Set, v string) (err error) { s.Pooler.ClientMemoryLimit, err = pooler.ParseSize(v); return err }},
	period("login_timeout", pooler.DefaultLoginTimeout, "How long a client's login may take.", func(s *Set) *time.Duration { return &s.Pooler.LoginTimeout }),
	period("drain_timeout", pooler.DefaultDrainTimeout, "How long open transactions are waited for at the end.", func(s *Set) *time.Duration { return &s.Pooler.DrainTimeout }),
	{"admin", "", "Where it tells over HTTP how it does: host:port, or a port of 127.0.0.1.",
		func(s *Set, v string) error { s.Pooler.Admin = v; return nil }},
}

func word[T ~string](name, def, effect string, field func(*Set) *T, allowed ...T) Parameter {
	words := make([]string, len(allowed))
	for i, w := range allowed {
		words[i] = string(w)
	}
	return Parameter{name, def, effect, func(s *Set, v string) error {
		*field(s) = T(v)
		return oneOf(v, words...)
	}}
}

func oneOf(value string, words ...string) error {
	for _, w := range words {
		if value == w {
			return nil
		}
	}
	return fmt.Errorf("allowed are %s", strings.Join(words, ", "))
}

func number(name string, def, least int, effect string, field func(*Set) *int) Parameter {
	return Parameter{name, strconv.Itoa(def), effect, func(s *Set, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < least {
			return fmt.Errorf("a number of %d or more is allowed", least)
		}
		*field(s) = n
		return nil
	}}
}

func period(name string, def time.Duration, effect string, field func(*Set) *time.Duration) Parameter {
	text := strconv.Itoa(int(def/time.Second)) + "s"
	return Parameter{name, text, effect, func(s *Set, v string) error {
		if n, err := strconv.Atoi(v); err == nil {
			v = strconv.Itoa(n) + "s"
		}
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 || d == 0 && def != 0 {
			return errors.New("a duration is allowed, in seconds or with a unit, as in 2, 1500ms or 1m")
		}
		*field(s) = d
		return nil
	}}
}
