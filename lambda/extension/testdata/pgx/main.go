// Command pgx is a function with one connection of pgx, which it opens in Init, to the database that TEST_DSN names.
package main

import (
	"context"
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
)

func main() {
	conn, err := pgx.Connect(context.Background(), os.Getenv("TEST_DSN"))
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(func(ctx context.Context) (n int, err error) {
		err = conn.QueryRow(ctx, "select 1").Scan(&n)
		return n, err
	})
}
