package topology

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// resolveTimeout bounds one look-up. Nobody waits for it: it only keeps look-ups from piling up.
const resolveTimeout = 5 * time.Second

// resolved is the outcome of a look-up.
type resolved struct {
	host  string
	addrs []netip.Addr
	err   error
}

// literal returns the address that a host is, if it is one.
func literal(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	return nil
}

// resolvable tells whether a host is a name: not an address, nor the directory of a Unix socket.
func resolvable(host string) bool {
	return host != "" && host[0] != '/' && host[0] != '@' && literal(host) == nil
}

// resolve looks up the names of all targets in the background, each in a goroutine of its own, one at a time.
func (m *monitor) resolve() {
	for _, t := range m.targets {
		host := t.ep.Host
		if m.resolving[host] || !resolvable(host) {
			continue
		}
		m.resolving[host] = true
		m.wg.Go(func() {
			ctx, cancel := context.WithTimeout(m.ctx, resolveTimeout)
			defer cancel()
			var texts []string
			var err error
			if p := contain.Run(func() { texts, err = m.c.cfg.Resolver.LookupHost(ctx, host) }); p != nil {
				p.Log(m.log, "look-up of a host")
				err = p
			}
			r := resolved{host: host, err: err}
			for _, text := range texts {
				if a, err := netip.ParseAddr(text); err == nil {
					r.addrs = append(r.addrs, a)
				}
			}
			select {
			case m.found <- r:
			case <-m.ctx.Done():
			}
		})
	}
}

// take keeps the outcome of a look-up, if it is a good one.
func (m *monitor) takeResolved(r resolved) {
	delete(m.resolving, r.host)
	if r.err != nil || len(r.addrs) == 0 {
		m.log.Debug("look-up failed, the last good answer is kept", "host", r.host, "error", r.err)
		return
	}
	changed := false
	for _, t := range m.targets {
		if t.ep.Host != r.host || slices.Equal(t.addrs, r.addrs) {
			continue
		}
		changed = true
		t.addrs = r.addrs
		t.asker.order(func(o *orders) { o.addrs = r.addrs })
	}
	if changed {
		m.evaluate(time.Now(), false)
	}
}
