// Package wire reads PostgreSQL's protocol, version 3, as bytes: message headers, names at the start of a body, the
// fields of an error.
//
// It is what the session engine looks through on the hot path, so nothing here allocates unless its comment says so.
// Messages are built with pgproto3, which the hot path never needs.
package wire
