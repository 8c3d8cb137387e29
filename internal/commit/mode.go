package commit

import "fmt"

// Mode is what a commit is made decidable by.
type Mode uint8

// The modes.
const (
	Off    Mode = iota // by nothing: a commit whose answer was lost is undecided
	Marker             // by a row that the transaction itself writes
	LSN                // by the transaction's id and a position in the WAL
)

// String returns "off", "marker" or "lsn".
func (m Mode) String() string {
	switch m {
	case Marker:
		return "marker"
	case LSN:
		return "lsn"
	}
	return "off"
}

// Setting is a value of the parameter commit_resolution.
type Setting string

// The settings.
const (
	SettingAuto   Setting = "auto"   // the best that the server and the role allow
	SettingMarker Setting = "marker" // Marker, or no connection
	SettingLSN    Setting = "lsn"    // LSN, or no connection
	SettingOff    Setting = "off"    // Off
)

// ParseSetting reads a setting; "" is auto.
func ParseSetting(s string) (Setting, error) {
	switch v := Setting(s); v {
	case "":
		return SettingAuto, nil
	case SettingAuto, SettingMarker, SettingLSN, SettingOff:
		return v, nil
	}
	return "", fmt.Errorf("commit: unknown setting %q: auto, marker, lsn and off are known", s)
}

// Outcome is what became of a commit.
type Outcome uint8

// The outcomes.
const (
	Unknown   Outcome = iota // it cannot be decided
	Committed                // it happened, and is as durable as the client asked for
	Aborted                  // it did not happen, and cannot any more
)

// String returns "unknown", "committed" or "aborted".
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Aborted:
		return "aborted"
	}
	return "unknown"
}
