package boundaries

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// Config says what is to be cut. Its zero value is everything, in marker mode.
type Config struct {
	// Mode is the driver's commit_resolution; default marker.
	Mode driver.CommitResolution
	// Flavor is the cluster's; default rdstest.Aurora, rdstest.Replication if Mode is lsn.
	Flavor rdstest.Flavor
	// Units are the names of the pieces of work; default all, see [Units].
	Units []string
	// Clients are the names of the drivers on top: sql, pgx and pq; default all.
	Clients []string
	// Manners is how connections are cut; default front.ResetBoth and front.Silent. A silent one is reset after a moment.
	Manners []front.Manner
	// Progress gets a line for each unit; default none.
	Progress io.Writer
	// Logger gets what the cluster and the driver do; default none.
	Logger *slog.Logger
	// BinDir is where PostgreSQL's programs are; default: found by rdstest.
	BinDir string
}

// runTimeout bounds one run. It is far above what it may take: a run that needs it has hung.
const runTimeout = 20 * time.Second

func (c Config) withDefaults() (Config, error) {
	if c.Mode == "" {
		c.Mode = driver.ResolutionMarker
	}
	if c.Flavor == "" {
		c.Flavor = rdstest.Aurora
		if c.Mode == driver.ResolutionLSN {
			c.Flavor = rdstest.Replication
		}
	}
	if len(c.Manners) == 0 {
		c.Manners = []front.Manner{front.ResetBoth, front.Silent}
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	for _, list := range []struct {
		what  string
		names *[]string
		known []string
	}{{"unit", &c.Units, Units()}, {"client", &c.Clients, clientNames}} {
		if len(*list.names) == 0 {
			*list.names = list.known
		}
		for _, name := range *list.names {
			if !slices.Contains(list.known, name) {
				return c, fmt.Errorf("boundaries: unknown %s %q: there are %q", list.what, name, list.known)
			}
		}
	}
	return c, nil
}
