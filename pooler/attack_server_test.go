package pooler_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/pooler"
)

// TestMalformedMessagesOfServers has servers send them, some in the midst of logins, while honest clients work on other connections of the
// same pooler.
func TestMalformedMessagesOfServers(t *testing.T) {
	fake, err := malformed.NewServer(5, 13)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() })
	direct := shared.AddressDSN(shared.Writer())
	proxy, err := malformed.NewProxy(address(t, direct), 13)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	const size = 4
	hostile := func(dsn string) *pooler.Cluster {
		cfg, err := driver.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return &pooler.Cluster{Database: cfg, PoolSize: 10 * size, BorrowTimeout: 2 * time.Second}
	}
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize, c.Clusters["main"].VerifyClean = size, pooler.VerifyOff
		c.Clusters["fake"] = hostile("postgres://app@" + fake.Addr() + "/app?sslmode=disable&topology=none&failover_timeout=2s&connect_timeout=1")
		c.Clusters["tampered"] = hostile(strings.Replace(direct, address(t, direct), proxy.Addr(), 1) + "&sslmode=disable&failover_timeout=2s&connect_timeout=1")
		c.Listeners[0].Cluster = "main"
		c.Listeners = append(c.Listeners, pooler.Listener{Address: "127.0.0.1:0", Cluster: "fake"}, pooler.Listener{Address: "127.0.0.1:0", Cluster: "tampered"})
		c.Logger = nil
	})
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	dsn := url(shared, addr)
	everyConnectionIsThere(t, s, dsn, size)
	s.Rest()
	before := measured()
	proxy.Rate.Store(50)
	enough := attacks(t)
	end := beside(t, dsn, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var victims sync.WaitGroup
	for i := range 24 {
		at := addrs[1+i/20]
		victims.Go(func() {
			for fake.Mutilated.Load() < enough && ctx.Err() == nil {
				victim(ctx, url(shared, at))
			}
		})
	}
	victims.Wait()
	end()
	t.Logf("mutilated %d messages of a fake's, and %d of a server's", fake.Mutilated.Load(), proxy.Mutilated.Load())
	proxy.Rate.Store(0)
	s.Rest()
	everyConnectionIsThere(t, s, dsn, size)
	if st := s.Stats(); st.Panics != 0 || st.Unclean != 0 {
		t.Errorf("%d panics, %d unclean", st.Panics, st.Unclean)
	}
	s.Rest()
	back(t, before)
}

func address(t *testing.T, dsn string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
}

// victim is a client whose server says anything. Whatever it is told, it comes to an end.
func victim(ctx context.Context, dsn string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.Background()) }()
	// pgx waits without a deadline for the rest of a result behind a ReadyForQuery that came too early.
	stop := context.AfterFunc(ctx, func() { _ = conn.PgConn().Conn().Close() })
	defer stop()
	for range 20 {
		for _, sql := range []string{"select 1", "begin", "select $1::text", "commit"} {
			var args []any
			if sql == "select $1::text" {
				args = append(args, "x")
			}
			if _, err := conn.Exec(ctx, sql, args...); err != nil && conn.IsClosed() {
				return
			}
		}
	}
}
