package driver_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/twins"
	"github.com/fairlead-go/fairlead/rdstest"
)

func TestWhatIsLostIsTold(t *testing.T) {
	c := rdstest.Start(t, rdstest.Config{Readers: -1})
	in := func(db string) string { return strings.Replace(c.AddressDSN(c.Writer()), "/app?", "/"+db+"?", 1) }
	must(t, twins.Prepare(testContext(t), c))
	cfg, err := driver.ConnConfig(config(t, c, in(twins.Lost)))
	must(t, err)
	(&twins.Twins{
		Front: c.Writer().Front(),
		Lost:  func(ctx context.Context) (*pgconn.PgConn, error) { return pgconn.ConnectConfig(ctx, &cfg.Config) },
		Alone: in(twins.Alone),
	}).Run(t)
}
