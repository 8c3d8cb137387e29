// Command go is a Lambda function that places orders, on Fairlead's driver in its own process. On a laptop it answers the event
// on its standard input:
//
//	echo '{"item": 7, "quantity": 2}' | FAIRLEAD_DSN=postgres://localhost/app go run .
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/lambda/lambdadb"
)

type order struct {
	Item     int `json:"item"`
	Quantity int `json:"quantity"`
}

type receipt struct {
	ID int64 `json:"id"`
}

func main() {
	db, err := lambdadb.Open(context.Background(), lambdadb.Config{})
	if err != nil {
		log.Fatal(err)
	}
	err = db.Start(func(ctx context.Context, o order) (r receipt, err error) {
		err = driver.RunTx(ctx, db.DB, nil, func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, "insert into orders (item, quantity) values ($1, $2) returning id", o.Item, o.Quantity).Scan(&r.ID)
		})
		if err != nil {
			return r, fmt.Errorf("place the order of item %d: %w", o.Item, err)
		}
		return r, nil
	})
	if err != nil {
		log.Fatal(err)
	}
}
