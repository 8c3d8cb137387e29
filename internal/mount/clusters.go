package mount

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/topology"
)

// clusters are those of this process. Pools that name the same cluster share one, with its monitor.
var clusters = clusterSet{open: make(map[string]*sharedCluster)}

type clusterSet struct {
	mu   sync.Mutex
	open map[string]*sharedCluster
}

// sharedCluster is one cluster with the connections to it.
type sharedCluster struct {
	cluster  *topology.Cluster
	registry *backend.Registry

	mu    sync.Mutex
	pools []*Pool
}

// join takes a pool to its cluster, which is opened for the first and closed after the last.
func (s *clusterSet) join(p *Pool) (shared *sharedCluster, leave func(), err error) {
	key := p.ClusterKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	shared = s.open[key]
	if shared == nil {
		if shared, err = openCluster(p); err != nil {
			return nil, nil, err
		}
		s.open[key] = shared
	}
	shared.mu.Lock()
	shared.pools = append(shared.pools, p)
	shared.mu.Unlock()
	return shared, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		shared.mu.Lock()
		shared.pools = slices.DeleteFunc(shared.pools, func(o *Pool) bool { return o == p })
		last := len(shared.pools) == 0
		shared.mu.Unlock()
		if last {
			delete(s.open, key)
			shared.registry.Stop()
		}
	}, nil
}

func openCluster(p *Pool) (*sharedCluster, error) {
	shared := new(sharedCluster)
	cfg := topology.Config{
		Name:            p.cfg.Name,
		Seeds:           p.login.Seeds(),
		Kind:            p.cfg.Topology,
		HostPattern:     p.cfg.HostPattern,
		RefreshInterval: p.cfg.RefreshInterval,
		ProbeTimeout:    p.cfg.ProbeTimeout,
		Logger:          p.cfg.Logger,
		MeterProvider:   p.cfg.MeterProvider,
		OnChange:        func(old, now *topology.Snapshot) { shared.registry.Moved(old, now) },
		OnFailover:      shared.failedOver,
	}
	if p.cfg.Resolver != nil {
		cfg.Resolver = p.cfg.Resolver
	}
	cluster, err := topology.New(cfg)
	if err != nil {
		return nil, err
	}
	shared.cluster = cluster
	shared.registry = backend.NewRegistry(func(instance string) { cluster.Check(instance) })
	shared.registry.Logger = p.cfg.Logger
	shared.registry.Start()
	return shared, nil
}

// failedOver passes a failover on to those who asked to be told.
func (c *sharedCluster) failedOver(f topology.Failover) {
	c.mu.Lock()
	pools := slices.Clone(c.pools)
	c.mu.Unlock()
	for _, p := range pools {
		if p.cfg.OnFailover != nil {
			p.cfg.OnFailover(f)
		}
	}
}

// ClusterKey is equal for pools that mean the same cluster: the same hosts, found in the same way. Pools with a dialer or a
// lookup function of their own share only with themselves, since nothing tells where such a function leads.
func (p *Pool) ClusterKey() string {
	hosts := make([]string, 0, 4)
	for _, ep := range p.login.Seeds() {
		hosts = append(hosts, strings.ToLower(ep.String()))
	}
	slices.Sort(hosts)
	key := fmt.Sprintf("%s|%s|%s|%v|%v|%p", strings.Join(hosts, ","), p.cfg.Topology, p.cfg.HostPattern,
		p.cfg.RefreshInterval, p.cfg.ProbeTimeout, p.cfg.Resolver)
	if p.cfg.OwnDial {
		key += fmt.Sprintf("|%p", p)
	}
	return key
}
