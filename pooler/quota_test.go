package pooler_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/pooler"
)

// quotas starts a pooler for three databases whose connections are bounded together.
func quotas(t *testing.T, change func(k *pooler.Cluster)) (s *pooler.Server, dsns []string, cfg pooler.Config) {
	t.Helper()
	own, err := shared.AdminConn(testContext(t), shared.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close(context.Background()) }()
	s, addr, cfg := reloadable(t, func(cfg *pooler.Config) {
		cfg.Logger = nil
		cfg.Clusters["main"].PoolSize = 10
		change(cfg.Clusters["main"])
	})
	for i := range 3 {
		name := fmt.Sprintf("quota_%d", i)
		if value(t, own, "select (count(*) = 0)::text from pg_database where datname = $1", name) == "true" {
			exec(t, own, "create database "+name)
		}
		dsns = append(dsns, databaseURL(addr, name))
	}
	return s, dsns, cfg
}

func databaseURL(addr net.Addr, name string) string {
	return strings.Replace(url(shared, addr), "/app?", "/"+name+"?", 1)
}

func detail(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Detail
	}
	return ""
}

// toQuotas is how many connections the server has to the databases of quotas.
func toQuotas(t *testing.T, own *pgx.Conn) (n int) {
	t.Helper()
	if err := own.QueryRow(testContext(t), "select count(*) from pg_stat_activity where datname like 'quota\\__'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAPoolGetsWhatAnotherDoesNotUse(t *testing.T) {
	s, dsns, _ := quotas(t, func(k *pooler.Cluster) { k.MaxServerConnections, k.BorrowTimeout = 3, 10*time.Second })
	var first []*pgx.Conn
	for range 3 {
		conn := connect(t, dsns[0])
		exec(t, conn, "begin")
		first = append(first, conn)
	}
	for _, conn := range first {
		exec(t, conn, "commit")
	}
	for _, dsn := range dsns[1:] {
		if got := value(t, connect(t, dsn), "select 'served'"); got != "served" {
			t.Error(got)
		}
	}
	if st := s.Stats(); st.Open != 3 || st.Timeouts != 0 {
		t.Errorf("%+v", st.Connections)
	}
}

// A pool that has something to do all the time leaves the others their shares.
func TestABusyPoolDoesNotKeepTheOthersOut(t *testing.T) {
	for most := 1; most <= 3; most++ {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			_, dsns, _ := quotas(t, func(k *pooler.Cluster) { k.MaxServerConnections, k.BorrowTimeout = most, 20*time.Second })
			ctx, stop := context.WithCancel(testContext(t))
			var busy sync.WaitGroup
			for range 6 {
				conn := connect(t, dsns[0])
				busy.Go(func() {
					for ctx.Err() == nil {
						if _, err := conn.Exec(context.Background(), "select pg_sleep(0.001)"); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for range 3 {
				for _, dsn := range dsns[1:] {
					value(t, connect(t, dsn), "select 'served'")
				}
			}
			stop()
			busy.Wait()
		})
	}
}

func TestWhoWaitsForAnotherPoolIsToldSo(t *testing.T) {
	own := connect(t, shared.AddressDSN())
	percent := value(t, own, `select ceil(200.0 / (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int))::int::text`)
	for name, c := range map[string]struct {
		change func(k *pooler.Cluster)
		said   string
	}{
		"number":  {func(k *pooler.Cluster) { k.MaxServerConnections = 2 }, "(max_server_connections is 2), 0 of them this pool's"},
		"percent": {func(k *pooler.Cluster) { _, _ = fmt.Sscan(percent, &k.MaxConnectionsPercent) }, "(max_connections_percent is " + percent + ", and the server admits "},
	} {
		t.Run(name, func(t *testing.T) {
			s, dsns, _ := quotas(t, func(k *pooler.Cluster) {
				c.change(k)
				k.BorrowTimeout = 200 * time.Millisecond
			})
			waiting := connect(t, dsns[2])
			var holders []*pgx.Conn
			for i := 0; ; i++ {
				conn, err := pgx.Connect(testContext(t), dsns[i%2])
				if err != nil {
					break
				}
				t.Cleanup(func() { _ = conn.Close(context.Background()) })
				if _, err := conn.Exec(testContext(t), "begin"); err != nil {
					break // that is how many there are
				}
				holders = append(holders, conn)
			}
			if len(holders) < 2 || s.Stats().Open != len(holders) {
				t.Fatalf("%d transactions are open, on %d connections", len(holders), s.Stats().Open)
			}
			_, err := waiting.Exec(testContext(t), "select 1")
			if code(err) != "53300" || !strings.Contains(detail(err), c.said) {
				t.Errorf("%v: %q", err, detail(err))
			}
			exec(t, holders[0], "commit")
			if got := value(t, waiting, "select 'served'"); got != "served" {
				t.Error(got)
			}
		})
	}
}

// Whatever clients do, there are never more connections than there may be, and none is lost count of.
func TestAQuotaIsKeptAndLosesNothing(t *testing.T) {
	const most = 4
	s, dsns, cfg := quotas(t, func(k *pooler.Cluster) {
		k.PoolSize, k.MaxServerConnections, k.BorrowTimeout = 3, most, 50*time.Millisecond
		k.ServerLifetime = 100 * time.Millisecond
	})
	own := connect(t, shared.AddressDSN())
	var over atomic.Bool
	var served, refused atomic.Int64
	var clients sync.WaitGroup
	for i := range 18 {
		clients.Go(func() {
			for !over.Load() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rand.IntN(200))*time.Millisecond)
				conn, err := pgx.Connect(ctx, dsns[i%len(dsns)])
				for err == nil {
					if _, err = conn.Exec(ctx, "select pg_sleep(0.002)"); err == nil {
						served.Add(1)
					} else if code(err) == "53300" {
						refused.Add(1)
					} else if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
						t.Error(err)
					}
				}
				cancel()
				if conn != nil {
					_ = conn.Close(context.Background())
				}
			}
		})
	}
	// A server counts one that was closed until it has noticed.
	worst := 0
	for i := 0; i < 100 || served.Load() == 0 && i < 1500; i++ { // on a busy machine it takes a while
		worst = max(worst, s.Stats().Open)
		time.Sleep(20 * time.Millisecond)
	}
	over.Store(true)
	clients.Wait()
	t.Logf("%d statements, %d refusals, %d connections at most", served.Load(), refused.Load(), worst)
	if worst > most || served.Load() == 0 {
		t.Errorf("%d connections, and %d allowed", worst, most)
	}
	cfg.Clusters["main"].BorrowTimeout = 10 * time.Second
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	var holders []*pgx.Conn
	for i := range most {
		conn := connect(t, dsns[i%len(dsns)])
		if _, err := conn.Exec(testContext(t), "begin"); err != nil {
			t.Fatalf("connection %d of %d: %v: %s %+v", i+1, most, err, detail(err), s.Stats())
		}
		holders = append(holders, conn)
	}
	eventually(t, "connections are left over", func() bool { return toQuotas(t, own) == most })
	cfg.Clusters["main"].BorrowTimeout = 100 * time.Millisecond
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, dsns[0]).Exec(testContext(t), "begin"); code(err) != "53300" {
		t.Errorf("one more than %d: %v", len(holders), err)
	}
}

func TestAQuotaCanBeChanged(t *testing.T) {
	s, dsns, cfg := quotas(t, func(k *pooler.Cluster) { k.MaxServerConnections = 1 })
	holder, waiting := connect(t, dsns[0]), connect(t, dsns[1])
	exec(t, holder, "begin")
	got := make(chan error, 1)
	go func() {
		_, err := waiting.Exec(context.Background(), "begin")
		got <- err
	}()
	eventually(t, "nobody waits", func() bool { return s.Stats().Waiting == 1 })
	reload := func(most int) {
		t.Helper()
		cfg.Clusters["main"].MaxServerConnections = most
		if err := s.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	reload(2)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	reload(1)
	exec(t, holder, "commit")
	exec(t, waiting, "commit")
	eventually(t, "there are too many", func() bool { return s.Stats().Open <= 1 })
}
