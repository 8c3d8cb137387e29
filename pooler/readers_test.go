package pooler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

// readers serves the readers of a cluster, in the given mode.
func readers(mode pooler.Mode, fallback driver.Switch) func(*pooler.Config) {
	return func(cfg *pooler.Config) {
		l := &cfg.Listeners[0]
		l.TargetRole, l.Mode, l.ReaderFallback = pooler.ReadOnly, mode, fallback
		cfg.Clusters["main"].PoolSize = 8
		cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
	}
}

func inRecovery(t testing.TB, conn *pgx.Conn) bool {
	t.Helper()
	return value(t, conn, "select pg_is_in_recovery()::text") == "true"
}

func TestAReadOnlyEndpointLeavesAReaderThatIsPromoted(t *testing.T) {
	for _, mode := range []pooler.Mode{pooler.Transaction, pooler.Session} {
		t.Run(string(mode), func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{})
			ctx := testContext(t)
			w := connect(t, c.AddressDSN(c.Writer()))
			exec(t, w, "create table t (a int)")
			_, addr := start(t, c, c.DSN()+"&application_name=fairlead_reads", readers(mode, ""))
			conns := make([]*pgx.Conn, 6)
			for i := range conns {
				conns[i] = connect(t, url(c, addr))
				exec(t, conns[i], "begin") // so that each has a connection of its own
				exec(t, conns[i], "select 1")
			}
			for _, conn := range conns[1:] {
				exec(t, conn, "commit")
			}
			next, err := c.Switchover(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for i, conn := range conns {
				if _, err := conn.Exec(ctx, "insert into t values (1)"); code(err) != "25006" {
					t.Errorf("session %d: a write ends with %v, want 25006", i, err)
				}
			}
			exec(t, conns[0], "rollback")
			admin, err := c.AdminConn(ctx, next)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close(ctx)
			eventually(t, "no connection to the new writer is left", func() bool {
				for _, conn := range conns {
					exec(t, conn, "select 1")
				}
				return value(t, admin, "select count(*)::text from pg_stat_activity where backend_type = 'client backend' and usename = 'app' and application_name <> 'fairlead-topology'") == "0"
			})
			for i, conn := range conns {
				if !inRecovery(t, conn) {
					t.Errorf("session %d is served by the writer", i)
				}
			}
		})
	}
}

func TestTheWriterServesAReadOnlyEndpointWithoutReaders(t *testing.T) {
	for _, mode := range []pooler.Mode{pooler.Transaction, pooler.Session} {
		t.Run(string(mode), func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, Readers: 1})
			ctx := testContext(t)
			reader := c.Readers()[0]
			if err := c.Crash(ctx, reader); err != nil {
				t.Fatal(err)
			}
			_, addr := start(t, c, c.MultiHostDSN()+"&failover_timeout=2s&topology_refresh_interval=1s", func(cfg *pooler.Config) {
				readers(mode, driver.On)(cfg)
				strict := cfg.Listeners[0]
				strict.ReaderFallback = driver.Off
				cfg.Listeners = append(cfg.Listeners, strict)
			})
			conn := connect(t, url(c, addr))
			if inRecovery(t, conn) {
				t.Error("it is served by a reader that is down")
			}
			if _, err := conn.Exec(ctx, "create table t (a int)"); code(err) != "25006" {
				t.Errorf("a write ends with %v, want 25006", err)
			}
			if err := c.Restart(ctx, reader); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the session has gone back to the reader", func() bool { return inRecovery(t, conn) })
		})
	}
}

func TestAReadOnlyEndpointWithoutFallbackIsNotServedByTheWriter(t *testing.T) {
	_, addr := start(t, shared, shared.DSN()+"&failover_timeout=500ms", readers(pooler.Transaction, driver.Off))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if conn, err := pgx.Connect(ctx, url(shared, addr)); err == nil {
		_ = conn.Close(ctx)
		t.Error("it is served")
	}
}

func TestReaderFallbackInAFile(t *testing.T) {
	const text = "listeners:\n- address: 127.0.0.1:0\n  target_role: READ_ONLY\n  reader_fallback: %s\nclusters:\n  main:\n    dsn: host=db.example.com user=u\n"
	for word, want := range map[string]driver.Switch{"on": driver.On, "off": driver.Off, "true": driver.On, "false": driver.Off} {
		cfg, err := pooler.ParseConfig([]byte(fmt.Sprintf(text, word)))
		if err != nil || cfg.Listeners[0].ReaderFallback != want {
			t.Errorf("%s: %+v, %v", word, cfg.Listeners, err)
		}
	}
	if _, err := pooler.ParseConfig([]byte(fmt.Sprintf(text, "maybe"))); err == nil {
		t.Error("maybe is taken")
	}
}
