package rdstest_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fairlead-go/fairlead/rdstest"
	"github.com/fairlead-go/fairlead/rdstest/front"
)

// A program that is no test starts a cluster with New.
func ExampleNew() {
	ctx := context.Background()
	c, err := rdstest.New(ctx, rdstest.Config{Readers: 1, Name: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	cfg, err := pgx.ParseConfig(c.DSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.LookupFunc = c.LookupHost // the names are the cluster's own
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	var id string
	if err := conn.QueryRow(ctx, "select aurora_db_instance_identifier()").Scan(&id); err != nil {
		log.Fatal(err)
	}
	fmt.Println("connected to", id)

	if err := c.Crash(ctx, c.Writer()); err != nil {
		log.Fatal(err)
	}
	writer, err := c.Failover(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the writer is", writer)
	// Output:
	// connected to shop-1
	// the writer is shop-2
}

func ExampleStart() {
	_ = func(t *testing.T) {
		c := rdstest.Start(t, rdstest.Config{Flavor: rdstest.Replication, StaleDNS: 5 * time.Second})
		t.Log(c.MultiHostDSN())
		// The writer stands still. Its connections stay open, and nothing comes.
		if err := c.Freeze(t.Context(), c.Writer()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Failover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The answer to a COMMIT is lost, and nobody but the server knows whether it was done.
func ExampleInstance_Front() {
	_ = func(t *testing.T) {
		c := rdstest.Start(t, rdstest.Config{})
		c.Writer().Front().Cut(front.Cut{
			From:  front.Client,
			When:  front.After,
			Match: func(m front.Message) bool { return m.Type == 'Q' && string(m.Body) == "commit\x00" },
		})
	}
}
