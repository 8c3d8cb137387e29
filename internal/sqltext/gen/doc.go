// Command gen writes what package sqltext knows of pg_catalog, read from a server of the newest version at hand:
//
//	go run ./internal/sqltext/gen "host=/tmp user=postgres dbname=postgres"
//
// The database must be as initdb made it: what an extension puts into pg_catalog would be taken for the server's own.
// The functions that may be called by a statement that is run again are the immutable and stable ones, without those
// of deny.go, and with the volatile ones of allow.go.
package main
