package mount

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// DialThrough has whoever connects with c come to a session of the pool: what is between the client and its server is the mount's affair
// then.
func (p *Pool) DialThrough(c *pgconn.Config) {
	c.DialFunc = p.DialContext
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.TLSConfig, c.Fallbacks = nil, nil
	c.SSLNegotiation, c.SSLCertMode, c.RequireAuth, c.ChannelBinding = "", "", "", ""
	c.MinProtocolVersion, c.MaxProtocolVersion = "3.0", "3.0"
	c.ValidateConnect, c.AfterNetConnect = nil, nil
	c.ConnectTimeout = p.cfg.FailoverTimeout + time.Second // the mount's own timeout comes first, and says more
}

// DialContext is a DialFunc. A CancelRequest comes over a connection of its own, to the address that the mount gave as its peer's.
func (p *Pool) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if network == Network {
		return p.DialCancel(addr)
	}
	conn, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}
