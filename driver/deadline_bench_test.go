package driver_test

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
)

// BenchmarkDeadline measures how much later than its deadline a call returns when the writer does not answer and no other is
// there: late-ms is the median, worst-ms the most, over sessions that were idle when it froze and over new ones.
func BenchmarkDeadline(b *testing.B) {
	const timeout = 300 * time.Millisecond
	var late []float64
	for b.Loop() {
		c, err := rdstest.New(context.Background(), rdstest.Config{})
		if err != nil {
			b.Fatal(err)
		}
		ctx := context.Background()
		db := open(b, c, c.DSN())
		conns := connections(b, db, 16)
		if err := c.Freeze(ctx, c.Writer()); err != nil {
			b.Fatal(err)
		}
		call := func(what string, do func(ctx context.Context) error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			begun := time.Now()
			if err := do(ctx); err == nil {
				b.Errorf("%s: done, though nobody answers", what)
			}
			late = append(late, ms(time.Since(begun)-timeout))
		}
		for _, conn := range conns {
			call("a statement", func(ctx context.Context) error {
				_, err := conn.ExecContext(ctx, "select 1")
				return err
			})
		}
		for range 4 {
			call("a new session", func(ctx context.Context) error {
				_, err := db.Conn(ctx)
				return err
			})
		}
		_ = db.Close()
		c.Close()
	}
	b.ReportMetric(middle(late), "late-ms")
	b.ReportMetric(late[len(late)-1], "worst-ms")
	b.ReportMetric(0, "ns/op")
}
