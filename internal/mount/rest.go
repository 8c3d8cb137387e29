package mount

import (
	"context"

	"github.com/fairlead-go/fairlead/topology"
)

// Warm has an upstream ready for the first session, in a Pool that lends them and that somebody holds.
func (p *Pool) Warm(ctx context.Context) error {
	x, err := p.lender.borrow(ctx, "", 0)
	if err != nil {
		return err
	}
	p.lender.pass(x)
	return nil
}

// Rest closes the upstreams that nobody uses. If there are no others, the cluster is not watched either, until one is made
// again: then no connection is left.
func (p *Pool) Rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders == 0 {
		return
	}
	if p.lender.closeAll() == 0 {
		p.rest()
	}
}

// watch has the cluster watched, if it is not.
func (p *Pool) watch() {
	p.watching.Lock()
	defer p.watching.Unlock()
	if p.unwatch == nil {
		p.unwatch = p.login.Cluster.Attach(topology.NewPostgresProber(p.cfg.Topology, p.login.Probe))
	}
}

// rest ends the watch. It waits until its connections are closed.
func (p *Pool) rest() {
	p.watching.Lock()
	defer p.watching.Unlock()
	if p.unwatch != nil {
		p.unwatch()
		p.unwatch = nil
	}
}
