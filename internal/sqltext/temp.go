package sqltext

// MakesTemp reports whether the statement makes something temporary that outlives its transaction: CREATE TEMPORARY, CREATE of
// anything in pg_temp, SELECT INTO TEMPORARY with or without WITH before it; but not with ON COMMIT DROP.
func MakesTemp(stmt string, o Options) bool {
	switch Classify(stmt, o) {
	case CreateTemp, With:
	default:
		return false
	}
	t, err := tokenize(stmt, o)
	if err != nil {
		return true
	}
	makes := !t.isWord(0, "with")
	for i := range t.outside() {
		switch {
		case t.areWords(i, "on", "commit", "drop"):
			return false
		case t.isInto(i) && !t.isWord(i-1, "insert", "merge"):
			makes = makes || t.intoTemp(i)
		}
	}
	return makes
}
