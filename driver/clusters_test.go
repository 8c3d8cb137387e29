package driver

import (
	"context"
	"net"
	"testing"
)

func TestPoolsShareAClusterOnlyWhenTheyReachItAlike(t *testing.T) {
	key := func(dsn string, change func(*Config)) string {
		t.Helper()
		cfg, err := ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(cfg)
		}
		p, err := newPool(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return p.ClusterKey()
	}
	const dsn = "postgres://a:x@one,two/app"
	same := key(dsn, nil)
	for name, other := range map[string]string{
		"another user and database": key("postgres://b:y@one,two/other", nil),
		"another order of hosts":    key("postgres://a:x@two,one/app", nil),
	} {
		if other != same {
			t.Errorf("%s does not share: %s and %s", name, same, other)
		}
	}
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	lookup := func(context.Context, string) ([]string, error) { return nil, net.ErrClosed }
	for name, other := range map[string]string{
		"another host":          key("postgres://a:x@one,three/app", nil),
		"a dialer":              key(dsn, func(c *Config) { c.DialFunc = dial }),
		"a dialer in Conn":      key(dsn, func(c *Config) { c.Conn.DialFunc = dial }),
		"a lookup in Conn":      key(dsn, func(c *Config) { c.Conn.LookupFunc = lookup }),
		"a resolver":            key(dsn, func(c *Config) { c.Resolver = new(net.Resolver) }),
		"another probe_timeout": key(dsn+"?probe_timeout=1s", nil),
	} {
		if other == same {
			t.Errorf("%s shares", name)
		}
	}
}
