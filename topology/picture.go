package topology

import (
	"time"
)

// staleMember is how old Aurora's knowledge of a member may be before the member no longer counts as alive by it.
const staleMember = time.Minute

// picture makes the snapshot of what is known.
func (m *monitor) picture(now time.Time, seen []sighting, v verdict) *Snapshot {
	s := &Snapshot{
		Epoch: m.mem.epoch, Kind: m.c.snap.Load().Kind, SystemID: m.mem.systemID, Timeline: m.mem.reign.timeline,
		Round: m.c.seq.Load(), At: now,
	}
	if m.mem.epoch > 0 {
		s.Reign = m.mem.observed()
	}
	// A silent writer keeps its role until it or another says otherwise.
	writer := ""
	if v.writer >= 0 || !m.split && m.mem.epoch > 0 {
		writer = m.mem.reign.id
	}
	for i := range seen {
		if v.writer < 0 && seen[i].id == writer {
			writer = ""
		}
	}
	done := make(map[string]bool, len(m.targets))
	for _, each := range m.targets {
		if each.answer != nil {
			s.Kind = each.answer.Kind
		}
		id := each.id
		if id == "" {
			if each.seed && m.covered(each) {
				continue
			}
			id = each.ep.String()
		}
		if done[id] {
			continue
		}
		done[id] = true
		t := each
		if best := m.byID(id); best != nil {
			t = best
		}
		in, a := m.instance(id, t, id == writer)
		s.Instances = append(s.Instances, in)
		s.attempts = append(s.attempts, a)
	}
	switch {
	case m.blind:
		s.Kind = KindNone
	case m.c.cfg.Kind != KindAuto:
		s.Kind = m.c.cfg.Kind
	}
	s.refusedSince, s.refusal = refusal(s.attempts)
	return s
}

// instance is what is known of one instance.
func (m *monitor) instance(id string, t *target, writer bool) (Instance, attempt) {
	in := Instance{ID: id, Endpoint: t.ep, Addrs: t.addrs, Lag: -1}
	a := attempt{round: t.attempt, err: t.err, note: t.note}
	for _, other := range m.targets { // a seed may have asked it, later than its own endpoint
		if other.id == id && other != t && other.attempt > a.round && other.err == nil {
			a = attempt{round: other.attempt, note: other.note}
			t = other
		}
	}
	if t.answer != nil {
		in.Boot = t.answer.Boot
		if len(in.Addrs) == 0 && t.answer.Addr.IsValid() {
			in.Addrs = append(in.Addrs, t.answer.Addr)
		}
	}
	word, told := m.told(id)
	switch {
	case writer:
		in.Role, in.Round, in.Boot, in.Lag = Writer, m.proof, m.mem.reign.boot, 0
	case !t.lost && t.answer != nil && t.answer.InRecovery && m.ours(t):
		in.Role, in.Round, in.Lag = Reader, t.answered, t.answer.Lag
		if told && m.wordOf > in.Round && t.doubt < in.Round {
			in.Round = m.wordOf
		}
	case !t.lost && t.answer == nil && told && !word.IsWriter && t.doubt == 0 && word.LastUpdate < staleMember:
		in.Role, in.Round = Reader, m.wordOf
	}
	if in.Role == Reader && told && word.Lag >= 0 {
		in.Lag = word.Lag
	}
	return in, a
}

// ours tells whether an instance belongs to the same database system as the cluster's first writer.
func (m *monitor) ours(t *target) bool {
	return t.answer.SystemID == "" || m.mem.systemID == "" || t.answer.SystemID == m.mem.systemID
}

func (m *monitor) told(id string) (Member, bool) {
	for _, w := range m.word {
		if w.ID == id {
			return w, true
		}
	}
	return Member{}, false
}

// refusal returns an error if every instance that can be reached refuses the login, and the number of the oldest such attempt.
func refusal(attempts []attempt) (uint64, error) {
	var first error
	var since uint64
	for _, a := range attempts {
		switch {
		case a.round == 0, a.err == nil:
			return 0, nil
		case isRefused(a.err):
			if first == nil || a.round < since {
				first, since = a.err, a.round
			}
		}
	}
	return since, first
}

// publish makes a snapshot the current one and tells those whom it concerns.
func (m *monitor) publish(s *Snapshot, f *Failover, fresh, proven bool) {
	old := m.c.snap.Load()
	changed := !old.same(s)
	if !changed && !fresh {
		return
	}
	m.c.snap.Store(s)
	m.c.broadcast(proven || changed || s.refusal != nil)
	if changed {
		if m.c.cfg.OnChange != nil {
			m.c.cfg.OnChange(old, s)
		}
	}
	if f != nil {
		f.New, _ = s.Writer()
		m.c.metrics.failover(*f)
		m.log.Info("writer is now another", "writer", f.New.ID, "was", f.Old.ID, "epoch", f.Epoch,
			"took", f.Detect+f.Find, "detect", f.Detect, "find", f.Find)
		if m.c.cfg.OnFailover != nil {
			m.c.cfg.OnFailover(*f)
		}
	}
}
