// Package misspelt finds the name that somebody has probably meant.
package misspelt

import "strings"

// near is how many edits a misspelt name is away from the right one, at most.
const near = 2

// Nearest returns the name that word is within two edits of, whatever its case, the nearest if there are several, or "".
func Nearest(word string, names []string) string {
	word = strings.ToLower(word)
	nearest, least := "", near+1
	for _, name := range names {
		if n := edits(word, strings.ToLower(name)); n < least {
			nearest, least = name, n
		}
	}
	return nearest
}

// edits is the Damerau-Levenshtein distance (of adjacent transpositions): how many letters must be put in, left out,
// replaced or swapped to come from a to b.
func edits(a, b string) int {
	if d := len(a) - len(b); d > near || d < -near {
		return near + 1 // or more, which is all the same
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
