// Command lambdadb is the function of ../pgx on Fairlead's driver.
package main

import (
	"context"
	"log"

	"github.com/fairlead-go/fairlead/lambda/lambdadb"
)

func main() {
	db, err := lambdadb.Open(context.Background(), lambdadb.Config{})
	if err != nil {
		log.Fatal(err)
	}
	err = db.Start(func(ctx context.Context) (n int, err error) {
		err = db.QueryRowContext(ctx, "select 1").Scan(&n)
		return n, err
	})
	if err != nil {
		log.Fatal(err)
	}
}
