// Command compat runs pgx's own tests through Fairlead's driver and says where that differs from running them directly.
//
//	scripts/compat
//	scripts/compat -run TestConnCopy
//
// It copies the pgx module that go.mod names to a temporary folder and adds a hook to pgconn.ConnectConfig there, so that
// every connection that a test makes is made by the driver. The driver is the one in this tree, compiled against that same
// copy: its own logins pass the hook by. The test binaries are built once and run twice, with the hook off and on, against
// a PostgreSQL server of their own that is set up as pgx's tests want it.
//
// A test that passes directly and not through the driver is a difference. One that is understood stands in explained.txt with
// its reason; any other one makes the exit status 1.
package main
