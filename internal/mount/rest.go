package mount

import (
	"context"
	"errors"

	"github.com/fairlead-go/fairlead/credentials"
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

// WarmCredentials has what the first host is logged in to with, if that comes from a provider. Nothing is dialled but what the
// provider dials.
func (p *Pool) WarmCredentials(ctx context.Context) error {
	if p.cfg.Credentials == nil {
		return nil
	}
	first := p.login.Seeds()[0]
	_, err := p.cfg.Credentials.Credential(ctx, credentials.Target{Host: first.Host, Port: first.Port, User: p.cfg.Login.User}, nil)
	return err
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

// errNotProven is why a look at a cluster does not find an instance that waiting for might.
var errNotProven = errors.New("none is proven at the moment")

// Lacks says why no new upstream could be had at once, of a cluster that is watched and in a Pool that somebody holds.
func (p *Pool) Lacks() error {
	p.watching.Lock()
	watched := p.unwatch != nil
	p.watching.Unlock()
	if !watched {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errNotProven)
	_, _, err := p.login.Cluster.Pick(ctx, p.login.Want, 0)
	return err
}
