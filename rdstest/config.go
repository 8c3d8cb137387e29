package rdstest

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Flavor is what a cluster looks like to its clients.
type Flavor string

// The flavors.
const (
	// Aurora has the functions by which clients of Aurora PostgreSQL find their way: aurora_replica_status,
	// aurora_db_instance_identifier and aurora_version, in every database. As on Aurora, functions that tell a position in
	// the write-ahead log raise an error, see [Config.WALFunctions].
	Aurora Flavor = "aurora"
	// Replication is plain PostgreSQL with streaming replication.
	Replication Flavor = "replication"
)

// Config says what cluster is wanted. Its zero value is a cluster of Aurora's kind with a writer and two readers.
type Config struct {
	// Name is the cluster's, of which all others are made: instances are called app-1, app-2 and so on. Default "app".
	Name string
	// Readers is how many there are beside the writer. 0 means 2; negative: none.
	Readers int
	// Flavor is [Aurora] by default.
	Flavor Flavor
	// WALFunctions lets pg_current_wal_lsn and its like work in the [Aurora] flavor too, as they do on Aurora when
	// logical replication is on. In the other flavor they always work.
	WALFunctions bool
	// StaleDNS is how long the cluster's endpoints lead to the old instances after a failover. Default: not at all.
	StaleDNS time.Duration
	// RejoinDelay is how long an old writer stays as it is, once it could come back, before the cluster makes a reader of
	// it: one that was thawed serves whoever asks it, and believes that it is the writer. Default 500 ms; negative: no
	// time at all.
	RejoinDelay time.Duration
	// IAM checks the tokens of users that have the role rds_iam, as [Cluster.CreateUser] makes them: like RDS, the cluster
	// takes them over TLS, as a password in the clear, and no other password. Default: the role means nothing.
	IAM IAM
	// BinDir is where PostgreSQL's programs are. By default they are looked for in PATH, then in the usual places, the
	// highest version first.
	BinDir string
	// Logger gets what the cluster does. Default: no logs.
	Logger *slog.Logger
}

const (
	defaultName        = "app"
	defaultReaders     = 2
	defaultRejoinDelay = 500 * time.Millisecond
	// maxReaders is Aurora's limit.
	maxReaders = 15
)

// goodName is what RDS accepts, short enough for every name made of it.
var goodName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = defaultName
	}
	if !goodName.MatchString(c.Name) || len(c.Name) > 40 {
		return c, fmt.Errorf("rdstest: config: Name %q: must be up to 40 lower-case letters, digits and single hyphens, beginning with a letter", c.Name)
	}
	switch {
	case c.Readers == 0:
		c.Readers = defaultReaders
	case c.Readers < 0:
		c.Readers = 0
	case c.Readers > maxReaders:
		return c, fmt.Errorf("rdstest: config: Readers is %d: there are at most %d", c.Readers, maxReaders)
	}
	switch c.Flavor {
	case "":
		c.Flavor = Aurora
	case Aurora, Replication:
	default:
		return c, fmt.Errorf("rdstest: config: Flavor %q: must be %q or %q", c.Flavor, Aurora, Replication)
	}
	if c.RejoinDelay == 0 {
		c.RejoinDelay = defaultRejoinDelay
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
