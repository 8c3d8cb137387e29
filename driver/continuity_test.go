package driver_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// installMarker makes the table of commit markers.
func installMarker(t testing.TB, c *rdstest.Cluster) {
	t.Helper()
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, commit.Migration()); err != nil {
		t.Fatal(err)
	}
}

// resolutions runs a test with each way to decide commits.
func resolutions(t *testing.T, run func(t *testing.T, c *rdstest.Cluster, cfg *driver.Config)) {
	t.Run("marker", func(t *testing.T) {
		c := rdstest.Start(t, rdstest.Config{})
		installMarker(t, c)
		cfg := config(t, c, c.DSN())
		cfg.CommitResolution = driver.ResolutionMarker
		run(t, c, cfg)
	})
	t.Run("lsn", func(t *testing.T) {
		c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication})
		cfg := config(t, c, c.MultiHostDSN())
		cfg.CommitResolution = driver.ResolutionLSN
		run(t, c, cfg)
	})
}

// units are works of one row each, by how they commit; match finds the client's message that does.
var units = []struct {
	name  string
	match func(front.Message) bool
	run   func(ctx context.Context, conn *sql.Conn, id string) error
}{
	{"transaction", isCommit, func(ctx context.Context, conn *sql.Conn, id string) error {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "insert into t values ($1)", id); err != nil {
			return err
		}
		return tx.Commit()
	}},
	{"simple", isSync, func(ctx context.Context, conn *sql.Conn, id string) error {
		_, err := conn.ExecContext(ctx, "insert into t values ('"+id+"')")
		return err
	}},
	{"extended", isSync, func(ctx context.Context, conn *sql.Conn, id string) error {
		_, err := conn.ExecContext(ctx, "insert into t values ($1)", id)
		return err
	}},
	{"returning", isSync, func(ctx context.Context, conn *sql.Conn, id string) error {
		var got string
		err := conn.QueryRowContext(ctx, "insert into t values ($1) returning id", id).Scan(&got)
		if err == nil && got != id {
			return fmt.Errorf("returned %q", got)
		}
		return err
	}},
}

func isCommit(m front.Message) bool {
	return m.Type == 'Q' && bytes.HasPrefix(bytes.ToLower(m.Body), []byte("commit"))
}

func isSync(m front.Message) bool { return m.Type == 'S' }

func isReadyIdle(m front.Message) bool { return m.Type == 'Z' && len(m.Body) == 1 && m.Body[0] == 'I' }

// TestACommitInFlightIsDecided cuts the network around what commits and around its acknowledgement, and takes the writer
// away or leaves it where it is.
func TestACommitInFlightIsDecided(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute, and several with the race detector: make test runs it")
	}
	resolutions(t, func(t *testing.T, c *rdstest.Cluster, cfg *driver.Config) {
		ctx := testContext(t)
		db := openConfig(t, cfg)
		mustExec(t, db, "create table t (id text)")
		marker := cfg.CommitResolution == driver.ResolutionMarker
		for _, unit := range units {
			for _, cut := range []struct {
				name string
				cut  front.Cut
				// What the caller is told: nothing, or 08007 where neither the evidence nor the result came through.
				decided bool
				rows    int
			}{
				{"before it is sent", front.Cut{From: front.Client, Match: unit.match, When: front.Before}, marker, 0},
				{"after it is sent", front.Cut{From: front.Client, Match: unit.match, When: front.After}, marker && unit.name == "transaction", 1},
				{"before it is acknowledged", front.Cut{From: front.Server, Match: isReadyIdle, When: front.Before}, true, 1},
			} {
				for _, dies := range []bool{false, true} {
					id := fmt.Sprintf("%s, cut %s, the writer dies: %v", unit.name, cut.name, dies)
					t.Run(id, func(t *testing.T) {
						if err := c.WaitSettled(ctx); err != nil {
							t.Fatal(err)
						}
						conn, err := db.Conn(ctx)
						if err != nil {
							t.Fatal(err)
						}
						defer conn.Close()
						mustExec(t, conn, "select 1")
						// Statements are prepared before the cut is armed, so that the first Sync is the one that commits.
						if err := unit.run(ctx, conn, "warm up"); err != nil {
							t.Fatal(err)
						}
						cut.cut.N = 1
						pending := c.Writer().Front().Cut(cut.cut)
						if dies {
							go func() {
								<-pending.Done()
								_, _ = c.Failover(ctx)
							}()
						}
						err = unit.run(ctx, conn, id)
						if pending.Stop() {
							t.Fatal("the cut was not reached")
						}
						var n int
						if err := db.QueryRowContext(ctx, "select count(*) from t where id = $1", id).Scan(&n); err != nil {
							t.Fatal(err)
						}
						// A writer that dies at the moment of the cut may not have come to what it was sent; and a promotion here
						// can be over before the topology has seen the new writer in recovery, which lsn needs.
						either := dies && (cut.name == "after it is sent" || !marker) && (err == nil && n == 1 || code(err) == "08007" && n <= 1)
						switch {
						case either:
						case cut.decided && (err != nil || n != 1):
							t.Errorf("told %v, and it is there %d times; want no error and once", err, n)
						case !cut.decided && (code(err) != "08007" || n != cut.rows):
							t.Errorf("told %v, and it is there %d times; want 08007 and %d times", err, n, cut.rows)
						}
					})
				}
			}
		}
	})
}

// TestAnInsertWhoseAnswerIsLostRunsOnce compares with pgx alone. Up to pgx 5.12 database/sql ran such a statement again, which is why the mount never
// hands pgx a bare error for what was sent.
func TestAnInsertWhoseAnswerIsLostRunsOnce(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: 1})
	ctx := testContext(t)
	ours := open(t, c, c.DSN())
	mustExec(t, ours, "create table t (id text)")
	t.Setenv("FAIRLEAD_DISABLE", "1")
	plain := open(t, c, c.DSN())
	for name, db := range map[string]*sql.DB{"pgx": plain, "fairlead": ours} {
		mustExec(t, db, "select 1")
		pending := c.Writer().Front().Cut(front.Cut{
			From: front.Server, N: 1, When: front.Before,
			Match: func(m front.Message) bool { return bytes.HasPrefix(m.Body, []byte("INSERT")) },
		})
		_, err := db.ExecContext(ctx, "insert into t values ('"+name+"')")
		if pending.Stop() {
			t.Fatalf("%s: the cut was not reached", name)
		}
		var n int
		if err := ours.QueryRowContext(ctx, "select count(*) from t where id = $1", name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: told %v, and it is there %d times", name, err, n)
		switch {
		case name == "pgx" && (err == nil || n != 1):
			t.Errorf("pgx alone: told %v, and it is there %d times", err, n)
		case name == "fairlead" && (n > 1 || err == nil && n != 1):
			t.Errorf("told %v, and it is there %d times", err, n)
		}
	}
}
