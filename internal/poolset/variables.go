package poolset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/driver"
	"github.com/fairlead-go/fairlead/internal/misspelt"
)

// Unknown has a sentence for each variable of the environment, which is as os.Environ gives it, that looks like one of ours and
// that nobody reads: neither as one of the Parameters, nor the driver, nor a program that has more.
func Unknown(environ []string, more ...string) []string {
	known := append(driver.Variables(), more...)
	for i := range Parameters {
		known = append(known, Parameters[i].Variable())
	}
	var unknown []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "FAIRLEAD_") || slices.Contains(known, name) {
			continue
		}
		text := fmt.Sprintf("nobody reads the variable %s", name)
		if meant := misspelt.Nearest(name, known); meant != "" {
			text += ": did you mean " + meant + "?"
		}
		unknown = append(unknown, text)
	}
	return unknown
}
