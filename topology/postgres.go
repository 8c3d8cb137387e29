package topology

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// NewPostgresProber makes a prober of PostgreSQL servers from a function that logs in. With KindAuto each server is asked
// what it is.
func NewPostgresProber(kind Kind, connect func(ctx context.Context, ep Endpoint, addrs []netip.Addr) (*pgconn.PgConn, error)) Prober {
	return &postgresProber{kind: kind, connect: connect}
}

type postgresProber struct {
	kind    Kind
	connect func(ctx context.Context, ep Endpoint, addrs []netip.Addr) (*pgconn.PgConn, error)
}

// postgresSession is a probe connection. What cannot change while a server process lives is asked once, at the login.
type postgresSession struct {
	wire   *postgresWire
	kind   Kind
	fixed  Report
	coarse bool // the WAL position functions raise here
}

// Open implements [Prober].
func (p *postgresProber) Open(ctx context.Context, ep Endpoint, addrs []netip.Addr) (Session, error) {
	conn, err := p.connect(ctx, ep, addrs)
	if err != nil {
		if RefusesLogin(err) {
			return nil, &LoginRefusedError{Err: err}
		}
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "53300" {
			return nil, &BusyError{Err: err}
		}
		return nil, err
	}
	w, err := newPostgresWire(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("topology: probe %v: %w", ep, err)
	}
	s := &postgresSession{wire: w, kind: p.kind}
	if err := s.introduce(ctx); err != nil {
		_ = w.close() // the error is the one that counts
		return nil, fmt.Errorf("topology: probe %v: %w", ep, err)
	}
	return s, nil
}

// Probe implements [Session].
func (s *postgresSession) Probe(ctx context.Context) (Report, error) {
	switch s.kind {
	case KindAurora:
		return s.probeAurora(ctx)
	case KindNone:
		return s.fixed, nil
	}
	return s.probeReplication(ctx)
}

// watch implements watcher.
func (s *postgresSession) watch() (news <-chan struct{}, stop func()) { return watchIdle(s.wire.conn) }

// Close implements [Session].
func (s *postgresSession) Close() error { return s.wire.close() }

// The boot is the postmaster's start and the reset of its statistics: the recovery from the crash of one server process, in
// which all connections die too, changes only the second.
const (
	introduceBoot   = `select (extract(epoch from pg_catalog.pg_postmaster_start_time()) operator(pg_catalog.*) 1000000)::bigint`
	introduceReset  = `select (extract(epoch from stats_reset) operator(pg_catalog.*) 1000000)::bigint from pg_catalog.pg_stat_bgwriter`
	introduceSystem = `select system_identifier from pg_catalog.pg_control_system()`
	introduceAurora = `select pg_catalog.to_regproc('pg_catalog.aurora_replica_status') is not null`
	introduceID     = `select pg_catalog.aurora_db_instance_identifier()`
)

// introduce asks what stays the same for the life of the connection, in one round trip. Each answer is optional.
func (s *postgresSession) introduce(ctx context.Context) error {
	all, err := s.wire.query(ctx, introduceBoot, introduceReset, introduceSystem, introduceAurora)
	if err != nil {
		return err
	}
	s.fixed = Report{Kind: KindReplication, Lag: -1, Addr: s.wire.addr}
	if boot := all[0].value(); boot != "" {
		s.fixed.Boot = boot + "." + all[1].value()
	}
	s.fixed.SystemID = all[2].value()
	aurora := all[3].value() == "t"
	switch {
	case s.kind == KindAuto && aurora:
		s.kind = KindAurora
	case s.kind == KindAuto && all[0].err != nil && all[3].err != nil:
		s.kind, s.fixed.Kind = KindNone, KindNone // nothing that could be asked like a PostgreSQL server
	case s.kind == KindAuto:
		s.kind = KindReplication
	case s.kind == KindAurora && !aurora:
		return errors.New("not an Aurora instance: it has no function aurora_replica_status")
	}
	if s.kind == KindAurora {
		if all, err = s.wire.query(ctx, introduceID); err != nil {
			return err
		}
		if all[0].err != nil {
			return fmt.Errorf("ask the instance's identifier: %w", all[0].err)
		}
		s.fixed.Kind, s.fixed.ID = KindAurora, all[0].value()
	}
	return nil
}

// RefusesLogin reports whether a login by pgconn failed in a way that will be the same next time: the server refuses the
// user, the database or a parameter, a certificate does not verify, or the configuration does not allow what the server
// offers. What the network does, a server that starts or stops, and errors that are not pgconn's may pass.
func RefusesLogin(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		switch pg.Code {
		case "3D000", "0A000", "55000", "55P02":
			return true
		}
		return strings.HasPrefix(pg.Code, "28") || strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "42")
	}
	connect := (*pgconn.ConnectError)(nil)
	return errors.As(err, &connect) && !mayPass(err)
}

// MayServeLater reports whether a login failed as it does at a server that is paused, starting, resuming or full: the connection is refused or not
// answered, or the server says that it is not ready or has no room. It is false where a name is not known, and for what the server refuses for good.
func MayServeLater(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "53") || strings.HasPrefix(pg.Code, "57P0")
	}
	if busy := (*BusyError)(nil); errors.As(err, &busy) {
		return false // for another reason, such as a credential that cannot be had
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	return err != nil && mayPass(err)
}

// mayPass tells what the network did from what two programs could not agree on.
func mayPass(err error) bool {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "remote error" {
		return false // a TLS alert of the server's
	}
	network := (net.Error)(nil)
	return errors.As(err, &network) || errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// milliseconds reads a number of them as a duration; -1 if there is none.
func milliseconds(text string) time.Duration {
	var ms float64
	if _, err := fmt.Sscanf(text, "%g", &ms); err != nil || ms < 0 {
		return -1
	}
	return time.Duration(ms * float64(time.Millisecond))
}
