package boundaries

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"go.opentelemetry.io/otel/metric"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/clients"
	"github.com/fairlead-go/fairlead/rdstest"
)

// The drivers on top of the mount.
const (
	clientSQL = "sql" // database/sql with pgx
	clientPgx = "pgx"
	clientPQ  = "pq" // database/sql with lib/pq
)

var clientNames = []string{clientSQL, clientPgx, clientPQ}

// titles are the clients' names for readers.
var titles = map[string]string{clientSQL: "database/sql", clientPgx: "pgx", clientPQ: "lib/pq"}

// session is one connection of a client's.
type session interface {
	// exec uses the simple protocol if there are no arguments, the extended one otherwise.
	exec(ctx context.Context, query string, args ...any) error
	// query returns the first column, which must be text.
	query(ctx context.Context, query string, args ...any) ([]string, error)
	// prepared runs a statement that is prepared once with 0, 1 and so on as its argument, and has done take in what came of
	// each.
	prepared(ctx context.Context, query string, n int, done func(i int, err error) error) error
	// renew has the connection prepare anew what it would otherwise remember to have prepared.
	renew(ctx context.Context) error
	close()
}

// opener opens sessions.
type opener struct {
	*clients.Databases
	pgx *pgx.ConnConfig
}

func openClients(c *rdstest.Cluster, cfg Config, meter metric.MeterProvider) (*opener, error) {
	dc, err := clients.Config(c, cfg.Flavor, map[string]string{
		"commit_resolution": string(cfg.Mode),
		"sslmode":           "disable", // handshakes would take most of the time
	})
	if err != nil {
		return nil, err
	}
	dc.Logger, dc.MeterProvider = cfg.Logger, meter
	all := &opener{}
	if all.pgx, err = driver.ConnConfig(dc); err != nil {
		return nil, err
	}
	if all.Databases, err = clients.Open(dc); err != nil {
		return nil, err
	}
	for _, db := range []*sql.DB{all.SQL, all.PQ} {
		db.SetMaxIdleConns(-1) // a session ends with its run
	}
	return all, nil
}

func (c *opener) open(ctx context.Context, name string) (session, error) {
	if name == clientPgx {
		conn, err := pgx.ConnectConfig(ctx, c.pgx.Copy())
		if err != nil {
			return nil, fmt.Errorf("boundaries: connect with pgx: %w", err)
		}
		return &pgxSession{conn: conn}, nil
	}
	db := c.SQL
	if name == clientPQ {
		db = c.PQ
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("boundaries: connect with %s: %w", titles[name], err)
	}
	return &sqlSession{conn}, nil
}

// sqlSession is for database/sql, on whatever driver.
type sqlSession struct{ conn *sql.Conn }

func (s *sqlSession) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.conn.ExecContext(ctx, query, args...)
	return err
}

func (s *sqlSession) query(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

func (s *sqlSession) prepared(ctx context.Context, query string, n int, done func(i int, err error) error) error {
	st, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer st.Close()
	for i := range n {
		_, err := st.ExecContext(ctx, i)
		if err := done(i, err); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqlSession) renew(ctx context.Context) error {
	return s.conn.Raw(func(conn any) error {
		if c, ok := conn.(*stdlib.Conn); ok {
			return c.Conn().DeallocateAll(ctx)
		}
		return nil // lib/pq remembers nothing
	})
}

func (s *sqlSession) close() { _ = s.conn.Close() }

// pgxSession is for pgx.
type pgxSession struct{ conn *pgx.Conn }

func (s *pgxSession) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.conn.Exec(ctx, query, args...)
	return err
}

// query uses the simple protocol if there are no arguments, as database/sql does not with this driver.
func (s *pgxSession) query(ctx context.Context, query string, args ...any) ([]string, error) {
	if len(args) == 0 {
		args = []any{pgx.QueryExecModeSimpleProtocol}
	}
	rows, err := s.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (s *pgxSession) prepared(ctx context.Context, query string, n int, done func(i int, err error) error) error {
	if _, err := s.conn.Prepare(ctx, "boundaries", query); err != nil {
		return err
	}
	for i := range n {
		_, err := s.conn.Exec(ctx, "boundaries", i)
		if err := done(i, err); err != nil {
			return err
		}
	}
	return s.conn.Deallocate(ctx, "boundaries")
}

func (s *pgxSession) renew(ctx context.Context) error { return s.conn.DeallocateAll(ctx) }

func (s *pgxSession) close() {
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	_ = s.conn.Close(ctx)
}
