// Package sqltext reads the text of PostgreSQL statements: where each one ends, what it is, what it sets, and whether
// running it again could do harm.
//
//	list, err := sqltext.Split("SET search_path TO app; SELECT lower(name) FROM users", sqltext.Options{})
//	for _, st := range list {
//		pure, reason := sqltext.Pure(st.Text, sqltext.Options{})
//		fmt.Println(st.Kind, pure, reason)
//	}
//
// It answers from the text alone: it never asks a server, and what it does not understand is Unknown, or not pure.
// Only MentionsState is made for the path of every query; the rest runs when a connection was lost, or when a statement
// of the session's own (SET, CREATE, ...) went by.
//
// # What the text cannot tell
//
// Pure accepts the names of relations and columns without knowing what they stand for. A view, a row-level policy, a
// foreign table, a column notation for a function of the row (users.fullname), an operator of an extension's type, or
// an overload of a pg_catalog function for such a type can run any function, and are taken at their word. So are
// functions that a database older than the list in purefuncs_gen.go defines itself under the name of a newer one of
// pg_catalog.
package sqltext
