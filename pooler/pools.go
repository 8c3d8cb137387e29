package pooler

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/mount"
)

// poolKey is what sessions agree in that share connections.
type poolKey struct {
	cluster  string
	role     TargetRole
	mode     Mode
	fallback driver.Switch
	database string
}

// ownKey is that of the database that the cluster's DSN names, for clients of a Listener.
func (c *Config) ownKey(l *Listener) poolKey {
	return l.key(c.Clusters[l.Cluster].Database.Conn.Database)
}

// key is that of a database for clients of the Listener.
func (l *Listener) key(database string) poolKey {
	return poolKey{l.Cluster, l.TargetRole, l.Mode, l.ReaderFallback, database}
}

// pools are those of a Server. One is there as long as somebody uses it; when the Config changes into one that means another
// pool, it goes on for those who have it.
type pools struct {
	mu     sync.Mutex
	cfg    *Config
	open   map[poolKey]*shared
	all    map[*shared]struct{} // also those that are in open no more
	quotas map[quotaKey]*mount.Quota

	onPanic func() // is called when a panic of a session's was contained; it does not change
}

// quotaKey is what pools agree in whose connections are bounded together: they lead to the same server, or to some of the same.
type quotaKey struct {
	cluster string
	readers bool
}

func (k poolKey) quota() quotaKey { return quotaKey{k.cluster, k.role == ReadOnly} }

// shared is a pool with those who use it.
type shared struct {
	key      poolKey
	source   *driver.Config
	identity string
	pool     *mount.Pool
	users    int
}

func newPools(cfg *Config) *pools {
	return &pools{cfg: cfg, open: make(map[poolKey]*shared), all: make(map[*shared]struct{}), quotas: make(map[quotaKey]*mount.Quota)}
}

// list is all pools, in the order of their keys.
func (p *pools) list() []*shared {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*shared, 0, len(p.all))
	for s := range p.all {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *shared) int {
		return cmp.Or(cmp.Compare(a.key.cluster, b.key.cluster), cmp.Compare(a.key.database, b.key.database),
			cmp.Compare(a.key.role, b.key.role), cmp.Compare(a.key.mode, b.key.mode), cmp.Compare(a.key.fallback, b.key.fallback))
	})
	return list
}

// replaced reports whether a pool is there for clients only who have it.
func (p *pools) replaced(s *shared) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[s.key] != s
}

// take returns a pool, which is there until the last one leaves it.
func (p *pools) take(key poolKey) (*shared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.open[key]; s != nil {
		s.users++
		return s, nil
	}
	if p.cfg.Clusters[key.cluster] == nil {
		return nil, fmt.Errorf("pooler: there is no cluster %q any more", key.cluster)
	}
	m, err := p.cfg.mount(key)
	if err != nil {
		return nil, err
	}
	if m.Lending.Quota = p.quotas[key.quota()]; m.Lending.Quota == nil {
		m.Lending.Quota = mount.NewQuota(p.cfg.Clusters[key.cluster].bounds())
		p.quotas[key.quota()] = m.Lending.Quota
	}
	m.OnPanic = p.onPanic
	pool, err := mount.NewPool(m)
	if err != nil {
		return nil, fmt.Errorf("pooler: pool of %s: %w", key.database, err)
	}
	if err := pool.Hold(); err != nil {
		return nil, fmt.Errorf("pooler: pool of %s: %w", key.database, err)
	}
	s := &shared{key: key, source: p.cfg.Clusters[key.cluster].Database, identity: m.Identity, pool: pool, users: 1}
	p.open[key], p.all[s] = s, struct{}{}
	return s, nil
}

func (p *pools) leave(s *shared) {
	p.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		delete(p.all, s)
		if p.open[s.key] == s {
			delete(p.open, s.key)
		}
	}
	p.mu.Unlock()
	if last {
		s.pool.Release()
	}
}

// change goes over to another Config. Pools that it leaves as they are get its bounds; others are for those who have them.
func (p *pools) change(cfg *Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	stay := make(map[*shared]mount.Lending)
	for key, s := range p.open {
		k := cfg.Clusters[key.cluster]
		if k == nil {
			continue
		}
		m, err := cfg.mount(key)
		if err != nil {
			return err
		}
		if m.Identity == s.identity && (m.Identity != "" || k.Database == s.source) && m.Lending.InitQuery == s.pool.InitQuery() {
			stay[s] = *m.Lending
		}
	}
	for key, s := range p.open {
		if l, ok := stay[s]; ok {
			s.pool.SetLending(l)
		} else {
			delete(p.open, key)
		}
	}
	for key, q := range p.quotas {
		if k := cfg.Clusters[key.cluster]; k != nil {
			q.Set(k.bounds())
		}
	}
	p.cfg = cfg
	return nil
}

// bounds are those of all the cluster's pools together.
func (k *Cluster) bounds() mount.Bounds {
	return mount.Bounds{Max: k.MaxServerConnections, MaxPercent: k.MaxConnectionsPercent, MaxIdlePercent: k.MaxIdleConnectionsPercent}
}

// mount is what the sessions of a pool need.
func (c *Config) mount(key poolKey) (mount.Config, error) {
	k := c.Clusters[key.cluster]
	d := k.Database.Copy()
	d.Conn.Database = key.database
	switch key.role {
	case ReadWrite:
		d.TargetSessionAttrs = driver.AttrsReadWrite
	case ReadOnly:
		d.TargetSessionAttrs = driver.AttrsReadOnly
	}
	if key.fallback != "" {
		d.ReaderFallback = key.fallback
	}
	if slices.Contains(k.PinningFilters, ExcludeVariableSets) {
		d.SessionState = driver.SessionRelaxed
	}
	if d.Logger == nil {
		d.Logger = c.Logger
	}
	if d.MeterProvider == nil {
		d.MeterProvider = c.MeterProvider
	}
	m, err := mount.ConfigOf(d)
	if err != nil {
		return m, fmt.Errorf("pooler: cluster %s: %w", key.cluster, err)
	}
	m.Lending = &mount.Lending{
		ClientMemory: max(0, c.ClientMemoryLimit), Until: k.WaitUntil, Lazy: k.Watch == WatchUsed,
		Max:     k.PoolSize,
		MinIdle: k.MinPoolSize, BorrowTimeout: k.BorrowTimeout, Lifetime: max(0, k.ServerLifetime),
		IdleTimeout: max(0, k.ServerIdleTimeout), Statements: k.Statements, InitQuery: k.InitQuery,
		Whole: key.mode == Session, NoBlocks: key.mode == Statement, Verify: k.VerifyClean == VerifyOn,
	}
	if k.MaxConnectionsPercent > 0 {
		m.Lending.Max = math.MaxInt
	}
	if size := c.database(key.cluster, key.database).PoolSize; size > 0 {
		m.Lending.Max, m.Lending.MinIdle = size, min(m.Lending.MinIdle, size)
	}
	return m, nil
}

// database is what holds for a database of a cluster, nothing if none of them says anything.
func (c *Config) database(cluster, name string) Database {
	if k := c.Clusters[cluster]; k != nil {
		return k.Databases[name]
	}
	return Database{}
}
