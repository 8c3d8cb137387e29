package demo

import "time"

// BinWidth is the resolution of a Timeline.
const BinWidth = 10 * time.Millisecond

// Timeline is what one contestant did around a failure, in bins of BinWidth.
type Timeline struct {
	Start time.Duration // of the first bin, relative to the failure; negative
	Bins  []Bin
}

// Bin is what ended in one bin of time.
type Bin struct {
	Writes  int           // successful ones
	Errors  int           // operations that failed, or ended undecided
	Slowest time.Duration // of the successful operations
}

// timeline sorts what ended between from and to into bins.
func timeline(ops []Op, from, at, to time.Duration) Timeline {
	before := (at - from + BinWidth - 1) / BinWidth
	first := at - before*BinWidth
	t := Timeline{Start: -before * BinWidth, Bins: make([]Bin, (to-first+BinWidth-1)/BinWidth)}
	for _, op := range ops {
		if op.End < first {
			continue
		}
		i := int((op.End - first) / BinWidth)
		if i >= len(t.Bins) {
			continue
		}
		b := &t.Bins[i]
		switch {
		case op.Outcome != Acked:
			b.Errors++
			continue
		case op.Writes():
			b.Writes++
		}
		b.Slowest = max(b.Slowest, op.Took)
	}
	return t
}

// At is the middle of bin i, relative to the failure.
func (t Timeline) At(i int) time.Duration {
	return t.Start + time.Duration(i)*BinWidth + BinWidth/2
}
