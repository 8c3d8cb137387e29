package driver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

func TestAListenerMovesAsSoonAsThereIsAnotherWriter(t *testing.T) {
	for _, loss := range []string{"frozen", "partitioned", "unplugged", "crashed"} {
		t.Run(loss, func(t *testing.T) {
			c := rdstest.Start(t, rdstest.Config{Readers: 1})
			ctx := testContext(t)
			conn := connect(t, config(t, c, c.DSN()))
			if _, err := conn.Exec(ctx, "listen news"); err != nil {
				t.Fatal(err)
			}
			heard := make(chan error, 1)
			go func() {
				limited, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				n, err := conn.WaitForNotification(limited)
				if err == nil && n.Payload != "hello" {
					err = fmt.Errorf("%q is heard", n.Payload)
				}
				heard <- err
			}()
			time.Sleep(3 * time.Second) // nothing is in flight any more
			old := c.Writer()
			var err error
			switch loss {
			case "frozen":
				err = c.Freeze(ctx, old)
			case "partitioned":
				err = c.Partition(ctx, old)
			case "unplugged":
				err = c.PartitionAs(ctx, old, front.Unplug)
			case "crashed":
				err = c.Crash(ctx, old)
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
