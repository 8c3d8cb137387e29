package pooler_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/fairlead-go/fairlead/internal/malformed"
	"github.com/fairlead-go/fairlead/pooler"
)

// attacks is how many malformed messages there are of either side: 5,000, or what the variable FAIRLEAD_MALFORMED says.
func attacks(t *testing.T) int64 {
	t.Helper()
	n, err := strconv.ParseInt(os.Getenv("FAIRLEAD_MALFORMED"), 10, 64)
	if err != nil || n <= 0 {
		return 5000
	}
	return n
}

// beside has honest clients work until the function that it returns is called: each compares what it is told with what is right.
func beside(t *testing.T, dsn string, n int) (end func()) {
	t.Helper()
	setup := connect(t, dsn)
	exec(t, setup, "create table if not exists honest (who int, n int)")
	exec(t, setup, "delete from honest")
	_ = setup.Close(context.Background())
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for who := range n {
		clients.Go(func() {
			conn, err := pgx.Connect(ctx, dsn)
			if err != nil {
				t.Errorf("honest client %d: %v", who, err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for i := 1; ctx.Err() == nil; i++ {
				if err := honestly(conn, who, i); err != nil {
					t.Errorf("honest client %d, round %d: %v", who, i, err)
					return
				}
			}
		})
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// honestly is one round: a transaction with a setting, a prepared statement and an insert, and a look at what is there.
func honestly(conn *pgx.Conn, who, i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, fmt.Sprintf("set application_name = 'honest %d'", who)); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "insert into honest values ($1, $2)", who, i); err != nil {
		return err
	}
	var name string
	var n int
	if err := tx.QueryRow(ctx, "select current_setting('application_name'), count(*) from honest where who = $1", who).Scan(&name, &n); err != nil {
		return err
	}
	if want := fmt.Sprintf("honest %d", who); name != want || n != i {
		return fmt.Errorf("%q and %d rows, want %q and %d", name, n, want, i)
	}
	return tx.Commit(ctx)
}

// footprint is what a process holds.
type footprint struct {
	goroutines int
	heap       uint64
}

func measured() footprint {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), m.HeapInuse}
}

// back waits until the process holds no more than before.
func back(t *testing.T, before footprint) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		now := measured()
		if now.goroutines <= before.goroutines+3 && now.heap <= before.heap+64<<20 {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 64<<10)
			t.Fatalf("%d goroutines and %d MB, %d and %d MB before\n%s", now.goroutines, now.heap>>20, before.goroutines, before.heap>>20, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestMalformedMessagesOfClients has many of them come while honest clients work. What these are told stays right.
func TestMalformedMessagesOfClients(t *testing.T) {
	const size = 4
	s, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		c.Clusters["main"].PoolSize, c.Clusters["main"].VerifyClean = size, pooler.VerifyOff
		c.Clusters["main"].BorrowTimeout = 30 * time.Second
		c.Logger = nil
	})
	dsn := url(shared, addr)
	everyConnectionIsThere(t, s, dsn, size)
	before := measured()
	end := beside(t, dsn, 3)
	var left atomic.Int64
	left.Store(attacks(t))
	var attackers sync.WaitGroup
	for i := range 6 {
		attackers.Go(func() { attack(t, dsn, rand.New(rand.NewPCG(13, uint64(i))), &left) })
	}
	attackers.Wait()
	end()
	everyConnectionIsThere(t, s, dsn, size)
	if st := s.Stats(); st.Panics != 0 {
		t.Errorf("%d panics", st.Panics)
	}
	back(t, before)
}

// attack says malformed messages, until there have been enough.
func attack(t *testing.T, dsn string, r *rand.Rand, left *atomic.Int64) {
	msgs := malformed.Frontend()
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	buf := make([]byte, 16<<10)
	for left.Add(-1) >= 0 {
		if conn == nil {
			pg, err := pgconn.Connect(context.Background(), dsn)
			if err != nil {
				t.Errorf("an attacker cannot log in: %v", err)
				return
			}
			h, err := pg.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn = h.Conn
		}
		var b []byte
		switch r.IntN(6) {
		case 0:
			b = said(&pgproto3.Query{String: "begin"})
		case 1:
			b = said(&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Execute{})
		case 2:
			b = said(&pgproto3.Query{String: "set application_name = 'attacker'"})
		}
		b = append(b, malformed.One(r, msgs).Bytes...)
		if r.IntN(4) > 0 {
			b = append(b, said(&pgproto3.Sync{})...)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Duration(1+r.IntN(8)) * time.Millisecond))
		_, err := conn.Write(b)
		for err == nil && r.IntN(3) > 0 {
			_, err = conn.Read(buf)
		}
		var timeout net.Error
		if r.IntN(8) == 0 || err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) || r.IntN(3) == 0 && err != nil {
			_ = conn.Close()
			conn = nil
		}
	}
}
