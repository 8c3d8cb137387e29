package driver_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

// script is a database of which each act answers with the next of its errors, and then with none.
type script struct {
	begin, commit, rollback []error
	committing              func(attempt int) // called before a commit answers
	acts                    []string
}

func (s *script) act(name string, errs *[]error) error {
	s.acts = append(s.acts, name)
	if name == "commit" && s.committing != nil {
		s.committing(len(s.acts) / 2)
	}
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

// open gives the script to database/sql.
func (s *script) open(t testing.TB) *sql.DB {
	t.Helper()
	db := sql.OpenDB(scriptConnector{s})
	t.Cleanup(func() { _ = db.Close() })
	return db
}

type scriptConnector struct{ *script }

func (c scriptConnector) Connect(context.Context) (sqldriver.Conn, error) { return scriptConn(c), nil }
func (c scriptConnector) Driver() sqldriver.Driver                        { return nil }

type scriptConn struct{ *script }

var errNotScripted = errors.New("not in the script")

func (c scriptConn) Prepare(string) (sqldriver.Stmt, error) { return nil, errNotScripted }
func (c scriptConn) Close() error                           { return nil }
func (c scriptConn) Begin() (sqldriver.Tx, error)           { return nil, errNotScripted }

func (c scriptConn) BeginTx(context.Context, sqldriver.TxOptions) (sqldriver.Tx, error) {
	return scriptTx(c), c.act("begin", &c.script.begin)
}

type scriptTx struct{ *script }

func (tx scriptTx) Commit() error   { return tx.act("commit", &tx.script.commit) }
func (tx scriptTx) Rollback() error { return tx.act("rollback", &tx.script.rollback) }

// pgxScript gives the script to pgx's interface.
type pgxScript struct{ *script }

func (p pgxScript) BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error) {
	if err := p.act("begin", &p.script.begin); err != nil {
		return nil, err
	}
	return &pgxScriptTx{script: p.script}, nil
}

type pgxScriptTx struct {
	pgx.Tx
	script *script
	closed bool
}

func (tx *pgxScriptTx) Commit(context.Context) error {
	if tx.closed {
		return pgx.ErrTxClosed
	}
	tx.closed = true
	return tx.script.act("commit", &tx.script.commit)
}

func (tx *pgxScriptTx) Rollback(context.Context) error {
	if tx.closed {
		return pgx.ErrTxClosed
	}
	tx.closed = true
	return tx.script.act("rollback", &tx.script.rollback)
}

func (s *script) expect(t testing.TB, acts ...string) {
	t.Helper()
	if !slices.Equal(s.acts, acts) {
		t.Errorf("the database saw %v, want %v", s.acts, acts)
	}
}
