package sqltext

// Identifier is the i-th token of the statement as the server keeps the name that it is: folded to lower case unless it
// stands in quotes. Below zero it is counted from the end. ok is false for what is no name.
func Identifier(stmt string, i int, o Options) (name string, ok bool) {
	t, err := statement(stmt, o)
	if err != nil {
		return "", false
	}
	if i < 0 {
		i += len(t.list) - 1 // the last one is the end
	}
	if i < 0 || i >= len(t.list)-1 {
		return "", false
	}
	return t.name(i)
}
