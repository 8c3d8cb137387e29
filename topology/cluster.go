package topology

import (
	"sync"
	"sync/atomic"
	"time"
)

// Ticket is a moment in the order of all probes of a cluster. The zero Ticket is before all of them.
type Ticket uint64

// Cluster is one logical database cluster, watched once however many pools use it. All its methods are safe for concurrent use.
type Cluster struct {
	cfg     Config
	metrics *metrics
	snap    atomic.Pointer[Snapshot]
	seq     atomic.Uint64 // the number that the last probe took
	wake    chan struct{} // capacity 1: the inbox has something

	waiting        atomic.Int64 // callers inside Pick that wait
	waitingReaders atomic.Int64 // those of them that wait for a reader

	mu    sync.Mutex // guards what follows; held for a few instructions only
	inbox inbox
	// suspicious says that the writer is under suspicion: from the first one until it, or another, has proved itself since.
	suspicious atomic.Bool

	suspected map[string]Ticket // by instance: a proof must be younger than this to be believed by Pick
	floor     Ticket            // the same for all instances
	cursor    int               // KindNone: the seed to take
	turn      uint64            // the next reader's
	writerCh  chan struct{}     // closed when there is news for those who wait for a writer
	anyCh     chan struct{}     // closed when there is news of any instance
	probers   []*attached

	attachMu sync.Mutex // serializes starting and stopping the monitor; held while waiting for it
	stop     func()     // nil while no monitor runs
	mem      memory     // what the monitor knows across its runs; its own while it runs
}

// inbox is what callers want of the monitor, coalesced.
type inbox struct {
	suspects   map[string]suspicion
	checks     map[string]time.Time
	needWriter uint64 // somebody waits for a writer proven by a probe with a higher number than this
	needAny    uint64 // the same for any instance
	wanted     bool   // needWriter or needAny is set
}

type suspicion struct {
	ticket Ticket
	cause  error
	at     time.Time
}

// New makes a cluster that is not watched yet: nothing runs until [Cluster.Attach].
func New(cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg:       cfg,
		metrics:   m,
		wake:      make(chan struct{}, 1),
		suspected: make(map[string]Ticket),
		writerCh:  make(chan struct{}),
		anyCh:     make(chan struct{}),
	}
	s := &Snapshot{Kind: cfg.Kind, At: time.Now()}
	for _, ep := range cfg.Seeds {
		if s.index(ep.String()) >= 0 {
			continue
		}
		s.Instances = append(s.Instances, Instance{ID: ep.String(), Endpoint: ep, Addrs: literal(ep.Host), Lag: -1})
		s.attempts = append(s.attempts, attempt{})
	}
	c.snap.Store(s)
	return c, nil
}

// Name returns the name the cluster was configured with.
func (c *Cluster) Name() string { return c.cfg.Name }

// Attach lends the cluster a prober. The first one starts the monitor; the release of the last one stops it, waits for its
// goroutines and closes its connections. The release of any closes the connections that were opened with it, waits for that,
// and may be called twice. With KindNone nothing ever runs.
func (c *Cluster) Attach(p Prober) (release func()) {
	c.attachMu.Lock()
	defer c.attachMu.Unlock()
	a := newAttached(p)
	c.mu.Lock()
	c.probers = append(c.probers[:len(c.probers):len(c.probers)], a)
	first := len(c.probers) == 1
	if first {
		c.floor = Ticket(c.seq.Load())
	}
	c.mu.Unlock()
	if first && c.cfg.Kind != KindNone {
		c.stop = startMonitor(c)
	}
	return sync.OnceFunc(func() { c.detach(a) })
}

func (c *Cluster) detach(a *attached) {
	c.attachMu.Lock()
	defer c.attachMu.Unlock()
	c.mu.Lock()
	rest := make([]*attached, 0, len(c.probers))
	for _, p := range c.probers {
		if p != a {
			rest = append(rest, p)
		}
	}
	c.probers = rest
	c.mu.Unlock()
	if len(rest) == 0 && c.stop != nil {
		c.stop()
		c.stop = nil
		c.broadcast(true)
	}
	a.release()
}

// Snapshot returns what is known now. It is never nil, and costs one atomic load.
func (c *Cluster) Snapshot() *Snapshot { return c.snap.Load() }

// Suspect says that a connection to the instance failed in a way that makes it doubtful that the instance is what the snapshot
// says. It does not block and may be called by thousands at once. A [Cluster.Pick] with the returned ticket waits
// for a proof that began after this call. With KindNone the instance is passed over, if it is the one in turn, and the ticket is
// zero.
func (c *Cluster) Suspect(instanceID string, cause error) Ticket {
	t, noted := c.noteSuspicion(instanceID, cause)
	if noted {
		c.nudge()
	}
	return t
}

// noteSuspicion is Suspect but for waking the monitor; false with KindNone.
func (c *Cluster) noteSuspicion(instanceID string, cause error) (Ticket, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.snap.Load(); s.Kind == KindNone {
		if i := s.index(instanceID); i >= 0 && i == c.cursor {
			c.cursor = (i + 1) % len(s.Instances)
		}
		return 0, false
	}
	t := Ticket(c.seq.Load())
	c.suspected[instanceID] = t
	if w, ok := c.snap.Load().Writer(); !ok || w.ID == instanceID {
		c.suspicious.Store(true)
	}
	_, known := c.inbox.suspects[instanceID]
	if c.inbox.suspects == nil {
		c.inbox.suspects = make(map[string]suspicion)
	}
	if known {
		s := c.inbox.suspects[instanceID]
		s.ticket = t
		c.inbox.suspects[instanceID] = s
	} else {
		c.inbox.suspects[instanceID] = suspicion{ticket: t, cause: cause, at: time.Now()}
	}
	return t, true
}

// Check says that work in flight at the instance has been unanswered for a while. The instance is asked on its own
// connection: unanswered for the probe timeout, it is suspected; well before that, the others are asked too, and one that
// proves to be the writer of a newer epoch wins at once. Check does not block and may be called by thousands at once.
func (c *Cluster) Check(instanceID string) {
	c.mu.Lock()
	if c.inbox.checks == nil {
		c.inbox.checks = make(map[string]time.Time)
	}
	if _, known := c.inbox.checks[instanceID]; !known {
		c.inbox.checks[instanceID] = time.Now()
	}
	c.mu.Unlock()
	c.nudge()
}

// Suspicious reports whether the writer is under suspicion now. What it says is then worth no more than what a probe that
// begins later confirms: a server that was frozen may say what was true before another one took over. It costs one atomic
// load.
func (c *Cluster) Suspicious() bool { return c.suspicious.Load() }

// Now returns the ticket of this moment without a suspicion: a [Cluster.Pick] with it confirms what the snapshot says.
func (c *Cluster) Now() Ticket { return Ticket(c.seq.Load()) }

// nudge tells the monitor to look into its inbox.
func (c *Cluster) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take empties the inbox.
func (c *Cluster) take() inbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.inbox
	c.inbox = inbox{}
	return in
}

// broadcast wakes those who wait for any instance, and if writer those who wait for a writer.
func (c *Cluster) broadcast(writer bool) {
	c.mu.Lock()
	close(c.anyCh)
	c.anyCh = make(chan struct{})
	if writer {
		close(c.writerCh)
		c.writerCh = make(chan struct{})
	}
	c.mu.Unlock()
}
