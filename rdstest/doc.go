// Package rdstest starts PostgreSQL clusters that look and fail like those of Amazon RDS, for tests: real servers with
// streaming replication, on one machine, ready in a few seconds, and gone with the process that started them.
//
//	func TestOrdersSurviveAFailover(t *testing.T) {
//		c := rdstest.Start(t, rdstest.Config{}) // a writer and two readers
//		db := open(t, c.DSN(), c.LookupHost)    // the application under test
//		if err := c.Crash(t.Context(), c.Writer()); err != nil {
//			t.Fatal(err)
//		}
//		if _, err := c.Failover(t.Context()); err != nil {
//			t.Fatal(err)
//		}
//		placeOrder(t, db)
//	}
//
// PostgreSQL's server programs have to be installed, version 13 or later. They run as the user of the test, or as
// "postgres" or "nobody" if that is root.
//
// # What is like RDS
//
// Every instance has an address of its own and they all have the same port (where 127.0.0.0/8 is one address only, as on
// macOS, it is the other way round). The cluster endpoint, the reader endpoint and those of the instances have RDS's names, which
// [Cluster.Resolver] knows, and which can be stale after a failover. TLS is there, with certificates of an authority of the
// cluster's own. With the [Aurora] flavor, the functions are there by which clients of Aurora find the writer.
//
// A commit is acknowledged when a reader has it too, so it survives the writer, as it does on Aurora. If there is no reader
// that could have it, commits do not wait. What is lost is what two failures at once take: a commit that only a reader has which is
// frozen or cut off when the writer goes. And a client that cancels a commit while it waits for a reader is told by PostgreSQL that
// it is done.
//
// # What is not
//
// Aurora's readers share the storage; these replay what they are sent, so they can lag, and a statement of theirs can be
// cancelled by what they replay. A failover takes a fraction of a second, not half a minute. Data are not synced to the
// disk. The locale is C.
//
// # Failures
//
// An act, such as [Cluster.Crash], returns when it has happened. Acts wait for each other. What follows from them goes on in
// the background, until [Cluster.WaitSettled] returns. Finer failures are set up at an [Instance.Front]: delays, resets, cuts before or
// after a certain message.
package rdstest
