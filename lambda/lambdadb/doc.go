// Package lambdadb opens a database for a Lambda function in Go, on Fairlead's in-process driver.
//
//	func main() {
//		db, err := lambdadb.Open(context.Background(), lambdadb.Config{}) // FAIRLEAD_DSN says which
//		if err != nil {
//			log.Fatal(err)
//		}
//		err = db.Start(func(ctx context.Context, order Order) (Receipt, error) {
//			return place(ctx, db.DB, order)
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//	}
//
// Open connects while the function initializes. [DB.Start] serves invocations: each has a context that ends a little before
// the invocation does, so that what takes too long is cancelled at the server, and the function can still answer. Connections
// outlive invocations and freezes. One that the server has closed meanwhile is noticed without a round trip and replaced,
// and the server is told to close those of a sandbox that stays frozen. When the sandbox ends, they are closed.
//
// On Managed Instances many invocations run at once, and share the database. Without any Lambda around it, Start answers
// the one event that it reads from standard input, so the same program runs on a laptop:
//
//	echo '{"item": 7}' | FAIRLEAD_DSN=postgres://localhost/app go run .
package lambdadb
