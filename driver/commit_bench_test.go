package driver_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/rdstest"
)

// BenchmarkCommit measures what the evidence of commits costs: transactions of an update and an insert, of prepared
// statements, with fsync on, from 1 and 8 sessions. x-lsn and x-marker are the throughput without evidence divided by that
// with it, the median of rounds in which the ways take turns; rows and kB are what is left of the marker's table.
func BenchmarkCommit(b *testing.B) {
	c, err := rdstest.New(context.Background(), rdstest.Config{Flavor: rdstest.Replication, Readers: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	installMarker(b, c)
	admin, err := c.AdminConn(context.Background(), c.Writer())
	if err != nil {
		b.Fatal(err)
	}
	defer admin.Close(context.Background())
	for _, q := range []string{"alter system set fsync = on", "select pg_reload_conf()"} {
		if _, err := admin.Exec(context.Background(), q); err != nil {
			b.Fatal(err)
		}
	}
	// Straight to the server's socket: a front would make each packet cost as much as a statement.
	socket := filepath.Join(admin.Config().Host, fmt.Sprintf(".s.PGSQL.%d", admin.Config().Port))
	dsn := strings.Replace(c.InstanceDSN(c.Writer()), "sslmode=verify-full", "sslmode=disable", 1)
	ways := []driver.CommitResolution{driver.ResolutionOff, driver.ResolutionLSN, driver.ResolutionMarker}
	dbs := make([]*sql.DB, len(ways))
	for i, way := range ways {
		cfg := config(b, c, dsn)
		cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
		cfg.CommitResolution = way
		dbs[i] = openConfig(b, cfg)
		dbs[i].SetMaxIdleConns(8) // otherwise it is logins that are measured
	}
	mustExec(b, dbs[0], "create table account (id int primary key, n int)")
	mustExec(b, dbs[0], "create table history (id int, n int)")
	mustExec(b, dbs[0], "insert into account select i, 0 from generate_series(1, 64) i")
	for _, db := range dbs {
		transactions(b, db, 8, 250*time.Millisecond)
	}
	for _, sessions := range []int{1, 8} {
		b.Run(map[int]string{1: "1session", 8: "8sessions"}[sessions], func(b *testing.B) {
			ratios := make([][]float64, len(ways))
			for b.Loop() {
				var done [3]float64
				for i, db := range dbs {
					done[i] = float64(transactions(b, db, sessions, 250*time.Millisecond))
				}
				for i := range ways {
					ratios[i] = append(ratios[i], done[0]/done[i])
				}
			}
			b.ReportMetric(middle(ratios[1]), "x-lsn")
			b.ReportMetric(middle(ratios[2]), "x-marker")
			var rows, size int64
			if err := admin.QueryRow(context.Background(), "select count(*), pg_total_relation_size('fairlead.commits') from fairlead.commits").Scan(&rows, &size); err == nil {
				b.ReportMetric(float64(rows), "rows")
				b.ReportMetric(float64(size)/1024, "kB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// transactions counts how many are done in a time.
func transactions(b *testing.B, db *sql.DB, sessions int, length time.Duration) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var done atomic.Int64
	var wg sync.WaitGroup
	for id := 1; id <= sessions; id++ {
		wg.Go(func() {
			for ctx.Err() == nil {
				tx, err := db.Begin()
				if err != nil {
					b.Error(err)
					return
				}
				_, err1 := tx.Exec("update account set n = n + 1 where id = $1", id)
				_, err2 := tx.Exec("insert into history values ($1, $2)", id, 1)
				if err := tx.Commit(); err != nil || err1 != nil || err2 != nil {
					b.Error(err, err1, err2)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return done.Load()
}
