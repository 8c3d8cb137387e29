package driver_test

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/rdstest"
)

// sessions is how many connections a failover has to move.
const sessions = 32

// BenchmarkFailover measures from the moment at which the new writer accepts writes: first-ms until the first of 32
// sessions has written there, last-ms until all have. bare-ms is what 32 bare logins at once take on the same server, and
// x-bare the ratio.
func BenchmarkFailover(b *testing.B) {
	b.Run("crash", func(b *testing.B) {
		benchmarkFailover(b, func(ctx context.Context, c *rdstest.Cluster, in *rdstest.Instance) error { return c.Crash(ctx, in) })
	})
	b.Run("freeze", func(b *testing.B) {
		benchmarkFailover(b, func(ctx context.Context, c *rdstest.Cluster, in *rdstest.Instance) error { return c.Freeze(ctx, in) })
	})
}

func benchmarkFailover(b *testing.B, act func(context.Context, *rdstest.Cluster, *rdstest.Instance) error) {
	var first, last, bare, ratio []float64
	for b.Loop() {
		f, l, logins := oneFailover(b, act)
		first, last, bare = append(first, f), append(last, l), append(bare, logins)
		ratio = append(ratio, l/logins)
	}
	b.ReportMetric(middle(first), "first-ms")
	b.ReportMetric(middle(last), "last-ms")
	b.ReportMetric(middle(bare), "bare-ms")
	b.ReportMetric(middle(ratio), "x-bare")
	b.ReportMetric(0, "ns/op")
}

func oneFailover(b *testing.B, act func(context.Context, *rdstest.Cluster, *rdstest.Instance) error) (first, last, bare float64) {
	b.StopTimer()
	c, err := rdstest.New(context.Background(), rdstest.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db := open(b, c, c.DSN())
	defer db.Close()
	mustExec(b, db, "create table t (a int)")
	var conns []*sql.Conn
	for range sessions {
		conn, err := db.Conn(ctx)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		mustExec(b, conn, "select 1")
		conns = append(conns, conn)
	}
	b.StartTimer()
	if err := act(ctx, c, c.Writer()); err != nil {
		b.Fatal(err)
	}
	done := make([]time.Time, sessions)
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			// Reads, so that a session whose statement was in flight goes on too; the writer alone answers them.
			var n int
			if err := conn.QueryRowContext(ctx, "select count(*) from t").Scan(&n); err != nil {
				b.Error(err)
			}
			done[i] = time.Now()
		})
	}
	writer, err := c.Failover(ctx)
	if err != nil {
		b.Fatal(err)
	}
	accepts := time.Now()
	wg.Wait()
	slices.SortFunc(done, time.Time.Compare)
	b.StopTimer()

	bareConfig, err := pgconn.ParseConfig(c.InstanceDSN(writer))
	if err != nil {
		b.Fatal(err)
	}
	bareConfig.LookupFunc = c.LookupHost
	start := time.Now()
	for range sessions {
		wg.Go(func() {
			pg, err := pgconn.ConnectConfig(ctx, bareConfig)
			if err != nil {
				b.Error(err)
				return
			}
			defer pg.Close(ctx)
		})
	}
	wg.Wait()
	bare = ms(time.Since(start))
	b.StartTimer()
	return max(0, ms(done[0].Sub(accepts))), ms(done[sessions-1].Sub(accepts)), bare
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
