// Package programs runs programs that people have, or such as they write, through the pooler: psql, pgbench, pg_dump, and what
// drivers and ORMs of other languages do. They stand in testdata; scripts/programs installs what they need and runs them.
//
// Each program does its work on connections that sessions share, and nothing of it may keep a session on its own: what a
// driver does when it connects, or takes a connection back, least of all, and for listening neither.
package programs
