package rdstest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// domain is where the names of all endpoints end. The part before it is the cluster's own.
const domain = region + ".rds.amazonaws.com"

// host is the cluster endpoint.
func (c *Cluster) host() string { return fmt.Sprintf("%s.cluster-%s.%s", c.cfg.Name, c.hash, domain) }

// readerHost is the reader endpoint.
func (c *Cluster) readerHost() string {
	return fmt.Sprintf("%s.cluster-ro-%s.%s", c.cfg.Name, c.hash, domain)
}

// DSN leads to the cluster endpoint. Like those of all other functions it is a URL, with sslmode=verify-full, and its host
// names are known to [Cluster.Resolver] only.
func (c *Cluster) DSN() string {
	return c.dsn(hostPort(c.host(), c.Writer().addr.Port()))
}

// ReaderDSN leads to the reader endpoint, which is another reader each time.
func (c *Cluster) ReaderDSN() string {
	return c.dsn(hostPort(c.readerHost(), c.instances[len(c.instances)-1].addr.Port()))
}

// MultiHostDSN names the endpoints of all instances.
func (c *Cluster) MultiHostDSN() string {
	var hosts []string
	for _, in := range c.instances {
		hosts = append(hosts, hostPort(in.host, in.addr.Port()))
	}
	return c.dsn(hosts...)
}

// InstanceDSN leads to the endpoint of one instance.
func (c *Cluster) InstanceDSN(in *Instance) string { return c.dsn(hostPort(in.host, in.addr.Port())) }

// AddressDSN names the addresses of the given instances, of all if none are given: it is for programs that cannot be made
// to use [Cluster.Resolver]. The certificates are good for the addresses too.
func (c *Cluster) AddressDSN(instances ...*Instance) string {
	if len(instances) == 0 {
		instances = c.instances
	}
	var hosts []string
	for _, in := range instances {
		hosts = append(hosts, in.addr.String())
	}
	return c.dsn(hosts...)
}

func hostPort(host string, port uint16) string { return fmt.Sprintf("%s:%d", host, port) }

func (c *Cluster) dsn(hosts ...string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=verify-full&sslrootcert=%s",
		appRole, c.password, strings.Join(hosts, ","), appDatabase, c.CAFile())
}

// Resolver knows the names of the endpoints.
func (c *Cluster) Resolver() *net.Resolver { return c.dns.Resolver() }

// NameServer is the address of the DNS server that [Cluster.Resolver] asks, over UDP and TCP.
func (c *Cluster) NameServer() string { return c.dns.Addr() }

// LookupHost resolves a name; it is made for the LookupFunc of pgx.
func (c *Cluster) LookupHost(ctx context.Context, host string) ([]string, error) {
	return c.dns.Resolver().LookupHost(ctx, host)
}

// AdminConn connects as a superuser to the application's database on one instance, past everything that can be done to its
// front. The caller closes it.
func (c *Cluster) AdminConn(ctx context.Context, in *Instance) (*pgx.Conn, error) {
	cfg, err := in.server.adminConfig(appDatabase)
	if err != nil {
		return nil, fmt.Errorf("rdstest: connect to %s: %w", in.id, err)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("rdstest: connect to %s: %w", in.id, err)
	}
	return conn, nil
}

// pointWriter lets the cluster endpoint lead to the writer, after a delay.
func (c *Cluster) pointWriter(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, in := range c.instances {
		c.dns.Set(in.host, in.addr.Addr())
	}
	c.dns.SetAfter(after, c.host(), c.writer.addr.Addr())
}

// pointReaders lets the reader endpoint lead to the readers that are in their places, after a delay, if that is
// something new.
func (c *Cluster) pointReaders(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var readers []netip.Addr
	for _, in := range c.instances {
		if in.role == Reader && in.stage == placed && in.process != nil {
			readers = append(readers, in.addr.Addr())
		}
	}
	if len(readers) == 0 {
		readers = append(readers, c.writer.addr.Addr()) // as RDS does
	}
	if !slices.Equal(readers, c.pointed) {
		c.pointed = readers
		c.dns.SetAfter(after, c.readerHost(), readers...)
	}
}
