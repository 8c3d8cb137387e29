package driver

import "strings"

// misspelt returns the parameter of ours that a key of nobody's is within two edits of, or nil. Names with a dot are
// settings of the server's extensions.
func misspelt(key string) *param {
	if strings.Contains(key, ".") {
		return nil
	}
	var nearest *param
	least := 3
	for _, p := range params {
		if n := edits(strings.ToLower(key), p.name); n < least {
			nearest, least = p, n
		}
	}
	return nearest
}

// edits is the Damerau-Levenshtein distance (of adjacent transpositions): how many letters must be put in, left out,
// replaced or swapped to come from a to b.
func edits(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3 // or more, which is all the same
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
