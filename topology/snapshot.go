package topology

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Role is what an instance last proved to be.
type Role uint8

// The roles of an instance.
const (
	Unknown Role = iota // never proven, unreachable, or refused as writer
	Writer              // accepts writes
	Reader              // a replica
)

// String returns "unknown", "writer" or "reader".
func (r Role) String() string {
	switch r {
	case Writer:
		return "writer"
	case Reader:
		return "reader"
	}
	return "unknown"
}

// Kind says how a cluster's writer is found.
type Kind string

// The kinds of cluster. In a [Snapshot], KindAuto means that no server has been asked yet.
const (
	KindAuto        Kind = "auto"        // ask the server which of the others it is
	KindAurora      Kind = "aurora"      // Amazon Aurora: every instance names the members and the writer
	KindReplication Kind = "replication" // streaming replication among the seeds: out of recovery on the highest timeline
	KindNone        Kind = "none"        // no probing: the seeds are taken in order
)

// Endpoint is where an instance listens: a host name or an address as configured or derived, and a port.
type Endpoint struct {
	Host string
	Port uint16
}

// String returns host:port, with brackets around an IPv6 address.
func (e Endpoint) String() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// Instance is one server of a cluster as last seen.
type Instance struct {
	ID       string        // Aurora's server_id; for other kinds the endpoint as host:port
	Endpoint Endpoint      // the name to verify a certificate against, and to dial when Addrs is empty
	Addrs    []netip.Addr  // resolved ahead; empty: not resolved yet, dial by name. Not to be modified
	Role     Role          // as last proven; a writer keeps the role while it is silent, until it or another proves otherwise
	Lag      time.Duration // how far a reader's replay is behind; -1: unknown
	Boot     string        // changes with every start of the server, and with its crash recovery; "": unknown
	Round    uint64        // number of the probe that last proved Role; 0: never
}

// Snapshot is an immutable picture of a cluster. Its instances are in a stable order: seeds first, then as they were found.
type Snapshot struct {
	// Epoch counts the reigns of writers: it rises by one when another instance, or the same one after a restart, proves to be
	// the writer. The first proven writer is epoch 1; 0 means that none has been proven yet.
	Epoch     uint64
	Kind      Kind
	SystemID  string // the identity of the data all instances share; "": unknown
	Timeline  uint32 // the writer's; 0: unknown
	Reign     Reign  // of the epoch's writer, as observed
	Round     uint64 // number of the latest probe that went into the snapshot
	At        time.Time
	Instances []Instance

	attempts []attempt // parallel to Instances

	// Set when no instance that can be reached takes a login: an error of one, and the number of the oldest such attempt.
	refusal      error
	refusedSince uint64
}

// attempt is how the last attempt to ask an instance ended; for Pick's errors and its terminal cases.
type attempt struct {
	round uint64 // when the attempt began; 0: none has ended yet
	err   error  // why it failed, nil after an answer
	note  string // why an answer did not make it eligible, for people
}

// Writer returns the instance that last proved to be the writer of this epoch; false if there is none.
func (s *Snapshot) Writer() (Instance, bool) {
	for i := range s.Instances {
		if s.Instances[i].Role == Writer {
			return s.Instances[i], true
		}
	}
	return Instance{}, false
}

// Readers returns the instances that are proven readers, in the snapshot's order.
func (s *Snapshot) Readers() []Instance {
	var out []Instance
	for i := range s.Instances {
		if s.Instances[i].Role == Reader {
			out = append(out, s.Instances[i])
		}
	}
	return out
}

// Find returns the instance with this ID.
func (s *Snapshot) Find(id string) (Instance, bool) {
	if i := s.index(id); i >= 0 {
		return s.Instances[i], true
	}
	return Instance{}, false
}

func (s *Snapshot) index(id string) int {
	return slices.IndexFunc(s.Instances, func(in Instance) bool { return in.ID == id })
}

// same tells whether two snapshots differ in nothing but when their proofs were made.
func (s *Snapshot) same(o *Snapshot) bool {
	if s.Epoch != o.Epoch || s.Kind != o.Kind || s.SystemID != o.SystemID || s.Timeline != o.Timeline || s.Reign != o.Reign {
		return false
	}
	return slices.EqualFunc(s.Instances, o.Instances, func(a, b Instance) bool {
		return a.ID == b.ID && a.Endpoint == b.Endpoint && a.Role == b.Role && a.Boot == b.Boot && slices.Equal(a.Addrs, b.Addrs)
	})
}
