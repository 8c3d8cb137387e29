package pooler_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
)

// named has the pooler's connections under the test's name.
func named(t testing.TB, change func(*pooler.Config)) func(*pooler.Config) {
	return func(cfg *pooler.Config) {
		cfg.Clusters["main"].Database.Conn.RuntimeParams["application_name"] = t.Name()
		cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
		if change != nil {
			change(cfg)
		}
	}
}

// open counts the connections under the test's name, and those that watch the cluster.
func open(t testing.TB, condition string) (n int) {
	t.Helper()
	conn, err := shared.AdminConn(testContext(t), shared.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(testContext(t), "select count(*) from pg_stat_activity where application_name in ($1, 'fairlead-topology') "+condition, t.Name()).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for ctx := testContext(t); !is(); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(what)
		}
	}
}

func TestAWarmPoolerHasAConnectionAndARestingOneNone(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), named(t, nil))
	if err := s.Warm(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Open != 1 || st.Idle != 1 {
		t.Errorf("warm: %+v", st)
	}
	conn := connect(t, url(shared, addr))
	for range 3 {
		if got := value(t, conn, "select 'x'"); got != "x" {
			t.Errorf("got %s", got)
		}
		eventually(t, "nothing watches the cluster", func() bool { return open(t, "and application_name = 'fairlead-topology'") == 1 })
		s.Rest()
		eventually(t, "a resting pooler has connections", func() bool { return open(t, "") == 0 })
	}
}

func TestARestLeavesWhatIsUsed(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), named(t, nil))
	conn := connect(t, url(shared, addr))
	exec(t, conn, "begin")
	pid := value(t, conn, "select pg_backend_pid()::text")
	s.Rest()
	if now := value(t, conn, "select pg_backend_pid()::text"); now != pid {
		t.Error("a transaction lost its connection")
	}
	exec(t, conn, "commit")
}

func TestNothingIsConnectedBeforeTheFirstUse(t *testing.T) {
	eventually(t, "the connections of the tests before", func() bool { return open(t, "") == 0 })
	s, addr := start(t, shared, shared.DSN(), named(t, func(cfg *pooler.Config) { cfg.Clusters["main"].Watch = pooler.WatchUsed }))
	if err := s.WarmCredentials(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for range 30 { // each look logs in itself: time enough for a watch to begin
		if n := open(t, ""); n != 0 {
			t.Fatalf("%d connections", n)
		}
	}
	_ = value(t, connect(t, url(shared, addr)), "select 'used'")
	eventually(t, "nothing watches the cluster", func() bool { return open(t, "and application_name = 'fairlead-topology'") == 1 })
}

func TestWaitsEndWhenTheConfigSays(t *testing.T) {
	var soon atomic.Bool
	_, addr := start(t, shared, shared.DSN(), named(t, func(cfg *pooler.Config) {
		cfg.Clusters["main"].BorrowTimeout = time.Hour
		cfg.Clusters["main"].WaitUntil = func() time.Time {
			if soon.Load() {
				return time.Now().Add(50 * time.Millisecond)
			}
			return time.Now().Add(-time.Hour) // of a time that is past
		}
	}))
	a, b := connect(t, url(shared, addr)), connect(t, url(shared, addr))
	exec(t, a, "begin")
	exec(t, a, "select 1")
	soon.Store(true)
	_, err := b.Exec(testContext(t), "select 1")
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "53300" {
		t.Errorf("the wait ended with %v", err)
	}
}

func TestAShutdownCancelsWhatItCutsOff(t *testing.T) {
	for name, leave := range map[string]bool{"its client waits": false, "its client is gone": true} {
		t.Run(name, func(t *testing.T) {
			s, addr := start(t, shared, shared.DSN(), named(t, nil))
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			conn := connect(t, url(shared, addr))
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = conn.Exec(ctx, "select pg_sleep(3600)") // it ends with the pooler
			}()
			running := "and state = 'active' and query like '%pg_sleep(3600)%'"
			eventually(t, "the statement does not begin", func() bool { return open(t, running) == 1 })
			within := time.Millisecond
			if leave {
				_ = conn.PgConn().Conn().Close()
				within = time.Hour
			}
			until, over := context.WithTimeout(testContext(t), within)
			defer over()
			s.Shutdown(until)
			eventually(t, "the statement goes on", func() bool { return open(t, running) == 0 })
			<-done
		})
	}
}

func TestAShutdownWithoutRunClosesWhatListens(t *testing.T) {
	db, err := driver.ParseConfig(shared.DSN())
	if err != nil {
		t.Fatal(err)
	}
	s, err := pooler.New(pooler.Config{Listeners: []pooler.Listener{{Address: "127.0.0.1:0"}}, Clusters: map[string]*pooler.Cluster{"main": {Database: db}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(testContext(t)); err != nil {
		t.Fatal(err)
	}
	addrs, err := s.Addrs(testContext(t))
	if err != nil || len(addrs) != 1 {
		t.Fatalf("%v, %v", addrs, err)
	}
	s.Shutdown(testContext(t))
	if conn, err := pgconn.Connect(testContext(t), url(shared, addrs[0])); err == nil {
		_ = conn.Close(testContext(t))
		t.Error("somebody listens")
	}
}
