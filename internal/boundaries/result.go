package boundaries

import (
	"fmt"
	"slices"

	"github.com/fairlead-go/fairlead/driver"
)

// Result is what one mode has come to.
type Result struct {
	Mode     driver.CommitResolution
	Runs     int
	Accounts []Account
	Problems []Problem
}

// Account is of one unit through one client.
type Account struct {
	Group, Unit, Client string
	Messages            []Message
	Places              []Place // in their order, the client's messages first
}

// Place is what came of cuts at one point.
type Place struct {
	point
	Verdicts []string // sorted, without repetition
}

func (p *Place) add(verdict string) {
	if !slices.Contains(p.Verdicts, verdict) {
		p.Verdicts = append(p.Verdicts, verdict)
		slices.Sort(p.Verdicts)
	}
}

// Problem is something that must not happen.
type Problem struct{ Unit, Client, Cut, Text string }

func (p Problem) String() string {
	return fmt.Sprintf("%s through %s, cut %s: %s", p.Unit, titles[p.Client], p.Cut, p.Text)
}
