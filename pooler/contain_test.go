package pooler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/internal/contain"
	"github.com/fairlead-go/fairlead/pooler"
)

// textLog is a log that tests can read.
type textLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *textLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *textLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// failAt has the first visit of a point panic that the condition is met at.
func failAt(t *testing.T, point string, when func(b []byte) bool) (failed *atomic.Bool) {
	t.Helper()
	failed = new(atomic.Bool)
	t.Cleanup(contain.Inject(func(at string, b []byte) {
		if at == point && when(b) && failed.CompareAndSwap(false, true) {
			var none []byte
			_ = none[len(point)] // as the mistakes do that are meant
		}
	}))
	return failed
}

const secret = "s3cret"

// TestAPanicEndsOneClientAndNothingElse has the goroutine of one client fail at each of the places where it does its work, some of them
// under a lock.
func TestAPanicEndsOneClientAndNothingElse(t *testing.T) {
	saying := func(what string) func([]byte) bool {
		return func(b []byte) bool { return bytes.Contains(b, []byte(what)) }
	}
	always := func([]byte) bool { return true }
	boom := "select 'boom' || '" + secret + "'"
	query := func(sql string) func(context.Context, *pgx.Conn) error {
		return func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, sql)
			return err
		}
	}
	for _, c := range []struct {
		point string
		when  func([]byte) bool
		do    func(context.Context, *pgx.Conn) error
	}{
		{"session.client", saying("boom"), query(boom)},
		{"session.client", saying("boom"), func(ctx context.Context, c *pgx.Conn) error {
			return errors.Join(query("begin; create temp table mine ()")(ctx, c), query(boom)(ctx, c))
		}},
		{"session.client", saying("boom"), func(ctx context.Context, c *pgx.Conn) error {
			return errors.Join(query("listen somewhere")(ctx, c), query(boom)(ctx, c))
		}},
		{"session.server", saying("boom" + secret), query(boom)},
		{"session.server", saying("boom" + secret), func(ctx context.Context, c *pgx.Conn) error {
			return errors.Join(query("begin")(ctx, c), query(boom)(ctx, c))
		}},
		{"pooler.relay", saying("boom"), query(boom)},
		{"pooler.start", always, nil},
		{"lender.take", always, query("set work_mem = '5MB'; select 1")},
		{"backend.login", always, func(ctx context.Context, c *pgx.Conn) error {
			other, err := pgx.Connect(ctx, c.Config().ConnString()) // takes the connection that is there
			if err != nil {
				return err
			}
			defer func() { _ = other.Close(ctx) }()
			return errors.Join(query("begin")(ctx, other), query("select 1")(ctx, c))
		}},
		{"pooler.second", always, func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.PgConn().CopyFrom(ctx, strings.NewReader(strings.Repeat("1\n", 1<<16)), "copy crashed from stdin")
			return err
		}},
	} {
		for _, mode := range []pooler.Mode{pooler.Transaction, pooler.Session} {
			if (c.point == "lender.take" || c.point == "backend.login") && mode == pooler.Session {
				continue // it has its connection already
			}
			t.Run(fmt.Sprintf("%s in %s mode", c.point, mode), func(t *testing.T) {
				log := new(textLog)
				s, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
					cfg.Listeners[0].Mode = mode
					cfg.Clusters["main"].PoolSize = 4
					cfg.Clusters["main"].BorrowTimeout = 20 * time.Second
					cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
				})
				ctx, dsn := testContext(t), url(shared, addr)
				honest := connect(t, dsn)
				exec(t, honest, "create table if not exists crashed (n int)")
				exec(t, honest, "begin")
				exec(t, honest, "set local application_name = 'honest'")
				var victim *pgx.Conn
				if c.do != nil {
					victim = connect(t, dsn)
					exec(t, victim, "select 1")
				}
				failed := failAt(t, c.point, c.when)
				var err error
				if c.do == nil {
					_, err = pgx.Connect(ctx, dsn)
				} else if err = c.do(ctx, victim); err == nil {
					err = victim.Ping(ctx)
				}
				if err == nil || !failed.Load() {
					t.Fatalf("it did not fail: %v, %t", err, failed.Load())
				}
				if code(err) != "XX000" && !victim.PgConn().IsClosed() {
					t.Errorf("the client is told %v", err)
				}
				if got := value(t, honest, "show application_name"); got != "honest" {
					t.Errorf("the client beside it is in another transaction: %q", got)
				}
				exec(t, honest, "commit")
				_ = honest.Close(ctx)
				if n := s.Stats().Panics; n != 1 {
					t.Errorf("%d panics are counted", n)
				}
				everyConnectionIsThere(t, s, dsn, 4)
				if text := log.String(); !strings.Contains(text, "contain_test.go") || strings.Contains(text, secret) {
					t.Errorf("the log has no stack, or more than that: %s", text)
				}
			})
		}
	}
}

// everyConnectionIsThere has as many transactions open at once as the pool may have connections.
func everyConnectionIsThere(t *testing.T, s *pooler.Server, dsn string, size int) {
	t.Helper()
	var all []*pgx.Conn
	for range size {
		c := connect(t, dsn)
		exec(t, c, "begin")
		all = append(all, c)
	}
	for _, c := range all {
		exec(t, c, "commit")
		_ = c.Close(context.Background())
	}
	eventually(t, "connections are left over", func() bool { return s.Stats().Open <= size })
}

func TestAPanicOfWhatAllShareIsNotItsEnd(t *testing.T) {
	for _, point := range []string{"pooler.watch", "registry.beat", "janitor", "monitor", "asker", "hub.notify"} {
		t.Run(point, func(t *testing.T) {
			log := new(textLog)
			s, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
				cfg.Clusters["main"].PoolSize = 2
				cfg.Clusters["main"].Database.TopologyRefreshInterval = time.Second
				cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
			})
			dsn := url(shared, addr)
			listener, speaker := connect(t, dsn), connect(t, dsn)
			exec(t, listener, "listen news")
			exec(t, speaker, "notify news, 'first'")
			receives(t, listener, "first")
			failed := failAt(t, point, func([]byte) bool { return true })
			for i := 0; !failed.Load(); i++ {
				_, err := speaker.Exec(testContext(t), fmt.Sprintf("notify news, 'on the way %d'", i))
				if err != nil && point != "pooler.watch" { // which ends the client that it has looked at
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
				if i > 2000 {
					t.Fatal("the point is not visited")
				}
			}
			if point == "pooler.watch" {
				listener = connect(t, dsn) // one of the clients was ended
				speaker = connect(t, dsn)
				exec(t, listener, "listen news")
			}
			deadline := time.Now().Add(30 * time.Second)
			for i := 0; ; i++ { // what is notified while the connection is made anew is lost, and the client told so
				text := fmt.Sprintf("afterwards %d", i)
				exec(t, speaker, "notify news, '"+text+"'")
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				n, err := listener.WaitForNotification(ctx)
				cancel()
				if err == nil && strings.HasPrefix(n.Payload, "afterwards") {
					break
				}
				if time.Now().After(deadline) || listener.IsClosed() {
					t.Fatalf("nothing is heard any more: %v", err)
				}
			}
			everyConnectionIsThere(t, s, dsn, 2)
			if status, body := admin(t, s, "/livez"); status != http.StatusOK {
				t.Errorf("%d: %s", status, body)
			}
			if !strings.Contains(log.String(), "contain_test.go") {
				t.Error("the log has no stack")
			}
		})
	}
}

func receives(t *testing.T, c *pgx.Conn, want string) {
	t.Helper()
	n, err := c.WaitForNotification(testContext(t))
	if err != nil || n.Payload != want {
		t.Fatalf("%v, %v; want %s", n, err, want)
	}
}

// admin has the admin address answer.
func admin(t *testing.T, s *pooler.Server, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(testContext(t), http.MethodGet, path, nil))
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

// A client that holds its session's lock for ever, whatever the mistake, keeps nobody from anything.
func TestAClientThatIsStuckIsItsOwnProblem(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 2
		cfg.DrainTimeout = time.Second
		cfg.QueryTimeout, cfg.IdleClientTimeout = 200*time.Millisecond, time.Minute
	})
	dsn := url(shared, addr)
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	t.Cleanup(contain.Inject(func(at string, b []byte) {
		if at == "session.client" && bytes.Contains(b, []byte("stuck")) {
			once.Do(func() { close(stuck) })
			<-release
		}
	}))
	victim := connect(t, dsn)
	exec(t, victim, "begin")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = victim.Exec(context.Background(), "select 'stuck'")
	}()
	<-stuck
	t.Cleanup(func() { <-gone })
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	honest := connect(t, dsn)
	for range 30 {
		value(t, honest, "select 'served'")
		time.Sleep(20 * time.Millisecond)
	}
	for _, path := range []string{"/livez", "/readyz", "/stats"} {
		if status, body := admin(t, s, path); status != http.StatusOK {
			t.Errorf("%s: %d: %s", path, status, body)
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the pooler does not end")
	}
}

func TestLivezTellsOfAWatchThatIsStuck(t *testing.T) {
	s, addr := start(t, shared, shared.DSN(), nil)
	connect(t, url(shared, addr))
	release := make(chan struct{})
	undo := contain.Inject(func(at string, _ []byte) {
		if at == "pooler.watch" {
			<-release
		}
	})
	t.Cleanup(undo)
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		status, body := admin(t, s, "/livez")
		if status == http.StatusServiceUnavailable && strings.Contains(body, "watch") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d: %s", status, body)
		}
	}
}
