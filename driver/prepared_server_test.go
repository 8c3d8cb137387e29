package driver_test

import (
	"context"
	"testing"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// TestTheInjectedStatementMayGoAway deallocates it from within, where nobody can see it coming.
func TestTheInjectedStatementMayGoAway(t *testing.T) {
	resolutions(t, func(t *testing.T, c *rdstest.Cluster, cfg *driver.Config) {
		db := openConfig(t, cfg)
		db.SetMaxOpenConns(1)
		mustExec(t, db, "create table t (id text)")
		mustExec(t, db, "create table forgetful (id text)")
		mustExec(t, db, "create function forget() returns trigger language plpgsql as $$begin execute 'deallocate all'; return new; end$$")
		mustExec(t, db, "create trigger forget before insert on forgetful for each row execute function forget()")
		transact := func(id, table string) error {
			ctx := testContext(t)
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, "insert into "+table+" values ('"+id+"')"); err != nil {
				return err
			}
			return tx.Commit()
		}
		kept := func() (n int) {
			if err := db.QueryRowContext(context.Background(), "select count(*) from pg_prepared_statements where name = 'fairlead_commit'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if err := transact("a", "t"); err != nil || kept() != 1 {
			t.Fatalf("%v, %d statements are prepared", err, kept())
		}
		if err := transact("b", "forgetful"); code(err) != "40001" {
			t.Fatalf("%v, not a serialization failure", err)
		}
		for _, id := range []string{"c", "d"} {
			if err := transact(id, "forgetful"); err != nil {
				t.Fatal(err)
			}
		}
		if err := transact("e", "t"); err != nil {
			t.Fatal(err)
		}
		var b, e int
		if err := db.QueryRowContext(context.Background(), "select (select count(*) from forgetful where id = 'b'), (select count(*) from t where id = 'e')").Scan(&b, &e); err != nil {
			t.Fatal(err)
		}
		if b != 0 || e != 1 {
			t.Errorf("%d rows of the refused transaction, %d of the last", b, e)
		}
	})
}
