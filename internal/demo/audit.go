package demo

import "fmt"

// Tally is what became of the operations of one contestant.
type Tally struct {
	Acked     int // writes that were acknowledged
	Reads     int // reads that were answered
	Errors    int // operations that failed, reads too, without those in Undecided
	Undecided int // writes whose caller was told that their outcome is unknown (SQLSTATE 08007)

	Lost               int // acknowledged, and not there
	Doubled            int // there more than once
	RefusedButHappened int // there, after an error that says or implies that nothing happened
	Torn               int // transactions of which one half is there and the other is not

	UndecidedHappened int // of Undecided: is there
	FailedHappened    int // after an error that leaves it open: is there
}

// Sound says whether the contestant kept its word in everything it said.
func (t Tally) Sound() bool {
	return t.Lost == 0 && t.Doubled == 0 && t.RefusedButHappened == 0 && t.Torn == 0
}

// Stored is what the tables say after the load.
type Stored struct {
	Rows     map[ID]int  // how often each write is there
	Counters map[int]int // each worker's counter
}

// Audit compares what the callers were told with what is stored. It fails if there is a row that none of them wrote.
func Audit(ops []Op, stored Stored) (Tally, error) {
	var t Tally
	known := make(map[ID]bool, len(ops))
	halves := make(map[int]int)
	for _, op := range ops {
		if op.Outcome == Undecided {
			t.Undecided++
		} else if op.Outcome != Acked {
			t.Errors++
		}
		if !op.Writes() {
			if op.Outcome == Acked {
				t.Reads++
			}
			continue
		}
		known[op.ID] = true
		n := stored.Rows[op.ID]
		if op.Kind == Transaction {
			halves[op.Worker] += n
		}
		t.count(op.Outcome, n)
	}
	for id := range stored.Rows {
		if !known[id] {
			return t, fmt.Errorf("demo: audit: the table has a row of worker %d, write %d, which nobody wrote", id.Worker, id.Seq)
		}
	}
	for worker, n := range stored.Counters {
		t.Torn += distance(n, halves[worker])
		delete(halves, worker)
	}
	for _, n := range halves {
		t.Torn += n
	}
	return t, nil
}

func (t *Tally) count(o Outcome, stored int) {
	if stored > 1 {
		t.Doubled++
	}
	switch {
	case o == Acked:
		t.Acked++
		if stored == 0 {
			t.Lost++
		}
	case stored == 0:
	case o == Refused:
		t.RefusedButHappened++
	case o == Undecided:
		t.UndecidedHappened++
	case o == Failed:
		t.FailedHappened++
	}
}

func distance(a, b int) int {
	if a < b {
		return b - a
	}
	return a - b
}
