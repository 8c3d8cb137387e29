// Command compat runs pgx's own tests through Fairlead and says where that differs from running them directly.
//
//	scripts/compat
//	scripts/compat -pkg pgconn -run TestConnCopy
//	scripts/compat -through pooler
//
// It copies the pgx module that go.mod names to a temporary folder and adds a hook to pgconn.ConnectConfig there, so that
// every connection that a test makes is made by the driver: the net.Conn under it is a mount, with no socket in between. The
// driver is the one in this tree, compiled against that same copy; its own logins pass the hook by. The test binaries are
// built once and run twice, with the hook off and on, against a PostgreSQL server of their own that is set up as pgx's tests
// want it. Servers that a test plays itself are reached with topology=none, since they can be asked nothing.
//
// With -through pool the driver's connections borrow those to the server, with pool_mode=transaction. With -through pooler there
// is no hook: a pooler in transaction mode stands before the server, and each test is run in a process of its own, so that one
// that hangs, or leaves something behind, harms no other.
//
// A test that passes directly and not through Fairlead is a difference. One that is understood stands in explained.txt (or
// explained-pool.txt, explained-pooler.txt) with its reason; any other one that shows again when the test is run once more
// makes the exit status 1. With -shell no tests are run, but a shell is started in which they can be.
package main
