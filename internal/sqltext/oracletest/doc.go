// Package oracletest compares package sqltext with the server's own parser, as pg_query_go has it: whatever sqltext calls
// pure is parsed by the server's grammar, and its tree is searched for calls, types, operators and clauses that sqltext
// should have seen. It is a module of its own, since pg_query_go needs cgo:
//
//	cd internal/sqltext/oracletest && go test .
package oracletest
