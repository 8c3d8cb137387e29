package pooler_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/fairlead-go/fairlead/internal/twins"
	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

func TestWhatAPooledSessionLosesIsTold(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(ctx) }()
	if err := twins.Prepare(ctx, admin); err != nil {
		t.Fatal(err)
	}
	_, addr := start(t, c, in(c.AddressDSN(c.Writer()), twins.Lost), func(cfg *pooler.Config) {
		cfg.Clusters["main"].PoolSize = 2
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	})
	w := &twins.Twins{Front: c.Writer().Front(), Relayed: true}
	twins.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		lost, err := pgconn.Connect(ctx, in(url(c, addr), twins.Lost))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lost.Close(ctx) }()
		alone, err := pgconn.Connect(ctx, in(c.AddressDSN(c.Writer()), twins.Alone))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = alone.Close(ctx) }()
		w.Talk(t, lost, alone)
	})
	t.Logf("%d statements, %d losses, of which %d were told", w.Said, w.Losses, w.Told)
	if w.Told == 0 || w.Told > w.Losses*3/4 {
		t.Errorf("of %d losses %d were told", w.Losses, w.Told)
	}
}
