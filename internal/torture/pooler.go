package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

// frontPooler is a pooler in front of the cluster, in transaction mode, with fewer connections than there are workers.
type frontPooler struct {
	server *pooler.Server
	stop   context.CancelFunc
	ended  chan error
	addr   *net.TCPAddr
	user   string
	db     string
}

func openPooler(ctx context.Context, dc *driver.Config, cfg Config, meter metric.MeterProvider) (*frontPooler, error) {
	server, err := pooler.New(pooler.Config{
		Listeners:     []pooler.Listener{{Address: "127.0.0.1:0", Mode: pooler.Transaction}},
		Clusters:      map[string]*pooler.Cluster{"main": {Database: dc, PoolSize: max(2, 2*cfg.Workers/3), VerifyClean: cfg.VerifyClean}},
		DrainTimeout:  5 * time.Second,
		Logger:        cfg.Logger,
		MeterProvider: meter,
	})
	if err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	// It ends after its clients, and not with ctx, which ends them.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &frontPooler{server: server, stop: stop, ended: make(chan error, 1), user: dc.Conn.User, db: dc.Conn.Database}
	if err := server.Listen(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("torture: %w", err)
	}
	go func() { p.ended <- server.Run(serving) }()
	addrs, err := server.Addrs(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("torture: wait for the pooler: %w", err), p.close())
	}
	p.addr = addrs[0].(*net.TCPAddr)
	return p, nil
}

// url is how clients reach it.
func (p *frontPooler) url() string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", p.user, p.addr, p.db)
}

func (p *frontPooler) close() error {
	p.stop()
	err := <-p.ended
	if n := p.server.Stats().Unclean; n != 0 {
		err = errors.Join(err, fmt.Errorf("%d connections were not clean when they went to another session", n))
	}
	return err
}
