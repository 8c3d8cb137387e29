package backend

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/topology"
)

const (
	// aheadAfter is how long somebody waits for the writer before logins are made ahead: most suspicions are over by then.
	aheadAfter = 25 * time.Millisecond
	// aheadReaders and aheadEach bound the logins made ahead: how many readers, those that lag least, and how many
	// connections to each.
	aheadReaders, aheadEach = 4, 4
	// aheadPause is how often those are looked after while somebody waits, and aheadRest how long they are kept once nobody does.
	aheadPause, aheadRest = 250 * time.Millisecond, 2 * time.Second
)

// ahead makes logins to readers while a cluster has no writer. One of the readers will be the writer, and a session that is
// logged in there by then goes on without the time of a login, which on a server that everybody comes to at once is the
// longest part of a failover.
type ahead struct {
	login *Login

	mu      sync.Mutex
	waiting int                // callers who wait for the writer
	stocks  map[string]*stock  // by instance
	stop    context.CancelFunc // of the goroutine that makes the logins; nil: there is none
	done    chan struct{}      // closed when it has ended
}

// stock is what there is for one instance.
type stock struct {
	ctx    context.Context
	cancel context.CancelFunc
	free   int                 // connections in made or about to be that nobody waits for
	made   chan *pgconn.PgConn // each login ends up here, a failed one as nil
}

// wait says that somebody waits for the writer, until the function that it returns is called.
func (a *ahead) wait() (over func()) {
	a.mu.Lock()
	a.waiting++
	a.mu.Unlock()
	timer := time.AfterFunc(aheadAfter, a.start)
	return func() {
		timer.Stop()
		a.mu.Lock()
		a.waiting--
		a.mu.Unlock()
	}
}

// start has logins made, if somebody still waits.
func (a *ahead) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == 0 || a.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop, a.done, a.stocks = stop, make(chan struct{}), make(map[string]*stock)
	go a.run(ctx, a.done)
}

// run makes logins until nobody has waited for a while, or ctx ends.
func (a *ahead) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	var logins sync.WaitGroup
	tick := time.NewTicker(aheadPause)
	defer tick.Stop()
	for wanted := time.Now(); ctx.Err() == nil && time.Since(wanted) < aheadRest; {
		if p := contain.Run(func() {
			if a.stocked(ctx, &logins) {
				wanted = time.Now()
			}
		}); p != nil {
			p.Log(nil, "logins ahead")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	a.mu.Lock()
	stocks := a.stocks
	a.stocks = nil
	a.stop()
	a.mu.Unlock()
	logins.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range stocks {
		s.clear(func(*pgconn.PgConn) bool { return false })
	}
	a.stop = nil
}

// stocked begins the logins that are missing, if somebody waits for the writer, which it reports.
func (a *ahead) stocked(ctx context.Context, logins *sync.WaitGroup) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == 0 {
		return false
	}
	a.replenish(ctx, logins)
	return true
}

// replenish begins the logins that are missing. mu is held.
func (a *ahead) replenish(ctx context.Context, logins *sync.WaitGroup) {
	readers := a.login.Cluster.Snapshot().Readers()
	slices.SortStableFunc(readers, func(x, y topology.Instance) int { return cmp.Compare(x.Lag, y.Lag) })
	for _, in := range readers[:min(len(readers), aheadReaders)] {
		s := a.stocks[in.ID]
		if s == nil {
			s = &stock{made: make(chan *pgconn.PgConn, aheadEach)}
			s.ctx, s.cancel = context.WithCancel(ctx)
			a.stocks[in.ID] = s
		}
		// What a server says unasked is mostly its end.
		s.clear(func(pg *pgconn.PgConn) bool { return !readable(rawConn(pg.Conn())) })
		for ; s.free < aheadEach; s.free++ {
			logins.Go(func() {
				var pg *pgconn.PgConn
				p := contain.Run(func() {
					var err error
					if pg, err = a.login.enter(s.ctx, a.login.config(in.Endpoint, in.Addrs)); err != nil {
						pg = nil // the session that needs it will find out for itself
					}
				})
				if p != nil {
					p.Log(nil, "login ahead")
				}
				s.made <- pg
			})
		}
	}
}

// clear closes the connections that are made, that nobody waits for, and that are not worth keeping. mu is held.
func (s *stock) clear(keep func(*pgconn.PgConn) bool) {
	for range min(len(s.made), s.free) {
		switch pg := <-s.made; {
		case pg == nil:
			s.free--
		case keep(pg):
			s.made <- pg
		default:
			drop(pg)
			s.free--
		}
	}
}

// take returns a connection to an instance that became the writer, nil when there is none. It waits for a login that
// is under way, and has those to other instances given up. The server has answered since.
func (a *ahead) take(ctx context.Context, in topology.Instance) *pgconn.PgConn {
	for {
		a.mu.Lock()
		for id, s := range a.stocks {
			if id != in.ID {
				s.cancel()
			}
		}
		s := a.stocks[in.ID]
		if s == nil || s.free == 0 {
			a.mu.Unlock()
			return nil
		}
		s.free--
		a.mu.Unlock()
		var pg *pgconn.PgConn
		select {
		case pg = <-s.made:
		case <-ctx.Done():
			a.mu.Lock()
			s.free++
			a.mu.Unlock()
			return nil
		}
		if pg == nil {
			continue
		}
		// The answer brings what the promotion changed: in_hot_standby.
		if err := pg.Ping(ctx); err == nil {
			return pg
		}
		drop(pg)
	}
}

// rest closes all connections and waits for the goroutines.
func (a *ahead) rest() {
	a.mu.Lock()
	stop, done := a.stop, a.done
	if stop != nil {
		stop()
	}
	a.mu.Unlock()
	if stop != nil {
		<-done
	}
}

// drop ends a connection that was not used, without waiting for the server.
func drop(pg *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_ = pg.Close(ctx) // it is given up either way
}
