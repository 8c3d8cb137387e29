package driver_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/latestart"
)

// late is an address of a cluster's writer that does not serve yet, and a DSN for it.
func late(t *testing.T, how latestart.Unready) (a *latestart.Address, dsn string) {
	t.Helper()
	c := shared(t)
	w, err := driver.ParseConfig(c.AddressDSN(c.Writer()))
	if err != nil {
		t.Fatal(err)
	}
	server := net.JoinHostPort(w.Conn.Host, fmt.Sprint(w.Conn.Port))
	a = latestart.Open(t, how, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", server) })
	return a, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable&topology=replication", w.Conn.User, w.Conn.Password, a, w.Conn.Database)
}

// log is a Logger's text.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAFirstLoginWaitsForAServerThatIsNotReady(t *testing.T) {
	for _, how := range []latestart.Unready{latestart.Refused, latestart.Silent, latestart.Held, "57P03", "53300"} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			a, dsn := late(t, how)
			var text log
			cfg, err := driver.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
			ctx := testContext(t)
			results := make(chan error, 3)
			go func() { results <- openConfig(t, cfg).PingContext(ctx) }()
			go func() { results <- pingPgx(ctx, cfg) }()
			go func() { results <- pingPool(ctx, cfg) }()
			// More than the connect_timeout that holds by default, after which a first login once failed.
			select {
			case err := <-results:
				t.Errorf("before the server was ready: %v", err)
			case <-time.After(7 * time.Second):
			}
			asked := a.Asked()
			a.Ready()
			for range 3 {
				if err := <-results; err != nil {
					t.Errorf("once the server was ready: %v", err)
				}
			}
			if asked > 500 {
				t.Errorf("the server was asked %d times in 7 s", asked)
			}
			if !strings.Contains(text.String(), "level=WARN") || !strings.Contains(text.String(), "waiting for the database") {
				t.Errorf("the log does not say that it waits: %s", &text)
			}
		})
	}
}

func pingPgx(ctx context.Context, cfg *driver.Config) error {
	c, err := driver.ConnConfig(cfg)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func pingPool(ctx context.Context, cfg *driver.Config) error {
	c, err := driver.PoolConfig(cfg)
	if err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return err
	}
	defer pool.Close()
	return pool.Ping(ctx)
}

func TestAWaitThatEndsSaysWhatItWaitedFor(t *testing.T) {
	for how, want := range map[latestart.Unready][]string{
		latestart.Refused: {"connection refused", "nothing listens there", "host and port"},
		latestart.Silent:  {"no writer after", "security groups"},
		"57P03":           {"the server is not ready: 57P03", "raise failover_timeout"},
		"53300":           {"the server is not ready: 53300", "max_connections"},
	} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			_, dsn := late(t, how)
			for bound, ping := range map[string]func(ctx context.Context, db *sql.DB) error{
				"failover_timeout": func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
				"context": func(ctx context.Context, db *sql.DB) error {
					ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
					defer cancel()
					return db.PingContext(ctx)
				},
			} {
				dsn := dsn
				if bound == "failover_timeout" {
					dsn += "&failover_timeout=2s"
				}
				cfg, err := driver.ParseConfig(dsn)
				if err != nil {
					t.Fatal(err)
				}
				cfg.Logger = slog.New(slog.DiscardHandler)
				start := time.Now()
				err = ping(testContext(t), openConfig(t, cfg))
				if err == nil || time.Since(start) > patience/2 {
					t.Fatalf("%v after %v", err, time.Since(start))
				}
				for _, w := range append(want, "no writer after", bound) {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("bounded by %s: the error has no %q: %v", bound, w, err)
					}
				}
				if strings.Contains(err.Error(), cfg.Conn.Password) {
					t.Errorf("the password is in the error: %v", err)
				}
				if len(how) == 5 && code(err) != string(how) {
					t.Errorf("SQLSTATE %q, want %s", code(err), how)
				}
			}
		})
	}
}
