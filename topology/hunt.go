package topology

import (
	"errors"
	"time"
)

// hunt is a search for the writer.
type hunt struct {
	on     bool
	quiet  bool      // nobody has said that the writer failed: the first search, an unanswered check
	since  time.Time // of the first suspicion
	ticket uint64    // a proof must have a higher number
	need   uint64    // somebody waits for a proof with a higher number than this
	cause  error
	epoch  uint64    // when it began
	wideAt time.Time // when all instances are asked; until then, only the writer
	lost   time.Time // when it became certain that the old writer does not answer, or is none any more
}

// begin starts a hunt, or makes the one that is on as demanding as the new one would be.
func (m *monitor) begin(h hunt) {
	now := time.Now()
	if m.hunt.on {
		m.hunt.ticket = max(m.hunt.ticket, h.ticket)
		m.hunt.quiet = m.hunt.quiet && h.quiet
		if h.wideAt.Before(m.hunt.wideAt) {
			m.hunt.wideAt = h.wideAt
		}
		if m.hunt.cause == nil {
			m.hunt.cause = h.cause
		}
	} else {
		m.hunt = h
		m.hunt.on, m.hunt.epoch = true, m.mem.epoch
		m.c.suspicious.Store(true)
		m.resolveAt = now.Add(resolvePause)
		if w := m.writer(); w != nil {
			m.setMode(w, modeHunt)
			w.asker.ask()
		} else {
			m.hunt.wideAt = now
		}
	}
	m.floor = max(m.floor, m.hunt.ticket)
}

// end stops the hunt once the writer is proven. What was opened for it lingers for a while.
func (m *monitor) end(now time.Time) {
	if h := m.hunt; !h.lost.IsZero() && h.epoch == m.mem.epoch {
		m.log.Info("writer is back, as it was", "writer", m.mem.reign.id, "epoch", m.mem.epoch, "took", now.Sub(h.since))
	}
	m.hunt = hunt{}
	m.c.suspicious.Store(false)
	m.settle(now)
}

// settle gives every asker the mode it has while nothing happens.
func (m *monitor) settle(now time.Time) {
	w := m.writer()
	for _, t := range m.targets {
		switch {
		case t == w:
			m.setMode(t, modeKeep)
		case t.mode == modeHunt || t.mode == modeKeep:
			t.lingerUntil = now.Add(linger)
			m.setMode(t, modeLinger)
		}
	}
}

// observe takes the end of an attempt into account.
func (m *monitor) observe(o observation) {
	var t *target
	for _, x := range m.targets {
		if x.asker == o.asker {
			t = x
		}
	}
	if t == nil {
		return // removed meanwhile
	}
	now := o.at
	t.attempt, t.err, t.lost = o.round, o.err, o.err != nil && !isAlive(o.err)
	if o.round > t.checkOf {
		t.checkAt = time.Time{}
	}
	if m.blind {
		return
	}
	if o.err == nil {
		m.hear(t, &o)
	} else {
		m.miss(t, &o)
	}
	m.evaluate(now, true)
}

// hear takes an answer.
func (m *monitor) hear(t *target, o *observation) {
	t.answer, t.answered, t.heardAt = &o.report, o.round, o.at
	t.note, t.retryPause = "", 0
	if o.report.InRecovery {
		t.asReader, t.asBoot = o.round, o.report.Boot
	}
	if o.report.Kind == KindNone {
		m.log.Info("the server cannot be asked what it is: the seeds are taken in order", "server", t.ep.String())
		m.blind, m.hunt = true, hunt{}
		for _, t := range m.targets {
			m.setMode(t, modeIdle)
		}
	}
	switch {
	case o.report.ID != "" && o.report.Kind == KindAurora:
		t.id = o.report.ID
	default:
		t.id = t.ep.String()
	}
}

// miss takes a failure. A writer that does not answer is hunted, whoever asked; others are asked again, ever more seldom.
func (m *monitor) miss(t *target, o *observation) {
	if t.retryPause == 0 {
		t.retryPause = time.Second
		t.retryAt = o.at.Add(t.retryPause)
	}
	if o.round <= m.called && isRefused(o.err) {
		t.asker.ask()
	}
	if t != m.writer() {
		return
	}
	if !m.hunt.on {
		m.begin(hunt{since: o.at, ticket: m.c.seq.Load(), cause: o.err})
		return
	}
	m.hunt.quiet = false
	m.hunt.wideAt = o.at
	if o.round > m.hunt.ticket && !o.stale && t.lost {
		m.gone(o.at, o.err)
	}
}

// gone notes that the old writer certainly does not serve any more.
func (m *monitor) gone(now time.Time, err error) {
	if !m.hunt.on || !m.hunt.lost.IsZero() || m.mem.epoch == 0 {
		return
	}
	m.hunt.lost = now
	if err == nil {
		err = errors.New("it is not the writer any more")
	}
	m.log.Info("failover began", "writer", m.mem.reign.id, "epoch", m.mem.epoch, "error", err,
		"suspicion", m.hunt.cause, "since", now.Sub(m.hunt.since))
}

// evaluate decides on what has been seen, and publishes what follows. Fresh says that an attempt has ended.
func (m *monitor) evaluate(now time.Time, fresh bool) {
	if m.blind {
		m.publish(m.picture(now, nil, verdict{writer: -1}), nil, fresh, true)
		return
	}
	var seen []sighting
	var by []*target
	for _, t := range m.targets {
		if t.err != nil || t.answer == nil || t.answered <= m.floor {
			continue
		}
		s := sighting{id: t.id, report: *t.answer, round: t.answered, asReader: t.asReader, readerBoot: t.asBoot}
		dup := false
		for i := range seen {
			if seen[i].id == s.id {
				dup = true
				if s.round > seen[i].round {
					seen[i], by[i] = s, t
				}
			}
		}
		if !dup {
			seen, by = append(seen, s), append(by, t)
		}
	}
	old, oldProof := m.mem.reign, m.proof
	w := m.writer()
	v := decide(m.mem, seen, w == nil || w.attempt > m.floor)
	for i, t := range by {
		t.note = v.notes[i]
	}
	m.mem.learn(v, seen)
	if v.split && !m.split {
		m.log.Warn("two instances claim to be the writer on the same timeline; neither is used", "notes", v.notes)
	}
	m.split = v.split
	if v.writer >= 0 {
		m.proof = seen[v.writer].round
	}
	m.hearOfMembers(seen, v)
	var f *Failover
	if v.newEpoch && m.mem.epoch > 1 {
		f = m.failover(old, now)
	} else if v.writer < 0 {
		for i := range seen {
			if seen[i].id == m.mem.reign.id {
				if !m.hunt.on {
					m.begin(hunt{since: now, ticket: m.floor})
				}
				m.gone(now, nil)
			}
		}
	}
	m.publish(m.picture(now, seen, v), f, fresh, m.proof != oldProof)
	m.warnOfDetour()
	if m.hunt.on && v.writer >= 0 && m.proof > max(m.hunt.ticket, m.hunt.need) {
		m.end(now)
	} else if v.newEpoch && !m.hunt.on {
		m.settle(now)
	}
}

// warnOfDetour tells when the writer cannot be reached at its own endpoint, but at a seed, as behind a tunnel.
func (m *monitor) warnOfDetour() {
	w := m.writer()
	if w == nil || !w.seed {
		m.detour = m.detour && w == nil
		return
	}
	for _, t := range m.targets {
		if t.id == w.id && !t.seed && t.err != nil && !m.detour {
			m.detour = true
			m.log.Warn("the writer cannot be reached at its own address; the configured host is used, which may lead elsewhere after a failover",
				"writer", w.id, "address", t.ep.String(), "error", t.err, "host", w.ep.String())
		}
	}
}

// failover describes the epoch that just began.
func (m *monitor) failover(old reign, now time.Time) *Failover {
	f := &Failover{Cluster: m.c.cfg.Name, Epoch: m.mem.epoch, Began: now}
	last := m.c.snap.Load()
	if f.Old, _ = last.Find(old.id); f.Old.ID == "" {
		f.Old = Instance{ID: old.id, Boot: old.boot, Lag: -1}
	}
	if h := m.hunt; h.on {
		lost := h.lost
		if lost.IsZero() {
			lost = now
		}
		f.Began = h.since
		f.Detect, f.Find = lost.Sub(h.since), now.Sub(lost)
		m.hunt.lost = lost
	}
	return f
}

// hearOfMembers follows Aurora's list of members: the writer's word, or anyone's until there is one.
func (m *monitor) hearOfMembers(seen []sighting, v verdict) {
	from := v.writer
	if from < 0 && m.mem.epoch == 0 {
		for i := range seen {
			if len(seen[i].report.Members) > 0 {
				from = i
			}
		}
	}
	if from < 0 || len(seen[from].report.Members) == 0 || seen[from].round == m.wordOf {
		return
	}
	m.word, m.wordOf = seen[from].report.Members, seen[from].round
	if m.c.cfg.HostPattern == "" {
		return
	}
	known := make(map[string]bool)
	added := false
	for _, member := range m.word {
		known[member.ID] = true
		ep, err := m.c.cfg.memberEndpoint(member.ID)
		if err != nil {
			continue
		}
		if t := m.byEndpoint(ep); t != nil {
			t.id = member.ID
			continue
		}
		t := m.add(ep, member.ID, false)
		added = true
		if seed := m.seedOf(member.ID); seed != nil && seed.answer.Addr.IsValid() {
			// It is reachable there, whether its own name is known yet or not.
			t.addrs = append(t.addrs, seed.answer.Addr)
			t.asker.order(func(o *orders) { o.addrs = t.addrs })
		}
	}
	rest := m.targets[:0]
	for _, t := range m.targets {
		if t.seed || known[t.id] {
			rest = append(rest, t)
		} else {
			t.end()
		}
	}
	m.targets = rest
	if added {
		m.resolve()
	}
}

// seedOf returns the seed that answered as this instance.
func (m *monitor) seedOf(id string) *target {
	for _, t := range m.targets {
		if t.seed && t.id == id && t.answer != nil {
			return t
		}
	}
	return nil
}
