package pooler_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

var shared *rdstest.Cluster // nobody harms it

func TestMain(m *testing.M) {
	if spec := os.Getenv(crowdEnv); spec != "" {
		if err := crowd(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	c, err := rdstest.New(ctx, rdstest.Config{Readers: -1, Flavor: rdstest.Replication})
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = c
	code := m.Run()
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// start runs a pooler in front of a cluster until the test is over, and fails the test if a connection was not clean.
func start(t testing.TB, c *rdstest.Cluster, dsn string, change func(*pooler.Config)) (*pooler.Server, net.Addr) {
	t.Helper()
	db, err := driver.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.Resolver = c.Resolver()
	cfg := pooler.Config{
		Listeners: []pooler.Listener{{Address: "127.0.0.1:0"}},
		Clusters:  map[string]*pooler.Cluster{"main": {Database: db, PoolSize: 1, VerifyClean: pooler.VerifyOn}},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := pooler.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the pooler ended with %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the pooler does not end")
		}
		if n := s.Stats().Unclean; n != 0 {
			t.Errorf("%d connections were not clean", n)
		}
	})
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
			t.Fatal(err)
		}
	}
	return s, addrs[0]
}

// url is how clients reach a pooler.
func url(c *rdstest.Cluster, addr net.Addr) string {
	cfg, err := pgx.ParseConfig(c.DSN())
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", cfg.User, addr, cfg.Database)
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(testContext(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func value(t testing.TB, conn *pgx.Conn, query string, args ...any) (v string) {
	t.Helper()
	if err := conn.QueryRow(testContext(t), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func exec(t testing.TB, conn *pgx.Conn, query string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(testContext(t), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
