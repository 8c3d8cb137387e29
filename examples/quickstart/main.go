// Command quickstart writes a row once a second through Fairlead and prints how long each write took, so that a failover
// can be watched from the application's side.
//
//	go run ./quickstart "postgres://app:…@127.0.0.1:5432,127.0.0.2:5432/app"
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	_ "github.com/fairlead-go/fairlead/driver"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: quickstart DSN")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	db, err := sql.Open("fairlead", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS quickstart (at timestamptz NOT NULL)"); err != nil {
		log.Fatal(err)
	}
	for tick := time.NewTicker(time.Second); ; {
		start := time.Now()
		_, err := db.ExecContext(ctx, "INSERT INTO quickstart VALUES ($1)", start)
		fmt.Printf("%s  %-12v %v\n", start.Format("15:04:05.000"), time.Since(start).Round(time.Microsecond), outcome(err))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func outcome(err error) string {
	if err == nil {
		return "written"
	}
	return err.Error()
}
