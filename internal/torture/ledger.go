package torture

// unitID tells the units of a round apart. It is stored in every row that the unit writes.
type unitID struct {
	worker int
	seq    int
}

// unit is a piece of work that happens as a whole or not at all.
type unit struct {
	unitID
	op      string
	client  string
	rows    int  // how many it leaves, numbered from 0, if it is committed
	never   bool // it is rolled back
	ended   bool
	outcome Outcome
	told    string // the error

	expected bool // that error
	fault    int  // how many faults there had been when it ended
}

// ledger is what one worker's units were told in a round. The worker owns it while the round lasts.
type ledger struct {
	units    []*unit
	problems []Problem
}

// Problem is something that must not happen.
type Problem struct {
	Kind   string // lost, doubled, refused but happened, torn, other
	Client string
	Op     string
	Text   string
}

func (l *ledger) problem(u *unit, kind, text string) {
	l.problems = append(l.problems, Problem{Kind: kind, Client: u.client, Op: u.op, Text: text})
}

// The kinds of problems.
const (
	kindLost    = "lost"
	kindDoubled = "doubled"
	kindRefused = "refused but happened"
	kindTorn    = "torn"
	kindOther   = "other"
)
