package main

import (
	"cmp"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// flagName is a flag as it may be shown: one that is mistyped helps, and anything else may be a DSN.
var flagName = regexp.MustCompile(`^--?[a-z][a-z-]{0,30}$`)

// hide takes from an error of the command line's parser what was given on it, and in variables: anything but the names of flags and commands may have a
// password in it.
func hide(err error, args, commands []string) string {
	var given []string
	add := func(s string) {
		if s != "" {
			given = append(given, s)
			if q := strconv.Quote(s); q != `"`+s+`"` {
				given = append(given, q[1:len(q)-1])
			}
		}
	}
	for _, arg := range args {
		name, value, assigned := strings.Cut(arg, "=")
		add(value)
		switch {
		case flagName.MatchString(name) && (assigned || !strings.Contains(arg, "=")), slices.Contains(commands, arg):
		default:
			add(arg)
			add(name)
			add(strings.TrimLeft(name, "-"))
		}
	}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "FAIRLEAD_") {
			add(value)
		}
	}
	slices.SortFunc(given, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	text := err.Error()
	for _, s := range given {
		if len(s) >= 4 {
			text = strings.ReplaceAll(text, s, "…")
			continue
		}
		whole := regexp.MustCompile(`(^|[\s"'(=])` + regexp.QuoteMeta(s) + `($|[\s"'):,;])`)
		text = whole.ReplaceAllString(text, "$1…$2")
	}
	return text
}
