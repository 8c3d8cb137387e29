package pooler

import (
	"context"
	"time"
)

// adminGrace is how long an admin address that is given up goes on answering what it was asked.
const adminGrace = 5 * time.Second

// Reload goes over to another Config while clients are served. A Config that makes no sense, or an address that cannot be opened,
// changes nothing, and the error says why.
//
// Everything changes but Logger, MeterProvider and Source. Clients who are in stay, also those of a listener that is gone; what is about
// their way in is for those who come. Bounds and timeouts hold at once. Where the way to a cluster has changed (its DSN, its
// init_query, session_pinning_filters), and where a cluster is gone, clients who have it go on as before until they disconnect.
func (s *Server) Reload(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	l, err := newLogins(&cfg, s.loginKey, s.log)
	if err != nil {
		return err
	}
	defer func() { l.leave() }() // those that do not serve
	old := s.cfg.Load()
	cfg.Logger, cfg.MeterProvider, cfg.Source = old.Logger, old.MeterProvider, old.Source
	list, fresh := s.endpoints, []*endpoint(nil)
	if s.endpoints != nil {
		if list, fresh, err = openFor(context.Background(), &cfg, s.endpoints); err != nil {
			return err
		}
	}
	now := s.admin
	if s.serve != nil && cfg.Admin != old.Admin {
		if now, err = s.openAdmin(context.Background(), cfg.Admin); err != nil {
			closeAll(fresh)
			return err
		}
	}
	if err := s.change(old, &cfg); err != nil {
		closeAll(fresh)
		if now != s.admin {
			now.close(context.Background())
		}
		return err
	}
	s.cfg.Store(&cfg)
	l = s.logins.Swap(l)
	s.replace(list, fresh)
	s.generation.Add(1)
	if gone := s.admin; now != gone {
		s.admin = now
		s.retiring.Go(func() { // it may have brought this very request
			ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
			defer cancel()
			gone.close(ctx)
		})
	}
	return nil
}

// change has the pools go over, and takes those that are kept.
func (s *Server) change(old, cfg *Config) error {
	if err := s.pools.change(cfg); err != nil {
		return err
	}
	if s.serve == nil {
		return nil
	}
	own, err := s.hold(cfg)
	if err != nil {
		_ = s.pools.change(old) // it was possible before
		return err
	}
	s.leave(s.own)
	s.own = own
	return nil
}

// replace goes over to other endpoints. Those that are gone let nobody in any more.
func (s *Server) replace(list, fresh []*endpoint) {
	if s.endpoints == nil {
		return
	}
	stays := make(map[*endpoint]bool, len(list))
	for i, e := range list {
		e.settings.Store(&s.cfg.Load().Listeners[i])
		stays[e] = true
	}
	for _, e := range s.endpoints {
		if !stays[e] {
			e.gone.Store(true)
			_ = e.Close()
			s.log.Info("not listening any more", "address", e.Addr().String())
		}
	}
	s.mu.Lock()
	s.endpoints = list
	s.mu.Unlock()
	if s.serve != nil {
		for _, e := range fresh {
			s.serve(e)
		}
	}
}
