package demo

import (
	"strings"
	"testing"
	"time"
)

func TestAuditFindsWhatWasPromisedAndNotKept(t *testing.T) {
	op := func(seq int, kind Kind, o Outcome) Op { return Op{ID: ID{Worker: 0, Seq: seq}, Kind: kind, Outcome: o} }
	for _, c := range []struct {
		name   string
		ops    []Op
		stored Stored
		want   Tally
	}{
		{"all is well", []Op{op(0, Autocommit, Acked), op(1, Read, Acked)},
			Stored{Rows: map[ID]int{{0, 0}: 1}}, Tally{Acked: 1, Reads: 1}},
		{"lost", []Op{op(0, Autocommit, Acked)}, Stored{}, Tally{Acked: 1, Lost: 1}},
		{"doubled", []Op{op(0, Simple, Acked)}, Stored{Rows: map[ID]int{{0, 0}: 2}}, Tally{Acked: 1, Doubled: 1}},
		{"refused, and happened", []Op{op(0, Autocommit, Refused)},
			Stored{Rows: map[ID]int{{0, 0}: 1}}, Tally{Errors: 1, RefusedButHappened: 1}},
		{"undecided, and happened", []Op{op(0, Autocommit, Undecided)},
			Stored{Rows: map[ID]int{{0, 0}: 1}}, Tally{Undecided: 1, UndecidedHappened: 1}},
		{"left open, and happened", []Op{op(0, Autocommit, Failed)},
			Stored{Rows: map[ID]int{{0, 0}: 1}}, Tally{Errors: 1, FailedHappened: 1}},
		{"torn", []Op{op(0, Transaction, Acked)},
			Stored{Rows: map[ID]int{{0, 0}: 1}, Counters: map[int]int{0: 0}}, Tally{Acked: 1, Torn: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Audit(c.ops, c.stored)
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if sound := c.want.Lost+c.want.Doubled+c.want.RefusedButHappened+c.want.Torn == 0; got.Sound() != sound {
				t.Errorf("sound: %v, want %v", got.Sound(), sound)
			}
		})
	}
	if _, err := Audit(nil, Stored{Rows: map[ID]int{{3, 4}: 1}}); err == nil || !strings.Contains(err.Error(), "nobody wrote") {
		t.Errorf("a row that nobody wrote: %v", err)
	}
}

func TestAnOutageIsTheLongestTimeWithoutAWrite(t *testing.T) {
	ms := time.Millisecond
	write := func(worker int, begin, end time.Duration) Op {
		return Op{ID: ID{Worker: worker}, Kind: Autocommit, Outcome: Acked, End: end, Took: end - begin}
	}
	ops := []Op{
		write(0, 0, 10*ms), write(1, 0, 20*ms), write(0, 20*ms, 30*ms), write(1, 30*ms, 40*ms),
		// The failure is at 45 ms and complete at 50 ms; this one was still done by the old writer.
		write(0, 46*ms, 49*ms),
		write(1, 48*ms, 349*ms), write(0, 349*ms, 359*ms), write(1, 360*ms, 370*ms), write(0, 370*ms, 380*ms),
	}
	f := Failure{At: 45 * ms, Gone: 50 * ms}
	got := measureOutage(ops, 2, 0, f, 400*ms)
	if got.None != 290*ms || got.From != 49*ms || got.To != 349*ms || !got.Over {
		t.Errorf("%+v", got)
	}
	if got.AllBack != 370*ms-45*ms {
		t.Errorf("all are back after %v", got.AllBack)
	}
	if got := measureOutage(ops[:5], 2, 0, f, 400*ms); got.Over || got.AllBack != 0 {
		t.Errorf("of those who never come back: %+v", got)
	}
}
