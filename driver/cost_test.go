package driver

import (
	"context"
	"database/sql"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// costs are the operations whose price is watched, by name.
var costs = []struct {
	name string
	run  func(db *sql.DB, prepared *sql.Stmt) error
}{
	{"QueryRow", func(db *sql.DB, _ *sql.Stmt) error {
		var a int
		var b string
		return db.QueryRow("select a, b from t where a = $1", 1).Scan(&a, &b)
	}},
	{"Prepared", func(_ *sql.DB, prepared *sql.Stmt) error {
		var a int
		var b string
		return prepared.QueryRow(1).Scan(&a, &b)
	}},
	{"Exec", func(db *sql.DB, _ *sql.Stmt) error {
		_, err := db.Exec("insert into t values ($1)", 1)
		return err
	}},
	{"ExecSimple", func(db *sql.DB, _ *sql.Stmt) error {
		_, err := db.Exec("insert into t values (1)")
		return err
	}},
	{"Transaction", func(db *sql.DB, _ *sql.Stmt) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		if _, err := tx.Exec("insert into t values ($1)", 1); err != nil {
			return err
		}
		return tx.Commit()
	}},
	{"Context", func(db *sql.DB, _ *sql.Stmt) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err := db.ExecContext(ctx, "insert into t values ($1)", 1)
		return err
	}},
}

// bothDrivers opens a fake server with pgx alone and through the mount.
func bothDrivers(tb testing.TB, dial pgconn.DialFunc) (plain, ours *sql.DB) {
	tb.Helper()
	cfg, err := ParseConfig("postgres://app:secret@127.0.0.1/app?sslmode=disable&topology=none&target_session_attrs=any")
	if err != nil {
		tb.Fatal(err)
	}
	cfg.DialFunc = dial
	connector, err := NewConnector(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	direct := cfg.Conn.Copy()
	direct.DialFunc = dial
	plain, ours = stdlib.OpenDB(*direct), sql.OpenDB(connector)
	for _, db := range []*sql.DB{plain, ours} {
		db.SetMaxOpenConns(1)
		tb.Cleanup(func() { _ = db.Close() })
	}
	return plain, ours
}

// TestAllocationsAreThoseOfPgx gates the hot path: an operation through the mount allocates what it allocates without.
func TestAllocationsAreThoseOfPgx(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates itself, which would be counted: make test counts without it")
	}
	plain, ours := bothDrivers(t, newFakeServer(0).dial)
	for _, c := range costs {
		t.Run(c.name, func(t *testing.T) {
			var allocs [2]float64
			for i, db := range []*sql.DB{plain, ours} {
				prepared, err := db.Prepare("select a, b from t where b = $1")
				if err != nil {
					t.Fatal(err)
				}
				allocs[i] = math.Inf(1)
				for range 3 { // other goroutines of the process allocate too, now and then
					allocs[i] = min(allocs[i], testing.AllocsPerRun(200, func() {
						if err := c.run(db, prepared); err != nil {
							t.Fatal(err)
						}
					}))
				}
				_ = prepared.Close()
			}
			if allocs[1] > allocs[0] {
				t.Errorf("%v allocations through the mount, %v without", allocs[1], allocs[0])
			}
		})
	}
}

// BenchmarkCost compares the processor time of an operation through the mount with that of pgx alone, in turns; the metric
// that counts is x-pgx, the median of the ratios. The server is a fake in a process of its own: the time is the client's
// alone, with the system calls that every client makes.
func BenchmarkCost(b *testing.B) {
	for _, c := range costs {
		b.Run(c.name, func(b *testing.B) { compare(b, 500, c.run) })
	}
	for name, query := range map[string]string{"Rows100000": "select a, b from rows", "Rows20of1MB": "select a, b from large"} {
		b.Run(name, func(b *testing.B) {
			compare(b, 1, func(db *sql.DB, _ *sql.Stmt) error {
				rows, err := db.Query(query)
				if err != nil {
					return err
				}
				defer rows.Close()
				var a int
				var s sql.RawBytes
				for rows.Next() {
					if err := rows.Scan(&a, &s); err != nil {
						return err
					}
				}
				return rows.Err()
			})
		})
	}
}

// pairLife is how many batches a pair of connections is measured for. Two connections differ by themselves, by how the
// processors happen to be shared between them and their server, and keep that difference for long.
const pairLife = 10

// compare runs batches of an operation on both, in turns, so that noise meets both.
func compare(b *testing.B, batch int, run func(*sql.DB, *sql.Stmt) error) {
	b.Helper()
	// With one P the scheduler does not spend time on looking for work, whose amount is a matter of chance.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var dbs [2]*sql.DB
	var prepared [2]*sql.Stmt
	var ratios, times []float64
	for n := 0; b.Loop(); n++ {
		if n%pairLife == 0 {
			dbs[0], dbs[1] = bothDrivers(b, startFakeProcess(b))
			for i, db := range dbs {
				var err error
				if prepared[i], err = db.Prepare("select a, b from t where b = $1"); err != nil {
					b.Fatal(err)
				}
			}
		}
		var took [2]time.Duration
		for _, i := range []int{n % 2, 1 - n%2} {
			start := cpuTime()
			for range batch {
				if err := run(dbs[i], prepared[i]); err != nil {
					b.Fatal(err)
				}
			}
			took[i] = cpuTime() - start
		}
		ratios = append(ratios, float64(took[1])/float64(took[0]))
		times = append(times, float64(took[1])/float64(batch))
	}
	b.ReportMetric(median(ratios), "x-pgx")
	b.ReportMetric(median(times), "ns/op-ours")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
