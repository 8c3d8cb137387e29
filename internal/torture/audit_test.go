package torture

import "testing"

func TestJudgeComparesWhatWasToldWithWhatIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		unit unit
		rows map[int]int
		want string
	}{
		"acknowledged and there":         {unit{rows: 2, outcome: Acked}, map[int]int{0: 1, 1: 1}, ""},
		"acknowledged and not there":     {unit{rows: 2, outcome: Acked}, nil, kindLost},
		"refused and not there":          {unit{rows: 2, outcome: Refused}, nil, ""},
		"refused and there":              {unit{rows: 1, outcome: Refused}, map[int]int{0: 1}, kindRefused},
		"rolled back and there":          {unit{never: true, outcome: Acked}, map[int]int{0: 1}, kindRefused},
		"undecided and there":            {unit{rows: 1, outcome: Undecided}, map[int]int{0: 1}, ""},
		"undecided and not there":        {unit{rows: 1, outcome: Undecided}, nil, ""},
		"undecided and there twice":      {unit{rows: 1, outcome: Undecided}, map[int]int{0: 2}, kindDoubled},
		"half of it":                     {unit{rows: 2, outcome: Undecided}, map[int]int{1: 1}, kindTorn},
		"what a savepoint has taken out": {unit{rows: 2, outcome: Acked}, map[int]int{0: 1, 1: 1, 9: 1}, kindTorn},
	} {
		got := ""
		for _, p := range judge(&c.unit, c.rows) {
			got += p.Kind
		}
		if got != c.want {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}
