package demo

import (
	"sync/atomic"
	"time"
)

// Observer is told how a run goes on. Its methods are called one at a time, and hold up the run.
type Observer interface {
	// Step is called with a sentence when something has been done to the cluster or is about to be.
	Step(text string)
	// Sample is called every SampleInterval while the load runs.
	Sample(Sample)
}

// SampleInterval is the time between two samples.
const SampleInterval = 250 * time.Millisecond

// Sample is how the contestants fare at one moment.
type Sample struct {
	At          time.Duration // since the load began
	Contestants []Standing
}

// Standing is how one contestant fares.
type Standing struct {
	Name      string
	Writes    int           // successful ones so far
	Errors    int           // failed operations so far
	Undecided int           // operations that ended undecided so far
	Silent    time.Duration // since the last successful write
}

// Discard is an Observer that does nothing.
var Discard Observer = discard{}

type discard struct{}

func (discard) Step(string)   {}
func (discard) Sample(Sample) {}

// meter is what the workers of a contestant share while the load runs.
type meter struct {
	writes, errors, undecided atomic.Int64
	last                      []atomic.Int64 // for each worker: begin of its last successful write, since the load began
	latest                    atomic.Int64   // end of the last successful write of any, since the load began
}

func (m *meter) init(workers int) { m.last = make([]atomic.Int64, workers) }

func (m *meter) note(op Op) {
	switch op.Outcome {
	case Acked:
		if op.Writes() {
			m.writes.Add(1)
			m.last[op.Worker].Store(int64(op.End - op.Took))
			m.latest.Store(int64(op.End))
		}
	case Undecided:
		m.undecided.Add(1)
	default:
		m.errors.Add(1)
	}
}

func (m *meter) standing(name string, now time.Duration) Standing {
	return Standing{
		Name:      name,
		Writes:    int(m.writes.Load()),
		Errors:    int(m.errors.Load()),
		Undecided: int(m.undecided.Load()),
		Silent:    max(now-time.Duration(m.latest.Load()), 0),
	}
}

// back says whether each worker has had a write that began after the given time, and succeeded.
func (m *meter) back(after time.Duration) bool {
	for i := range m.last {
		if time.Duration(m.last[i].Load()) < after {
			return false
		}
	}
	return true
}
