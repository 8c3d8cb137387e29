package pooler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/errgroup"

	"github.com/fairlead-go/fairlead/internal/printed"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// within fails the test if f takes longer than what separates a path that is found dead from a timeout of TCP's.
func within(t testing.TB, what string, f func() error) {
	t.Helper()
	begun := time.Now()
	if err := f(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	took := time.Since(begun)
	t.Logf("%s took %v", what, took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("%s took %v", what, took)
	}
}

func TestClientsGoOnWhenThePathToTheServerIsForgotten(t *testing.T) {
	for _, how := range []front.Silence{front.Unplug, front.Swallow} {
		for _, mode := range []pooler.Mode{pooler.Transaction, pooler.Session} {
			t.Run(fmt.Sprint(how, mode), func(t *testing.T) {
				c := rdstest.Start(t, rdstest.Config{Readers: -1})
				ctx := testContext(t)
				w := connect(t, c.AddressDSN(c.Writer()))
				exec(t, w, "create table t (a int)")
				s, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) {
					cfg.Listeners[0].Mode = mode
					cfg.Clusters["main"].PoolSize = 8
					cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
				})
				conns := make([]*pgx.Conn, 6)
				for i := range conns {
					conns[i] = connect(t, url(c, addr))
					exec(t, conns[i], fmt.Sprintf("set application_name = 'client_%d'", i))
					exec(t, conns[i], "begin")
					exec(t, conns[i], fmt.Sprintf("insert into t values (%d)", i))
				}
				for _, conn := range conns[2:] {
					exec(t, conn, "commit")
				}
				all := func(do func(i int, conn *pgx.Conn) error) func() error {
					return func() error {
						g, _ := errgroup.WithContext(ctx)
						for i, conn := range conns {
							g.Go(func() error { return do(i, conn) })
						}
						return g.Wait()
					}
				}
				read := func(i int, conn *pgx.Conn) error {
					var name string
					err := conn.QueryRow(ctx, "select current_setting('application_name')", pgx.QueryExecModeSimpleProtocol).Scan(&name)
					if err == nil && name != fmt.Sprintf("client_%d", i) {
						err = fmt.Errorf("client %d is called %s", i, name)
					}
					return err
				}
				c.Writer().Front().Forget(how)
				within(t, "six clients at once, two of them within transactions", all(read))
				for _, conn := range conns[:2] {
					exec(t, conn, "commit")
				}
				time.Sleep(1200 * time.Millisecond)
				c.Writer().Front().Forget(how)
				within(t, "writes after a while", all(func(i int, conn *pgx.Conn) error {
					_, err := conn.Exec(ctx, "insert into t values ($1)", i)
					return err
				}))
				s.Tidy() // as after a freeze
				c.Writer().Front().Forget(how)
				within(t, "reads after a freeze", all(read))
				check := connect(t, c.AddressDSN(c.Writer()))
				if n := value(t, check, "select count(*)::text || ' ' || sum(a)::text from t"); n != "12 30" {
					t.Errorf("count and sum are %s, want 12 30", n)
				}
			})
		}
	}
}

func TestNotificationsComeAgainWhenTheirPathIsForgotten(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	_, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) { cfg.Clusters["main"].PoolSize = 4 })
	e := listener(t, url(c, addr), "news")
	c.Writer().Front().Forget(front.Swallow)
	other := listener(t, url(c, addr), "more") // has the hub say something
	sender := connect(t, c.AddressDSN(c.Writer()))
	exec(t, sender, "notify news, 'a'")
	exec(t, sender, "notify more, 'b'")
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
	defer cancel()
	if err := e.wait(ctx, 1, 0); err != nil {
		t.Error(err)
	}
	if err := other.wait(ctx, 1, 0); err != nil {
		t.Error(err)
	}
}

// A server that waits for a Sync, or for COPY data, is silent, and its process idle: its path is not taken for a dead one.
func TestAClientThatPausesKeepsItsPath(t *testing.T) {
	var log *printed.Buffer
	_, addr := start(t, shared, shared.DSN(), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 8
		log = logTo(cfg)
	})
	exec(t, connect(t, shared.AddressDSN()), "create table if not exists public.paused (what text)")
	var clients sync.WaitGroup
	for name, messages := range map[string][]pgproto3.FrontendMessage{
		"Close":    {&pgproto3.Close{ObjectType: 'S', Name: "nothing"}},
		"Describe": {&pgproto3.Parse{Query: "select 1"}, &pgproto3.Describe{ObjectType: 'S'}},
		"Bind":     {&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}},
		"Execute":  {&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}},
		"Flush":    {&pgproto3.Close{ObjectType: 'S', Name: "nothing"}, &pgproto3.Flush{}},
		"COPY":     {&pgproto3.Query{String: "copy public.paused from stdin"}},
	} {
		clients.Go(func() {
			conn, front := session(t, addr)
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			for _, m := range messages {
				front.Send(m)
			}
			if err := front.Flush(); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			time.Sleep(2500 * time.Millisecond)
			if name == "COPY" {
				front.Send(&pgproto3.CopyDone{})
			} else {
				front.Send(&pgproto3.Sync{})
			}
			if err := errors.Join(front.Flush(), ready(front)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	clients.Wait()
	if strings.Contains(log.String(), "given up") {
		t.Errorf("connections were given up:\n%s", log.String())
	}
}
