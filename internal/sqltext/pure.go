package sqltext

// Pure reports whether running the statement, once more than its author meant to, provably changes nothing.
func Pure(stmt string, o Options) (pure bool, reason string) {
	return false, "not judged"
}
