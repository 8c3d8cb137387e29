package demo

import (
	"slices"
	"time"
)

// Outage is what one failure was to one contestant.
type Outage struct {
	// None is the longest time without a successful write that began or went on after the failure, less the time between
	// two writes that is usual before it.
	None time.Duration
	// From and To bound that time, since the load began.
	From, To time.Duration
	// AllBack is the time from the failure until each worker had a successful write that began after it; zero if one
	// never had.
	AllBack time.Duration
	// Over is false if there was still no write when the load, or the time that belongs to this failure, ended: the outage
	// was at least this long.
	Over bool
}

// measureOutage looks at the writes between the time from, before the failure, and to, where the next one is or the load
// ends.
func measureOutage(ops []Op, workers int, from time.Duration, f Failure, to time.Duration) Outage {
	at := f.At
	ends, back := successes(ops, from, f.Gone, to)
	out := Outage{From: at, To: to}
	var usual []time.Duration
	last, longest := from, time.Duration(-1)
	note := func(end time.Duration, over bool) {
		if gap := end - last; gap > longest {
			longest = gap
			out.From, out.To, out.Over = last, end, over
		}
	}
	for _, end := range ends {
		if end <= at {
			usual = append(usual, end-last)
		} else {
			note(end, true)
		}
		last = end
	}
	note(to, false)
	out.None = max(longest-median(usual), 0)
	if len(back) == workers {
		for _, end := range back {
			out.AllBack = max(out.AllBack, end-at)
		}
	}
	return out
}

// successes are the ends of the successful writes in order, and for each worker the end of its first one that began
// after the failure.
func successes(ops []Op, from, gone, to time.Duration) (ends []time.Duration, back map[int]time.Duration) {
	back = make(map[int]time.Duration)
	for _, op := range ops {
		if !op.Writes() || op.Outcome != Acked || op.End < from || op.End > to {
			continue
		}
		ends = append(ends, op.End)
		if op.End-op.Took < gone {
			continue
		}
		if first, ok := back[op.Worker]; !ok || op.End < first {
			back[op.Worker] = op.End
		}
	}
	slices.Sort(ends)
	return ends, back
}

// Latency is the distribution of the times that successful operations took.
type Latency struct {
	P50, P99, Max time.Duration
}

func measureLatency(ops []Op) Latency {
	var took []time.Duration
	for _, op := range ops {
		if op.Outcome == Acked {
			took = append(took, op.Took)
		}
	}
	slices.Sort(took)
	return Latency{P50: quantile(took, 0.50), P99: quantile(took, 0.99), Max: quantile(took, 1)}
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return quantile(d, 0.5)
}

// quantile wants its values sorted. It gives the smallest one that a share of q of all are not above.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	n := int(q * float64(len(sorted)))
	if float64(n) < q*float64(len(sorted)) {
		n++
	}
	return sorted[min(max(n, 1), len(sorted))-1]
}
