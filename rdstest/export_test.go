package rdstest

import (
	"time"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// SetStuckAfter makes the cluster lose its patience with readers earlier.
func (c *Cluster) SetStuckAfter(d time.Duration) { c.locked(func() { c.stuckAfter = d }) }

// Uplink is by which an instance gets the WAL.
func (in *Instance) Uplink() *front.Front { return in.uplink }
