package driver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
)

// contended stands for a database whose other users get in the way once.
func contended() *script {
	return &script{commit: []error{&pgconn.PgError{Severity: "ERROR", Code: "40001", Message: "could not serialize access"}}}
}

func ExampleRunTx() {
	db := sql.OpenDB(scriptConnector{contended()}) // driver.NewConnector in earnest
	defer db.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	attempts := 0
	err := driver.RunTx(ctx, db, &sql.TxOptions{Isolation: sql.LevelSerializable}, func(tx *sql.Tx) error {
		attempts++ // and statements of tx, whose errors are returned
		return nil
	})
	switch {
	case driver.IsUndecided(err):
		fmt.Println("look whether it was done:", err)
	case err != nil:
		fmt.Println("it was not done:", err)
	default:
		fmt.Println("done, at attempt", attempts)
	}
	// Output: done, at attempt 2
}

func ExampleRunPgxTx() {
	pool := pgxScript{contended()} // a *pgxpool.Pool in earnest

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	attempts := 0
	err := driver.RunPgxTx(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		attempts++ // and statements of tx, whose errors are returned
		return nil
	})
	fmt.Println(attempts, "attempts, error", err)
	// Output: 2 attempts, error <nil>
}

func ExampleIsRetryable() {
	for _, code := range []string{"40001", "40P01", "08001", "08007", "23505"} {
		err := fmt.Errorf("transfer: %w", &pgconn.PgError{Code: code})
		fmt.Println(code, driver.IsRetryable(err))
	}
	// Output:
	// 40001 true
	// 40P01 true
	// 08001 false
	// 08007 false
	// 23505 false
}

func ExampleIsUndecided() {
	commitLost := &pgconn.PgError{Code: "08007", Message: "whether it took effect is not known"}
	fmt.Println(driver.IsUndecided(errors.Join(errors.New("transfer"), commitLost)))
	// Output: true
}

func ExampleWithoutReplay() {
	// The function charges a card before its transaction is committed: what a replay would do a second time.
	charge := func(ctx context.Context, db *sql.DB, order int) error {
		tx, err := db.BeginTx(driver.WithoutReplay(ctx), nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, "select charge($1)", order); err != nil {
			return err // SQLSTATE 40001 if the server died: nothing of it was committed, but the card may have been charged
		}
		return tx.Commit()
	}
	_ = charge
}
