package rdstest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// adminConns are connections by which the cluster's keeper talks to one server, past its fronts. Some stay open, so that
// a failover need not wait for a login.
type adminConns struct {
	mu     sync.Mutex
	idle   []*pgconn.PgConn
	closed []*pgconn.PgConn // those that pgconn is still closing in the background
}

const maxIdleAdmins = 3

// adminConfig is for a superuser's connection through the server's own socket.
func (s *server) adminConfig(database string) (*pgx.ConnConfig, error) {
	// What is not said here might come from the environment.
	cfg, err := pgx.ParseConfig(fmt.Sprintf(
		"host=%s port=%d user=%s password=%s dbname=%s sslmode=disable target_session_attrs=any application_name=rdstest options=''",
		s.dir, s.port, adminRole, s.secrets.admin, database))
	if err != nil {
		return nil, err // pgx leaves the password out of it
	}
	return cfg, nil
}

// query asks the server. The values come as text, null as "".
func (a *adminConns) query(ctx context.Context, s *server, sql string) ([][]string, error) {
	conn, kept, err := a.take(ctx, s)
	if err != nil {
		return nil, err
	}
	rows, err := ask(ctx, conn, sql)
	if err != nil && kept && conn.IsClosed() && ctx.Err() == nil {
		// It was from before a restart.
		a.put(conn)
		if conn, err = a.open(ctx, s); err != nil {
			return nil, err
		}
		rows, err = ask(ctx, conn, sql)
	}
	a.put(conn)
	return rows, err
}

func ask(ctx context.Context, conn *pgconn.PgConn, sql string) ([][]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, r := range results {
		if r.Err != nil {
			return nil, r.Err
		}
		for _, values := range r.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (a *adminConns) take(ctx context.Context, s *server) (conn *pgconn.PgConn, kept bool, err error) {
	a.mu.Lock()
	if n := len(a.idle); n > 0 {
		conn = a.idle[n-1]
		a.idle = a.idle[:n-1]
	}
	a.mu.Unlock()
	if conn != nil {
		return conn, true, nil
	}
	conn, err = a.open(ctx, s)
	return conn, false, err
}

func (a *adminConns) open(ctx context.Context, s *server) (*pgconn.PgConn, error) {
	cfg, err := s.adminConfig("postgres")
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, &cfg.Config)
}

func (a *adminConns) put(conn *pgconn.PgConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case conn.IsClosed():
		a.closed = append(a.closed, conn)
	case len(a.idle) < maxIdleAdmins:
		a.idle = append(a.idle, conn)
	default:
		_ = conn.Conn().Close() // nothing is in flight on it
	}
}

// drop gives up all connections of a server that has ended, and waits for what pgconn does in the background.
func (a *adminConns) drop() {
	a.mu.Lock()
	conns := append(a.idle, a.closed...)
	a.idle, a.closed = nil, nil
	a.mu.Unlock()
	for _, c := range conns {
		if c.IsClosed() {
			<-c.CleanupDone()
		} else {
			_ = c.Conn().Close()
		}
	}
}

// lsn is a position in the WAL.
type lsn uint64

func parseLSN(text string) (lsn, error) {
	high, low, ok := strings.Cut(text, "/")
	h, highErr := strconv.ParseUint(high, 16, 32)
	l, lowErr := strconv.ParseUint(low, 16, 32)
	if !ok || highErr != nil || lowErr != nil {
		return 0, fmt.Errorf("%q is no position in the WAL", text)
	}
	return lsn(h<<32 | l), nil
}

// position is how far a standby has got.
type position struct {
	timeline  string // eight hexadecimal digits, which sort
	received  lsn    // what it has, replayed or not
	replayed  lsn
	streaming bool
}

func (p position) less(q position) bool {
	if p.timeline != q.timeline {
		return p.timeline < q.timeline
	}
	return p.received < q.received
}

// position asks a standby. What it has received is told anew after a change of timeline, from the begin of a segment on,
// when all before has been replayed; hence the greater of the two counts. The timeline is that of its newest WAL file,
// because what it says of it otherwise lags behind.
func (s *server) position(ctx context.Context, prefix string) (position, error) {
	rows, err := s.admins.query(ctx, s, `select coalesce(`+prefix+`pg_last_wal_receive_lsn(), '0/0'), coalesce(`+prefix+`pg_last_wal_replay_lsn(), '0/0'),
		exists (select from pg_stat_wal_receiver where status = 'streaming'),
		coalesce((select max(substr(name, 1, 8)) from `+prefix+`pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'), '')`)
	if err != nil {
		return position{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 4 {
		return position{}, fmt.Errorf("%d rows of positions", len(rows))
	}
	received, err := parseLSN(rows[0][0])
	if err != nil {
		return position{}, err
	}
	replayed, err := parseLSN(rows[0][1])
	if err != nil {
		return position{}, err
	}
	return position{
		timeline: rows[0][3], received: max(received, replayed), replayed: replayed, streaming: rows[0][2] == "t",
	}, nil
}

// one asks for a single value.
func (s *server) one(ctx context.Context, sql string) (string, error) {
	rows, err := s.admins.query(ctx, s, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("%d rows in answer to %s", len(rows), sql)
	}
	return rows[0][0], nil
}

// oneAnew is one over a new connection.
func (s *server) oneAnew(ctx context.Context, sql string) (string, error) {
	conn, err := s.admins.open(ctx, s)
	if err != nil {
		return "", err
	}
	defer s.admins.put(conn)
	rows, err := ask(ctx, conn, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("%d rows in answer to %s", len(rows), sql)
	}
	return rows[0][0], nil
}

// replayLag is how old the last transaction is that a standby has replayed.
func (s *server) replayLag(ctx context.Context, prefix string) (time.Duration, error) {
	text, err := s.one(ctx, "select coalesce(extract(epoch from clock_timestamp() - "+prefix+"pg_last_xact_replay_timestamp()), 0)::float8")
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// writePosition is how far a primary has written. What it has only inserted may wait long to be written, but no commit is in
// that.
func (s *server) writePosition(ctx context.Context, prefix string) (lsn, error) {
	text, err := s.one(ctx, "select "+prefix+"pg_current_wal_flush_lsn()")
	if err != nil {
		return 0, err
	}
	return parseLSN(text)
}

// writeTimeline is the timeline that a primary writes on, in the form that names of WAL files have it.
func (s *server) writeTimeline(ctx context.Context, prefix string) (string, error) {
	return s.one(ctx, "select substr("+prefix+"pg_walfile_name("+prefix+"pg_current_wal_flush_lsn()), 1, 8)")
}

// receivedTimeline is the timeline that a standby streams, in the same form; "" if it does not.
func (s *server) receivedTimeline(ctx context.Context) (string, error) {
	return s.one(ctx, "select (select lpad(upper(to_hex(received_tli)), 8, '0') from pg_stat_wal_receiver where status = 'streaming')")
}

// follower is a standby as the primary sees it.
type follower struct {
	id        string
	streaming bool
	flushed   lsn
}

// followers asks a primary who streams from it.
func (s *server) followers(ctx context.Context) (map[string]follower, error) {
	rows, err := s.admins.query(ctx, s, `select application_name, state, coalesce(flush_lsn, '0/0') from pg_stat_replication`)
	if err != nil {
		return nil, err
	}
	all := make(map[string]follower, len(rows))
	for _, r := range rows {
		flushed, err := parseLSN(r[2])
		if err != nil {
			return nil, err
		}
		// A standby that has just connected again may be there twice for a moment; the one that streams is the one that counts.
		if old, ok := all[r[0]]; ok && old.streaming {
			continue
		}
		all[r[0]] = follower{id: r[0], streaming: r[1] == "streaming", flushed: flushed}
	}
	return all, nil
}
