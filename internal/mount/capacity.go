package mount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/backend"
	"github.com/fairlead-go/fairlead/internal/session"
	"github.com/fairlead-go/fairlead/topology"
)

// SetLending changes how a Pool lends that does so. What never changes stays. Connections that are too many then are closed as
// they are given back.
func (p *Pool) SetLending(cfg Lending) {
	l := p.lender
	old := l.cfg()
	cfg.InitQuery, cfg.Whole, cfg.NoBlocks, cfg.Quota = old.InitQuery, old.Whole, old.NoBlocks, old.Quota
	l.lending.Store(&cfg)
	l.grow()
}

// InitQuery is that of a Pool that lends.
func (p *Pool) InitQuery() string { return p.lender.cfg().InitQuery }

// another counts one more upstream as open, if there may be one. mu is held.
func (l *lender) another() bool {
	if l.closed || l.open >= l.cfg().Max || !l.quota().take(l) {
		return false
	}
	l.open++
	return true
}

// fewer counts upstreams as open no more. mu is held; unlock is to follow.
func (l *lender) fewer(n int) {
	l.open -= n
	l.freed += n
}

// unlock lets go of mu, and has the quota's other lenders get what this one has no more.
func (l *lender) unlock() {
	n := l.freed
	l.freed = 0
	l.mu.Unlock()
	l.quota().put(l, n)
}

func (l *lender) quota() *Quota { return l.cfg().Quota }

// tooMany reports whether there are more upstreams than there may be.
func (l *lender) tooMany() bool {
	if l.quota().exceeded() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open > l.cfg().Max
}

// grow lets those who wait make the upstreams that there may be by now.
func (l *lender) grow() {
	l.mu.Lock()
	for len(l.queue) > 0 && l.another() {
		l.queue[0].turn <- nil
		l.queue = l.queue[1:]
	}
	lacks := l.lacks()
	l.mu.Unlock()
	if lacks {
		l.quota().ask(l)
	}
}

// lacks reports whether somebody waits who could have an upstream but for the quota. mu is held.
func (l *lender) lacks() bool { return len(l.queue) > 0 && l.open < l.cfg().Max && !l.closed }

// offered is one more upstream that the quota allows for. It reports whether somebody waits for it, and for more than that.
func (l *lender) offered() (taken, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lacks() {
		return false, false
	}
	l.open++
	l.queue[0].turn <- nil
	l.queue = l.queue[1:]
	return true, l.lacks()
}

// spare closes an upstream that nobody uses, for another lender. It reports whether there was one.
func (l *lender) spare() bool {
	l.mu.Lock()
	if len(l.idle) == 0 {
		l.mu.Unlock()
		return false
	}
	x := l.idle[0]
	l.idle = slices.Delete(l.idle, 0, 1)
	l.fewer(1)
	l.unlock()
	x.up.Close(false)
	return true
}

func (l *lender) countIdle() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.idle)
}

// login makes an upstream that is ready to be lent.
func (l *lender) login(ctx context.Context, after topology.Ticket) (*backend.Upstream, error) {
	for {
		up, err := l.pool.login.Connect(ctx, after, &l.mu)
		if err != nil {
			return nil, err
		}
		if err = l.readyOrClosed(ctx, up); err == nil {
			return up, nil
		}
		var refused *refusal
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, err
		}
		after = l.pool.login.Cluster.Suspect(up.Instance.ID, err)
	}
}

// readyOrClosed is ready for an upstream that is closed if that fails, whatever the reason.
func (l *lender) readyOrClosed(ctx context.Context, up *backend.Upstream) (err error) {
	isReady := false
	defer func() {
		if !isReady {
			up.Close(true)
		}
	}()
	err = l.ready(ctx, up)
	isReady = err == nil
	return err
}

// ready does with a fresh upstream what comes before all else.
func (l *lender) ready(ctx context.Context, up *backend.Upstream) error {
	cfg := l.cfg()
	if l.quota().measures() {
		if err := l.measure(ctx, up); err != nil {
			return err
		}
	}
	if cfg.InitQuery == "" {
		return nil
	}
	_, err := up.Query(ctx, cfg.InitQuery)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" {
		return &refusal{Problem: session.Problem{
			Code: pg.Code, Message: "fairlead: init_query failed on a new server connection",
			Detail: pg.Message, Hint: "Mend init_query in the pooler's configuration. Nothing was run.",
		}}
	}
	return err
}

// admits asks how many connections a server has, and how many of them it keeps for others.
const admits = `select pg_catalog.concat_ws(',', pg_catalog.current_setting('max_connections'),` +
	` pg_catalog.current_setting('superuser_reserved_connections'), pg_catalog.current_setting('reserved_connections', true),` +
	` pg_catalog.current_setting('rds.rds_superuser_reserved_connections', true))`

// measure reads how many connections the server admits: each time, since it may be another server, or of another size by now.
func (l *lender) measure(ctx context.Context, up *backend.Upstream) error {
	answer, err := up.Query(ctx, admits)
	if err != nil {
		return err
	}
	n := 0
	for i, text := range strings.Split(answer, ",") {
		if text == "" {
			continue
		}
		part, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("mount: max_connections of %s and its reserves: %w", up.Instance.ID, err)
		}
		if i == 0 {
			n = part
		} else {
			n -= part
		}
	}
	l.quota().measured(n)
	return nil
}
