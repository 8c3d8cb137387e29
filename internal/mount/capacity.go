package mount

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	cfg.InitQuery, cfg.Whole, cfg.NoBlocks = old.InitQuery, old.Whole, old.NoBlocks
	l.lending.Store(&cfg)
	l.grow()
}

// InitQuery is that of a Pool that lends.
func (p *Pool) InitQuery() string { return p.lender.cfg().InitQuery }

// max is how many upstreams there may be. Of a server that was not asked yet, one. mu is held.
func (l *lender) max() int {
	cfg := l.cfg()
	if cfg.MaxPercent == 0 {
		return cfg.Max
	}
	return max(1, l.admitted*cfg.MaxPercent/100)
}

// maxIdle is how many of them nobody may use. mu is held.
func (l *lender) maxIdle() int {
	if p := l.cfg().MaxIdlePercent; p > 0 && l.admitted > 0 {
		return l.admitted * p / 100
	}
	return math.MaxInt
}

// tooMany reports whether there are more upstreams than there may be.
func (l *lender) tooMany() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open > l.max()
}

// grow lets those who wait make the upstreams that there may be by now.
func (l *lender) grow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > 0 && l.open < l.max() && !l.closed {
		l.open++
		w := l.queue[0]
		l.queue = l.queue[1:]
		w.turn <- nil
	}
}

// login makes an upstream that is ready to be lent.
func (l *lender) login(ctx context.Context, after topology.Ticket) (*backend.Upstream, error) {
	for {
		up, err := l.pool.login.Connect(ctx, after, &l.mu)
		if err != nil {
			return nil, err
		}
		if err = l.ready(ctx, up); err == nil {
			return up, nil
		}
		up.Close(true)
		var refused *refusal
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, err
		}
		after = l.pool.login.Cluster.Suspect(up.Instance.ID, err)
	}
}

// ready does with a fresh upstream what comes before all else.
func (l *lender) ready(ctx context.Context, up *backend.Upstream) error {
	cfg := l.cfg()
	if cfg.MaxPercent > 0 {
		if err := l.measure(ctx, up); err != nil {
			return err
		}
	}
	if cfg.InitQuery == "" {
		return nil
	}
	_, err := up.Query(ctx, cfg.InitQuery)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR" {
		return &refusal{session.Problem{
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
	l.mu.Lock()
	l.admitted = max(1, n)
	l.mu.Unlock()
	l.grow()
	return nil
}
