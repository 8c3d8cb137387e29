package driver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/twins"
	"github.com/fairlead-go/fairlead/rdstest"
)

func TestWhatIsLostIsTold(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	ctx := testContext(t)
	admin, err := c.AdminConn(ctx, c.Writer())
	must(t, err)
	defer func() { _ = admin.Close(ctx) }()
	must(t, twins.Prepare(ctx, admin))
	in := func(db string) string { return strings.Replace(c.AddressDSN(c.Writer()), "/app?", "/"+db+"?", 1) }
	cfg, err := driver.ConnConfig(config(t, c, in(twins.Lost)))
	must(t, err)

	w := &twins.Twins{Front: c.Writer().Front()}
	twins.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		lost, err := pgconn.ConnectConfig(ctx, &cfg.Config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lost.Close(ctx) }()
		alone, err := pgconn.Connect(ctx, in(twins.Alone))
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
