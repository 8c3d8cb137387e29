package topology

import "strings"

// Origin says how a reign began, as far as this process saw it.
type Origin uint8

// The origins.
const (
	// OriginUnknown: the first reign that was seen, or one whose beginning was not seen well enough.
	OriginUnknown Origin = iota
	// OriginPromoted: the writer was seen as a replica in the same boot, so its recovery ended where its history left that
	// of the writer before it.
	OriginPromoted
	// OriginRecovered: the same instance came back on the same timeline, by one recovery from a crash.
	OriginRecovered
	// OriginRestarted: the same instance came back on the same timeline without a recovery: nothing of its WAL was lost.
	OriginRestarted
)

// String returns "unknown", "promoted", "recovered" or "restarted".
func (o Origin) String() string {
	switch o {
	case OriginPromoted:
		return "promoted"
	case OriginRecovered:
		return "recovered"
	case OriginRestarted:
		return "restarted"
	}
	return "unknown"
}

// Reign is what this process observed of the current epoch's writer and of how it became the writer, for judging what was
// sent to the writer before it. All of it was learnt from probes; what happened between two probes and left no trace in the
// second is not in it: a server that crashed twice between them looks like one that crashed once.
type Reign struct {
	SystemID string
	Timeline uint32 // 0: unknown
	Boot     string // of the writer, as in [Instance]
	Origin   Origin
	Before   string // the boot of the writer before it; "" if Origin is unknown
	End      uint64 // where the recovery ended, as a position in the WAL; 0 unless promoted or recovered
}

// start is what is known of the start of a reign.
type start struct {
	before   string // the boot of the reign before; "": it was not watched to its end
	promoted bool   // seen as a replica in the same boot
	returned bool   // the same instance as before, on the same timeline
	ended    recoveryMark
	// The mark of the reign before: a boot can seem to have changed though the server never stopped, when somebody resets its
	// statistics. Then the mark is the same.
	last recoveryMark
}

// recoveryMark is where a run's recovery ended.
type recoveryMark struct {
	lsn   uint64 // 0: there was none
	known bool
}

// startOf is the start of the reign that follows old, by the answer that proves it.
func startOf(old *reign, w *sighting) start {
	return start{
		before:   old.boot,
		promoted: w.readerBoot != "" && w.readerBoot == w.report.Boot,
		returned: w.id == old.id && w.report.Timeline != 0 && w.report.Timeline == old.timeline,
		last:     old.start.ended,
	}
}

// hear takes what the writer says of its recovery. It says the same as long as it runs, but not every login may be told.
func (s *start) hear(w *sighting) {
	if !s.ended.known && w.report.RecoveryEndKnown {
		s.ended = recoveryMark{lsn: w.report.RecoveryEnd, known: true}
	}
}

// observed is what is known of the current reign.
func (m *memory) observed() Reign {
	r := Reign{SystemID: m.systemID, Timeline: m.reign.timeline, Boot: m.reign.boot}
	s := &m.reign.start
	switch {
	case !wholeBoot(r.Boot) || !wholeBoot(s.before) || !s.ended.known:
		return r
	case s.promoted && s.ended.lsn != 0:
		r.Origin, r.End = OriginPromoted, s.ended.lsn
	case s.promoted || !s.returned || !s.last.known:
		return r
	case s.ended.lsn == 0 || s.ended.lsn == s.last.lsn:
		r.Origin = OriginRestarted
	default:
		r.Origin, r.End = OriginRecovered, s.ended.lsn
	}
	r.Before = s.before
	return r
}

// wholeBoot tells whether both parts of a boot are known: by the first alone, a recovery from the crash of a server process
// cannot be seen.
func wholeBoot(boot string) bool {
	started, reset, ok := strings.Cut(boot, ".")
	return ok && started != "" && reset != ""
}
