package topology

import (
	"context"
	"sync"
	"sync/atomic"
)

// attached is one prober lent to the cluster, with the count of what was opened with it.
type attached struct {
	Prober
	ctx     context.Context // ends with the release
	cancel  context.CancelFunc
	refused atomic.Bool // its last login was refused: others go first

	mu   sync.Mutex
	open int           // connections open, or being opened
	idle chan struct{} // closed when open has come down to 0 after the release
	gone bool
}

func newAttached(p Prober) *attached {
	a := &attached{Prober: p, idle: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// enter counts one more connection; false after the release.
func (a *attached) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false
	}
	a.open++
	return true
}

func (a *attached) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	if a.gone && a.open == 0 {
		close(a.idle)
	}
}

// release ends the prober's use and waits until everything that was opened with it is closed.
func (a *attached) release() {
	a.mu.Lock()
	a.gone = true
	if a.open == 0 {
		close(a.idle)
	}
	a.mu.Unlock()
	a.cancel()
	<-a.idle
}

// byTrust returns the attached probers, those whose last login was refused behind the others.
func (c *Cluster) byTrust() []*attached {
	c.mu.Lock()
	all := c.probers
	c.mu.Unlock()
	good := make([]*attached, 0, len(all))
	var bad []*attached
	for _, p := range all {
		if p.refused.Load() {
			bad = append(bad, p)
		} else {
			good = append(good, p)
		}
	}
	return append(good, bad...)
}
