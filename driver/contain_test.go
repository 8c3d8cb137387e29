package driver_test

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/rdstest"
)

// A mistake in the session of one connection ends that connection, and the process and its pool go on.
func TestAPanicEndsOneConnection(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	for _, dsn := range []string{c.DSN(), c.DSN() + "&pool_mode=transaction&max_upstreams=2"} {
		for point, sent := range map[string]bool{"session.client": false, "session.server": true} {
			db := open(t, c, dsn)
			mustExec(t, db, "drop table if exists crashed; create table crashed (text text)")
			beside, err := db.Conn(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, beside, "begin")
			var failed atomic.Bool
			undo := contain.Inject(func(at string, b []byte) {
				if at == point && bytes.Contains(b, []byte("boom")) && failed.CompareAndSwap(false, true) {
					panic("a mistake")
				}
			})
			_, err = db.ExecContext(testContext(t), "insert into crashed values ('boom') returning text")
			undo()
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "XX000" || strings.Contains(pg.Message, "a mistake") {
				t.Errorf("%s: %v", point, err)
			}
			mustExec(t, beside, "commit")
			_ = beside.Close()
			var n int
			if err := db.QueryRowContext(testContext(t), "select count(*) from crashed").Scan(&n); err != nil || n > 1 || !sent && n > 0 {
				t.Errorf("%s: %d rows: %v", point, n, err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
