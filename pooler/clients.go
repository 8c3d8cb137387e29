package pooler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// bounded is a set of clients that has a bound of its own.
type bounded struct{ user, cluster, database string }

// enter counts a client in, if it may come in.
func (s *Server) enter(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		_ = c.conn.Close()
		return false
	}
	c.crowded = len(s.clients) >= s.cfg.Load().MaxClients
	s.clients[c] = struct{}{}
	return true
}

func (s *Server) left(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	for _, b := range c.counted {
		if s.counts[b]--; s.counts[b] == 0 {
			delete(s.counts, b)
		}
	}
	if s.draining && len(s.clients) == 0 {
		close(s.drained)
	}
}

// drain ends clients as they become idle, and at the end of ctx all of them.
func (s *Server) drain(ctx context.Context) {
	s.beginDrain()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, c := range s.all() {
			s.guard("drain", func() {
				c.leaveIfIdle("terminating connection: the pooler is shutting down")
				c.leaveIfGone(0)
			})
		}
		select {
		case <-s.drained:
			return
		case <-tick.C:
			continue
		case <-ctx.Done():
		case <-s.hurry:
		}
		break
	}
	rest := s.all()
	s.log.Warn("clients are cut off: their transactions are not over", "clients", len(rest))
	for _, c := range rest {
		s.leaving.Go(func() { s.guard("drain", func() { c.abandon(abandonTime) }) })
	}
	timer := time.NewTimer(cutTime)
	defer timer.Stop()
	select {
	case <-s.drained:
	case <-timer.C:
		s.log.Error("clients that were cut off do not end; they are left to the end of the process", "clients", len(s.all()))
	}
}

// cutTime is how long clients that are cut off may take to end.
const cutTime = 2 * time.Second

func (s *Server) beginDrain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	if len(s.clients) == 0 {
		close(s.drained)
	}
}

func (s *Server) all() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		list = append(list, c)
	}
	return list
}

// admit counts a client among those of its user and its database, if there is room.
func (s *Server) admit(c *client, user, database string) error {
	cfg, cluster := s.cfg.Load(), c.listener.Cluster
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range []struct {
		bounded
		most int
		what string
	}{
		{bounded{user: user}, cfg.Users[user].MaxClients, fmt.Sprintf("of user %q", user)},
		{bounded{cluster: cluster, database: database}, cfg.database(cluster, database).MaxClients, fmt.Sprintf("of database %q", database)},
	} {
		if b.most > 0 && s.counts[b.bounded] >= b.most {
			return &problem{"53300", fmt.Sprintf("fairlead: %d clients %s are connected, and no more are allowed (max_client_conn)", b.most, b.what)}
		}
		s.counts[b.bounded]++
		c.counted = append(c.counted, b.bounded)
	}
	return nil
}

// watchInterval is how often clients are looked after, at least.
const watchInterval = time.Second

// interval is how often they are looked after: often enough for the timeouts to be kept within a tenth.
func (c *Config) interval() time.Duration {
	d := watchInterval
	for _, limit := range []time.Duration{c.QueryTimeout, c.IdleTransactionTimeout, c.IdleClientTimeout, c.ClientMessageTimeout} {
		if limit > 0 {
			d = min(d, limit/10)
		}
	}
	return max(d, 10*time.Millisecond)
}

// watch ends clients that are idle for too long, and work that takes too long or whose client is gone.
func (s *Server) watch(ctx context.Context) {
	var canceling sync.WaitGroup
	defer within(cancelTime, &canceling)
	timer := time.NewTimer(s.cfg.Load().interval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			cfg := s.cfg.Load()
			s.beat()
			for _, c := range s.all() {
				if p := s.guard("watch", func() { s.lookAfter(c, now, cfg, &canceling) }); p != nil {
					_ = c.raw.Close() // its own goroutine finds out
				}
			}
			timer.Reset(cfg.interval())
		}
	}
}

// lookAfter is what the watch does about one client.
func (s *Server) lookAfter(c *client, now time.Time, cfg *Config, canceling *sync.WaitGroup) {
	contain.Point("pooler.watch", nil)
	c.look(now, cfg)
	if c.slow(now, cfg.QueryTimeout) && c.canceling.CompareAndSwap(false, true) {
		canceling.Go(func() { s.guard("query_timeout", func() { c.cancelSlow(cfg.QueryTimeout) }) })
	}
}
