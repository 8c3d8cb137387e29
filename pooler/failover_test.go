package pooler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/internal/commit"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

func TestAFailoverIsNotSeenThroughThePooler(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{})
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{commit.Migration(), "create table public.counted (w int, n int, primary key (w, n)); grant all on public.counted to app"} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	_ = admin.Close(ctx)
	_, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 4
		cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
		cfg.Logger = nil
	})
	idle := connect(t, url(c, addr)+"&application_name=idle")
	value(t, idle, "select 'used'")
	stop := make(chan struct{})
	written := make([]int, 12)
	var wg sync.WaitGroup
	for w := range written {
		conn := connect(t, url(c, addr))
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					_, err := tx.Exec(ctx, "insert into counted values ($1, $2)", w, n)
					return err
				})
				if err != nil {
					t.Errorf("client %d, transaction %d: %v", w, n, err)
					return
				}
				written[w]++
			}
		})
	}
	if _, err := c.Failover(ctx); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	total := 0
	for w, n := range written {
		if there := value(t, idle, fmt.Sprintf("select count(*)::text from counted where w = %d", w)); there != fmt.Sprint(n) {
			t.Errorf("client %d was told of %d commits, %s are there", w, n, there)
		}
		total += n
	}
	t.Logf("%d transactions", total)
	if name := value(t, idle, "select current_setting('application_name')"); name != "idle" {
		t.Errorf("the idle session is called %q now", name)
	}
}

func TestAConnectionThatHasDecidedACommitIsGivenBack(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{commit.Migration(), "create table public.decided (n int)", "grant all on public.decided to app"} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	_ = admin.Close(ctx)
	_, addr := start(t, c, c.DSN()+"&commit_resolution=marker", nil)
	a, b := connect(t, url(c, addr)), connect(t, url(c, addr))
	exec(t, a, "begin")
	exec(t, a, "insert into decided values (1)")
	cut := c.Writer().Front().Cut(front.Cut{From: front.Server, N: 1, When: front.Before, How: front.ResetBoth, Match: func(m front.Message) bool {
		return m.Type == 'C' && strings.HasPrefix(string(m.Body), "COMMIT")
	}})
	exec(t, a, "commit")
	if cut.Stop() {
		t.Fatal("nothing was cut")
	}
	// The pool has one connection.
	if n := value(t, b, "select count(*)::text from decided"); n != "1" {
		t.Errorf("%s rows, want 1", n)
	}
}

func TestShutdownWaitsForTransactions(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var s *pooler.Server
	_, addr := start(t, shared, shared.DSN(), func(c *pooler.Config) {
		var err error
		if s, err = pooler.New(*c); err != nil {
			t.Fatal(err)
		}
	})
	_ = addr
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	addrs, err := s.Addrs(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	working, idle := connect(t, url(shared, addrs[0])), connect(t, url(shared, addrs[0]))
	exec(t, working, "begin")
	stop()
	if err := idle.PgConn().WaitForNotification(testContext(t)); code(err) != "57P01" {
		t.Errorf("the idle client is told %v", err)
	}
	select {
	case <-ended:
		t.Fatal("the pooler did not wait for a transaction")
	case <-time.After(100 * time.Millisecond):
	}
	if got := value(t, working, "select 'in time'"); got != "in time" {
		t.Error(got)
	}
	exec(t, working, "commit")
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-testContext(t).Done():
		t.Error("the pooler does not end")
	}
}
