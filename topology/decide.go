package topology

import "fmt"

// memory is what earlier decisions left behind. Only the monitor touches it.
type memory struct {
	epoch    uint64
	reign    reign             // of the current epoch
	past     map[string]string // the boot with which an instance's last reign ended, by ID
	systemID string
	top      uint32 // the highest timeline that a writer proved
	// gap says that nobody has watched since the writer was last proven: the monitor was stopped.
	gap bool
}

// reign is one run of one server as the writer.
type reign struct {
	id, boot string
	timeline uint32
	since    uint64 // number of the probe that first proved it
	start    start
}

// sighting is an instance's own latest answer, fresh enough to count in the round that is being decided.
type sighting struct {
	id     string
	report Report
	round  uint64
	// asReader is the number of the latest probe to which the instance answered that it is a reader; 0: never.
	asReader uint64
	// readerBoot is the instance's boot in that answer.
	readerBoot string
}

// claims tells whether the instance says of itself that it is the writer.
func (s *sighting) claims() bool {
	return !s.report.InRecovery && (s.report.Kind != KindAurora || s.report.WriterID == s.id)
}

// verdict is what a round decides.
type verdict struct {
	writer   int            // index of the sighting that is the writer; -1: none
	newEpoch bool           // it begins a reign
	split    bool           // two claims and no way to tell: no writer
	notes    map[int]string // why an answer was not taken at its word, by sighting
}

// decide finds the writer among the answers of one round. It changes nothing. Settled says that the writer of the current epoch
// has answered in this round too, or failed to: until then, only who is certainly newer can take its place.
func decide(m *memory, seen []sighting, settled bool) verdict {
	v := verdict{writer: -1, notes: make(map[int]string)}
	systemID := m.systemID
	var claims []int
	for i := range seen {
		s := &seen[i]
		if id := s.report.SystemID; id != "" {
			if systemID == "" {
				systemID = id
			} else if id != systemID {
				v.notes[i] = fmt.Sprintf("belongs to another database system (%s, not %s)", id, systemID)
				continue
			}
		}
		switch {
		case s.report.InRecovery:
			v.notes[i] = "in recovery"
		case !s.claims():
			v.notes[i] = fmt.Sprintf("names %q as the writer", s.report.WriterID)
		case m.ended(s):
			v.notes[i] = "an old writer, superseded and not restarted since"
		case s.report.Timeline != 0 && s.report.Timeline < m.top:
			v.notes[i] = fmt.Sprintf("an old writer, on timeline %d when the cluster is on %d", s.report.Timeline, m.top)
		case !settled && m.epoch > 0 && s.id != m.reign.id && !m.newer(s):
			v.notes[i] = "claims to be the writer, but " + m.reign.id + " has not been heard yet"
		default:
			claims = append(claims, i)
		}
	}
	for _, i := range claims {
		if v.writer < 0 {
			v.writer = i
			continue
		}
		switch better, ok := m.prefer(seen, v.writer, i); {
		case !ok:
			v.split = true
		case better == i:
			v.notes[v.writer] = lost(seen, v.writer, i)
			v.writer = i
		default:
			v.notes[i] = lost(seen, i, v.writer)
		}
	}
	if v.split {
		// One of several may have lost to another before the tie was found: none of them is trusted.
		for _, i := range claims {
			v.notes[i] = "claims to be the writer, and so does another on the same timeline"
		}
		v.writer = -1
	}
	if v.writer >= 0 {
		v.newEpoch = !m.current(&seen[v.writer])
	}
	return v
}

// prefer decides between two claims; false when there is no way to tell.
func (m *memory) prefer(seen []sighting, a, b int) (int, bool) {
	x, y := &seen[a], &seen[b]
	if x.report.Boot != "" && x.report.Boot == y.report.Boot && x.report.SystemID == y.report.SystemID {
		// The same server under two names. The incumbent's name goes on, else the first.
		if m.current(y) {
			return b, true
		}
		return a, true
	}
	if tx, ty := x.report.Timeline, y.report.Timeline; tx != 0 && ty != 0 {
		switch {
		case tx > ty:
			return a, true
		case ty > tx:
			return b, true
		default:
			return 0, false
		}
	}
	// An instance that was a reader while the other was already the writer became the writer later.
	switch {
	case m.current(x) && m.newer(y):
		return b, true
	case m.current(y) && m.newer(x):
		return a, true
	}
	votes := 0
	for i := range seen {
		if i == a || i == b {
			continue
		}
		switch seen[i].report.WriterID {
		case "":
		case x.id:
			votes++
		case y.id:
			votes--
		}
	}
	switch {
	case votes > 0:
		return a, true
	case votes < 0:
		return b, true
	case x.report.Kind == KindAurora && m.current(x):
		return a, true
	case y.report.Kind == KindAurora && m.current(y):
		return b, true
	}
	return 0, false
}

// newer tells whether a claim is certainly younger than the current reign, whatever the writer of that would say.
func (m *memory) newer(s *sighting) bool {
	if s.report.Timeline != 0 && m.reign.timeline != 0 {
		return s.report.Timeline > m.reign.timeline
	}
	return s.asReader > m.reign.since
}

// current tells whether an answer comes from the reign of the current epoch.
func (m *memory) current(s *sighting) bool {
	return m.epoch > 0 && s.id == m.reign.id && s.report.Boot == m.reign.boot
}

// ended tells whether an answer comes from a reign that another has followed.
func (m *memory) ended(s *sighting) bool {
	boot, was := m.past[s.id]
	return was && boot != "" && boot == s.report.Boot && !m.current(s)
}

// learn takes a verdict into the memory.
func (m *memory) learn(v verdict, seen []sighting) {
	if v.writer < 0 {
		return
	}
	w := &seen[v.writer]
	if m.systemID == "" {
		m.systemID = w.report.SystemID
	}
	if v.newEpoch {
		if m.past == nil {
			m.past = make(map[string]string)
		}
		if m.epoch > 0 {
			m.past[m.reign.id] = m.reign.boot
		}
		m.epoch++
		old := m.reign
		m.reign = reign{id: w.id, boot: w.report.Boot, since: w.round}
		if m.epoch > 1 && !m.gap {
			m.reign.start = startOf(&old, w)
		}
	}
	m.gap = false
	m.reign.timeline = w.report.Timeline
	m.reign.start.hear(w)
	m.top = max(m.top, w.report.Timeline)
}

func lost(seen []sighting, loser, winner int) string {
	if seen[loser].report.Boot != "" && seen[loser].report.Boot == seen[winner].report.Boot {
		return "the same server as " + seen[winner].id
	}
	return "an old writer, superseded by " + seen[winner].id
}
