package torture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// session is what an operation runs on: one connection, or a pool that has one ready for every statement.
type session interface {
	// pin makes all that follows run on one connection.
	pin(ctx context.Context) error
	begin(ctx context.Context, iso string) error
	commit(ctx context.Context) error
	rollback(ctx context.Context) error
	exec(ctx context.Context, query string, args ...any) error
	// query returns the first column, which must be text.
	query(ctx context.Context, query string, args ...any) ([]string, error)
	// prepared runs a statement twice, with other arguments, that is prepared once.
	prepared(ctx context.Context, query string, args ...[]any) error
	release()
}

// batcher is a session that can send several statements at once.
type batcher interface {
	batch(ctx context.Context, query string, args ...[]any) error
}

// copier is one that can send COPY.
type copier interface {
	copyIn(ctx context.Context, table string, columns []string, rows [][]any) error
}

var (
	_ batcher = (*pgxSession)(nil)
	_ batcher = (*bulkSession)(nil)
	_ copier  = (*pgxSession)(nil)
	_ copier  = (*copySession)(nil)
)

type sqlRunner interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}

// sqlSession is for database/sql, on whatever driver.
type sqlSession struct {
	db   *sql.DB
	conn *sql.Conn
	tx   *sql.Tx
}

var levels = map[string]sql.IsolationLevel{
	readCommitted: sql.LevelReadCommitted, repeatableRead: sql.LevelRepeatableRead, serializable: sql.LevelSerializable,
}

func (s *sqlSession) runner() sqlRunner {
	switch {
	case s.tx != nil:
		return s.tx
	case s.conn != nil:
		return s.conn
	}
	return s.db
}

func (s *sqlSession) pin(ctx context.Context) (err error) {
	s.conn, err = s.db.Conn(ctx)
	return err
}

func (s *sqlSession) begin(ctx context.Context, iso string) (err error) {
	o := &sql.TxOptions{Isolation: levels[iso]}
	if s.conn != nil {
		s.tx, err = s.conn.BeginTx(ctx, o)
	} else {
		s.tx, err = s.db.BeginTx(ctx, o)
	}
	return err
}

func (s *sqlSession) commit(context.Context) error {
	err := s.tx.Commit()
	s.tx = nil
	return err
}

func (s *sqlSession) rollback(context.Context) error {
	if s.tx == nil {
		return nil
	}
	err := s.tx.Rollback()
	s.tx = nil
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func (s *sqlSession) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.runner().ExecContext(ctx, query, args...)
	return err
}

func (s *sqlSession) query(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := s.runner().QueryContext(ctx, query, args...)
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

func (s *sqlSession) prepared(ctx context.Context, query string, args ...[]any) error {
	st, err := s.runner().PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer st.Close()
	for _, a := range args {
		if _, err := st.ExecContext(ctx, a...); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqlSession) release() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// pgxSession is for pgx. It always has a connection of its own.
type pgxSession struct {
	pool *pgxpool.Pool
	conn *pgxpool.Conn
	tx   pgx.Tx
	mode pgx.QueryExecMode
	n    int // prepared statements
}

func (s *pgxSession) pin(ctx context.Context) (err error) {
	if s.conn == nil {
		s.conn, err = s.pool.Acquire(ctx)
	}
	return err
}

func (s *pgxSession) begin(ctx context.Context, iso string) (err error) {
	if err := s.pin(ctx); err != nil {
		return err
	}
	s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(iso)})
	return err
}

func (s *pgxSession) commit(ctx context.Context) error {
	err := s.tx.Commit(ctx)
	s.tx = nil
	return err
}

func (s *pgxSession) rollback(ctx context.Context) error {
	if s.tx == nil {
		return nil
	}
	err := s.tx.Rollback(ctx)
	s.tx = nil
	if errors.Is(err, pgx.ErrTxClosed) {
		return nil
	}
	return err
}

func (s *pgxSession) exec(ctx context.Context, query string, args ...any) error {
	if err := s.pin(ctx); err != nil {
		return err
	}
	if len(args) > 0 {
		args = append([]any{s.mode}, args...)
	}
	_, err := s.conn.Exec(ctx, query, args...)
	return err
}

func (s *pgxSession) query(ctx context.Context, query string, args ...any) ([]string, error) {
	if err := s.pin(ctx); err != nil {
		return nil, err
	}
	rows, err := s.conn.Query(ctx, query, append([]any{s.mode}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (s *pgxSession) prepared(ctx context.Context, query string, args ...[]any) error {
	if err := s.pin(ctx); err != nil {
		return err
	}
	s.n++
	name := fmt.Sprintf("torture_%d", s.n)
	if _, err := s.conn.Conn().Prepare(ctx, name, query); err != nil {
		return err
	}
	for _, a := range args {
		if _, err := s.conn.Exec(ctx, name, a...); err != nil {
			return err
		}
	}
	return s.conn.Conn().Deallocate(ctx, name)
}

func (s *pgxSession) batch(ctx context.Context, query string, args ...[]any) error {
	if err := s.pin(ctx); err != nil {
		return err
	}
	b := &pgx.Batch{}
	for _, a := range args {
		b.Queue(query, a...)
	}
	if s.tx != nil {
		return s.tx.SendBatch(ctx, b).Close()
	}
	return s.conn.SendBatch(ctx, b).Close()
}

func (s *pgxSession) copyIn(ctx context.Context, table string, columns []string, rows [][]any) error {
	if err := s.pin(ctx); err != nil {
		return err
	}
	_, err := s.conn.CopyFrom(ctx, strings.Split(table, "."), columns, pgx.CopyFromRows(rows))
	return err
}

func (s *pgxSession) release() {
	if s.conn != nil {
		s.conn.Release()
		s.conn = nil
	}
}

// literal puts arguments into a text, for the simple protocol. They are numbers and names of ours.
func literal(query string, args ...any) string {
	for i := len(args); i > 0; i-- {
		v := fmt.Sprint(args[i-1])
		if _, ok := args[i-1].(string); ok {
			v = "'" + v + "'"
		}
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i), v)
	}
	return query
}
