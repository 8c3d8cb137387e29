package misspelt

import "testing"

func TestTheNearestNameIsFound(t *testing.T) {
	names := []string{"pool_size", "pool_mode", "min_pool_size", "listen"}
	for word, want := range map[string]string{
		"pool_size": "pool_size", "poolsize": "pool_size", "POOL_SISE": "pool_size", "pool_moed": "pool_mode", "lisetn": "listen",
		"pool": "", "": "", "application_name": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"abc", "xbz", 2}, {"abcd", "badc", 2}, {"abc", "xyz", 3}, {"a", "abcd", 3}, {"", "ab", 2}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
