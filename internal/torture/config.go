package torture

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// Config says what is to be tortured, and how long. Its zero value is a short run.
type Config struct {
	// Failures is how many there are; default 20.
	Failures int
	// Round is after how many failures there is an audit; default 10.
	Round int
	// Mode is the driver's commit_resolution; default marker.
	Mode driver.CommitResolution
	// Flavor is the cluster's; default rdstest.Aurora, rdstest.Replication if Mode is lsn.
	Flavor rdstest.Flavor
	// Workers is how many sessions work at the same time; default 6.
	Workers int
	// Seed makes the choices of a run; 0: of the time. The moments at which failures meet operations are the machine's choice.
	Seed uint64
	// Faults are the names of those that may happen; default all, see [Faults].
	Faults []string
	// Load are the names of the operations; default all, see [Operations].
	Load []string
	// Clients are the names of those that work, see [Clients]; default sql, pq and pgx, which are on top of the driver. The others go
	// through a pooler.
	Clients []string
	// VerifyClean has the pooler ask the server at each hand-over of a connection whether it is clean.
	VerifyClean pooler.VerifyClean
	// Options are parameters of the driver, as in a DSN.
	Options map[string]string
	// KeepGoing goes on after an audit that found something.
	KeepGoing bool
	// Progress gets a line for each failure; default none.
	Progress io.Writer
	// Logger gets what the cluster and the driver do; default none.
	Logger *slog.Logger
	// BinDir is where PostgreSQL's programs are; default: found by rdstest.
	BinDir string
}

// opTimeout bounds an operation. It is far above what any failure here may take: an operation that needs it has hung.
const opTimeout = 45 * time.Second

func (c Config) withDefaults() (Config, error) {
	if c.Failures <= 0 {
		c.Failures = 20
	}
	if c.Round <= 0 {
		c.Round = 10
	}
	if c.Workers <= 0 {
		c.Workers = 6
	}
	if c.Mode == "" {
		c.Mode = driver.ResolutionMarker
	}
	if c.Flavor == "" {
		c.Flavor = rdstest.Aurora
		if c.Mode == driver.ResolutionLSN {
			c.Flavor = rdstest.Replication
		}
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	for _, list := range []struct {
		what   string
		names  *[]string
		known  []string
		chosen []string // if there are no names
	}{
		{"fault", &c.Faults, Faults(), Faults()}, {"operation", &c.Load, Operations(), Operations()},
		{"client", &c.Clients, Clients(), onDriver},
	} {
		if len(*list.names) == 0 {
			*list.names = list.chosen
		}
		for _, name := range *list.names {
			if !slices.Contains(list.known, name) {
				return c, fmt.Errorf("torture: unknown %s %q: there are %v", list.what, name, list.known)
			}
		}
	}
	return c, nil
}
