package pooler_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/pooler"
)

// notified is how many notifications a transaction of BenchmarkNotify has.
const notified = 100

// BenchmarkNotify has clients listen through one hub, beside a connection of pgx that listens on the server itself. An operation is a
// transaction of 100 notifications, and the next begins when each client has them. The time of the CPU is this process's,
// for the pooler and for the clients, which read and count bytes; the server's is not in it.
func BenchmarkNotify(b *testing.B) {
	const payload = 20
	send := connect(b, shared.AddressDSN(shared.Writer()))
	sent := 0
	ctx := context.Background()
	next := func() {
		if _, err := send.Exec(ctx, "select pg_notify('bench', lpad(n::text, $3, '0')) from generate_series($1::int, $2::int) n", sent, sent+notified-1, payload); err != nil {
			b.Fatal(err)
		}
		sent += notified
	}
	measure := func(b *testing.B, clients int, op func()) {
		op()
		b.ReportAllocs()
		from := cpu(b)
		for b.Loop() {
			op()
		}
		n := float64(b.N) * notified
		b.ReportMetric(n/b.Elapsed().Seconds(), "notifications/s")
		b.ReportMetric(float64(cpu(b)-from)/n/float64(clients), "cpu-ns/delivery")
	}
	b.Run("pgx", func(b *testing.B) {
		e := listener(b, shared.AddressDSN(shared.Writer()), "bench")
		measure(b, 1, func() {
			next()
			if err := e.wait(ctx, notified, 0); err != nil {
				b.Fatal(err)
			}
			e.heard = e.heard[:0]
		})
	})
	for _, clients := range []int{1, 100} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s, addr := start(b, shared, shared.DSN(), func(c *pooler.Config) {
				c.Clusters["main"].VerifyClean = pooler.VerifyOff
				c.Logger = nil
			})
			size := notified * (1 + 4 + 4 + len("bench\x00") + payload + 1)
			var told, readers sync.WaitGroup
			defer readers.Wait()
			for range clients {
				conn := bare(b, url(shared, addr), "bench")
				defer func() { _ = conn.Close() }()
				told.Add(1)
				readers.Go(func() {
					buf := make([]byte, 16<<10)
					for have := 0; ; {
						n, err := conn.Read(buf)
						if err != nil {
							return
						}
						for have += n; have >= size; have -= size {
							told.Done()
						}
					}
				})
			}
			measure(b, clients, func() {
				next()
				told.Wait()
				told.Add(clients)
			})
			if n := s.Stats().Missed; n > 0 {
				b.Errorf("%d have missed something", n)
			}
		})
	}
}

// bare is a connection whose session listens on a channel.
func bare(b *testing.B, dsn, channel string) net.Conn {
	b.Helper()
	conn, err := pgx.Connect(testContext(b), dsn)
	if err != nil {
		b.Fatal(err)
	}
	exec(b, conn, "listen "+channel)
	h, err := conn.PgConn().Hijack()
	if err != nil {
		b.Fatal(err)
	}
	_ = h.Conn.SetDeadline(time.Time{})
	return h.Conn
}

// cpu is the time that this process has computed for.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
