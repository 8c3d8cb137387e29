package pooler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/pooler"
	"github.com/fairlead-go/fairlead/rdstest"
)

func TestListenersMoveAsSoonAsThereIsAnotherWriter(t *testing.T) {
	for _, mode := range []pooler.Mode{pooler.Transaction, pooler.Session} {
		for _, loss := range []string{"frozen", "partitioned"} {
			t.Run(fmt.Sprint(mode, " ", loss), func(t *testing.T) {
				c := rdstest.Start(t, rdstest.Config{Readers: 1})
				ctx := testContext(t)
				_, addr := start(t, c, c.DSN(), func(cfg *pooler.Config) {
					cfg.Listeners[0].Mode = mode
					cfg.Clusters["main"].PoolSize = 4
					cfg.Clusters["main"].VerifyClean = pooler.VerifyOff
				})
				e := listener(t, url(c, addr), "news")
				time.Sleep(3 * time.Second) // nothing is in flight any more
				var err error
				if loss == "frozen" {
					err = c.Freeze(ctx, c.Writer())
				} else {
					err = c.Partition(ctx, c.Writer())
				}
				if err != nil {
					t.Fatal(err)
				}
				next, err := c.Failover(ctx)
				if err != nil {
					t.Fatal(err)
				}
				admin, err := c.AdminConn(ctx, next)
				if err != nil {
					t.Fatal(err)
				}
				defer admin.Close(ctx)
				limited, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				heard := make(chan error, 1)
				go func() { heard <- e.wait(limited, 1, 1) }()
				within(t, "the way to the new writer", func() error {
					for {
						if _, err := admin.Exec(ctx, "notify news, 'hello'"); err != nil {
							return err
						}
						select {
						case err := <-heard:
							return err
						case <-time.After(20 * time.Millisecond):
						}
					}
				})
			})
		}
	}
}
