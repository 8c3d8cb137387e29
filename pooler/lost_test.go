package pooler_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/internal/twins"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

func TestWhatAPooledSessionLosesIsTold(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	if err := twins.Prepare(testContext(t), c); err != nil {
		t.Fatal(err)
	}
	dsn := c.AddressDSN(c.Writer())
	_, addr := start(t, c, in(dsn, twins.Lost), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 2
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	})
	(&twins.Twins{
		Front: c.Writer().Front(),
		Lost: func(ctx context.Context) (*pgconn.PgConn, error) {
			return pgconn.Connect(ctx, in(url(c, addr), twins.Lost))
		},
		Alone:   in(dsn, twins.Alone),
		Relayed: true,
	}).Run(t)
}

// To listen again takes a server connection for a moment, and has no answer.
func TestAListenerThatHasLostItsConnectionIsListenedTo(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	_, addr := start(t, c, c.AddressDSN(c.Writer()), nil)
	conn := connect(t, url(c, addr)).PgConn()
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Second)
	defer cancel()
	say := func(sql, want string) {
		t.Helper()
		if got := show(conn.Exec(ctx, sql).ReadAll()); got != want {
			t.Fatalf("%s: %q, want %q", sql, got, want)
		}
	}
	say("create temp table mine ()", "CREATE TABLE;")
	cut := c.Writer().Front().Cut(front.Cut{
		From: front.Server, When: front.After, Match: func(m front.Message) bool { return m.Type == 'C' && string(m.Body) == "LISTEN\x00" },
	})
	say("listen a", "LISTEN;")
	<-cut.Done()
	say("select 1", "08006")
	say("select 2", "\"2\" SELECT 1;")
}
