package driver

import (
	"context"
	"net"
	"time"
)

// Dialer lets a driver that speaks the protocol itself connect through Fairlead, such as lib/pq:
//
//	cfg, err := driver.ParseConfig(dsn)
//	dialer, err := driver.NewDialer(cfg)
//	connector, err := pq.NewConnector("user=app dbname=app sslmode=disable")
//	connector.Dialer(dialer)
//
// The address dialled is not looked at: Config says where to. User and database of the client must be those of Config,
// TLS and passwords are Config's affair, and the client is to be told sslmode=disable.
type Dialer struct{ pool *pool }

// NewDialer returns a Dialer. The cluster is watched while any of its connections is open.
func NewDialer(cfg *Config) (*Dialer, error) {
	p, err := newPool(cfg)
	if err != nil {
		return nil, err
	}
	return &Dialer{pool: p}, nil
}

// DialContext logs in to an instance and returns a connection that speaks the protocol's server side.
func (d *Dialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return d.pool.DialContext(ctx, "tcp", "")
}

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout is DialContext with a bound.
func (d *Dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
