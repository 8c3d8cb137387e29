package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Status is how a check has ended.
type Status string

// The ways in which a check can end.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, and could be better
	Failed  Status = "failed"
	Skipped Status = "skipped" // it does not apply, or what it needs has failed
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`            // what was seen
	Remedy string `json:"remedy,omitempty"` // what mends it: a command, a setting, a policy
}

// Report is all that was looked at, in order.
type Report struct {
	DSN    string  `json:"dsn"` // without the password
	Checks []Check `json:"checks"`
}

// Healthy reports whether nothing has failed.
func (r *Report) Healthy() bool {
	for _, c := range r.Checks {
		if c.Status == Failed {
			return false
		}
	}
	return true
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.DSN)
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-8s %-12s %s\n", c.Status, c.Name, c.Found)
		if c.Remedy != "" {
			for _, line := range strings.Split(c.Remedy, "\n") {
				fmt.Fprintf(&b, "%21s > %s\n", "", line)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// PrintJSON writes the report for programs.
func (r *Report) PrintJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Healthy bool `json:"healthy"`
		*Report
	}{r.Healthy(), r})
}
