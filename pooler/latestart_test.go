package pooler_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/latestart"
	"github.com/fairlead-go/fairlead/pooler"
)

// late is an address of the shared cluster's writer that does not serve yet, and a DSN for it.
func late(t *testing.T, how latestart.Unready) (a *latestart.Address, dsn string) {
	t.Helper()
	w, err := driver.ParseConfig(shared.AddressDSN(shared.Writer()))
	if err != nil {
		t.Fatal(err)
	}
	server := net.JoinHostPort(w.Conn.Host, fmt.Sprint(w.Conn.Port))
	a = latestart.Open(t, how, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", server) })
	return a, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable&topology=replication", w.Conn.User, w.Conn.Password, a, w.Conn.Database)
}

func TestAClientsLoginWaitsForAServerThatIsNotReady(t *testing.T) {
	for _, how := range []latestart.Unready{latestart.Refused, latestart.Held, "57P03", "53300"} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			a, dsn := late(t, how)
			_, addr := start(t, shared, dsn, func(c *pooler.Config) { c.Clusters["main"].VerifyClean = pooler.VerifyOff })
			results := make(chan error, 3)
			for range cap(results) {
				go func() {
					ctx := testContext(t)
					conn, err := pgx.Connect(ctx, url(shared, addr))
					if err == nil {
						_, err = conn.Exec(ctx, "select 1")
						_ = conn.Close(ctx)
					}
					results <- err
				}()
			}
			// More than connect_timeout and login_timeout.
			select {
			case err := <-results:
				t.Errorf("before the server was ready: %v", err)
			case <-time.After(12 * time.Second):
			}
			a.Ready()
			for range cap(results) {
				if err := <-results; err != nil {
					t.Errorf("once the server was ready: %v", err)
				}
			}
		})
	}
}

func TestALoginWaitsForTheDatabaseThatHasThePasswords(t *testing.T) {
	a, dsn := late(t, latestart.Refused)
	role(t, "late_user", "password 'pw' in role app")
	ready := withAuthQuery(t, pooler.DefaultAuthQuery)
	_, addr := start(t, shared, dsn, func(c *pooler.Config) {
		ready(c)
		reader, err := driver.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		reader.Conn.User, reader.Conn.Password = "auth_reader", "reader"
		c.Clusters["main"].AuthDatabase, c.Clusters["main"].VerifyClean = reader, pooler.VerifyOff
		c.LoginTimeout = time.Minute
	})
	result := make(chan error, 1)
	go func() { result <- loginAs(t, addr, "late_user", "pw", "sslmode=disable") }()
	select {
	case err := <-result:
		t.Errorf("before the server was ready: %v", err)
		return
	case <-time.After(12 * time.Second):
	}
	a.Ready()
	if err := <-result; err != nil {
		t.Errorf("once the server was ready: %v", err)
	}
}

func TestAClientsLoginWaitsNoLongerThanForAConnection(t *testing.T) {
	for how, want := range map[latestart.Unready][2]string{
		latestart.Refused: {"08001", "nothing listens there"},
		"53300":           {"53300", "max_connections"},
		"57P03":           {"57P03", "starting"},
	} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			_, dsn := late(t, how)
			_, addr := start(t, shared, dsn, func(c *pooler.Config) {
				c.Clusters["main"].BorrowTimeout, c.Clusters["main"].VerifyClean = 2*time.Second, pooler.VerifyOff
			})
			begun := time.Now()
			_, err := pgx.Connect(testContext(t), url(shared, addr))
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != want[0] || !strings.Contains(pg.Message, want[1]) || !strings.Contains(pg.Message, "connection_borrow_timeout") {
				t.Errorf("%v; want %v", err, want)
			}
			if time.Since(begun) > 20*time.Second {
				t.Errorf("it took %v", time.Since(begun))
			}
		})
	}
}
