package rdstest

import (
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/rdstest/front"
)

// Role is what an instance is to its cluster, whatever it says of itself.
type Role string

// The roles.
const (
	Writer Role = "writer"
	Reader Role = "reader"
)

// State is how an instance is.
type State string

// The states. An instance that is several of these at once is in the first of them.
const (
	// Down: its server does not run.
	Down State = "down"
	// Frozen: its processes are stopped, see [Cluster.Freeze].
	Frozen State = "frozen"
	// Partitioned: nothing reaches it, and nothing comes from it, see [Cluster.Partition].
	Partitioned State = "partitioned"
	// Deposed: it was the writer, another one took over, and it does not know; it will be made a reader.
	Deposed State = "deposed"
	// Rejoining: it is being made a reader, or catches up.
	Rejoining State = "rejoining"
	// Running: it is in its place.
	Running State = "running"
)

// ShutdownMode is how a server is told to stop.
type ShutdownMode string

// The modes, which are PostgreSQL's.
const (
	// Fast lets the server end its sessions, send its readers everything, and write a checkpoint.
	Fast ShutdownMode = "fast"
	// Immediate lets the server tell its sessions that it ends, and no more.
	Immediate ShutdownMode = "immediate"
)

// stage is how far an instance is on its way into its place.
type stage int

const (
	placed    stage = iota // the writer, or a reader that may be promoted
	following              // it runs and follows the writer, or is about to, and is not known to have everything
	deposed                // it was the writer
	copying                // it gets a copy of the writer's data
)

// Instance is one server of a cluster, with the fronts before it.
type Instance struct {
	cluster *Cluster
	number  int
	id      string
	host    string
	addr    netip.AddrPort
	front   *front.Front // where clients connect
	uplink  *front.Front // by which it reaches the writer, to get the WAL
	server  *server

	// skyMu is held by whoever sets the fronts; sky is how they are set.
	skyMu sync.Mutex
	sky   sky

	// The cluster's lock guards these.
	process *process // nil: it does not run
	serving bool     // it can be connected to
	frozen  bool
	cut     front.Silence // how it is partitioned; 0: it is not
	role    Role
	stage   stage
	since   time.Time // when it last came nearer to where it should be, or was told to go there
	// furthest is the most of the writer's WAL that it was seen to have, and confirmed says that it is the writer's: both
	// since the writer, or the server, began.
	furthest  lsn
	confirmed bool
	rebuild   bool     // a goroutine is at it, or waits to be
	awaited   bool     // commits are to wait for it, though it is not known yet that they do
	synced    []string // which readers its configuration names as synchronous
	health    health
}

// health is what was last seen of a server.
type health struct {
	session  string // changes with every start
	seen     time.Time
	received lsn
	replayed lsn
	lag      time.Duration
}

// ID is the instance's identifier, such as "app-1".
func (in *Instance) ID() string { return in.id }

// Host is the name of the instance's endpoint; the cluster's resolver knows it.
func (in *Instance) Host() string { return in.host }

// Addr is where the instance's front listens.
func (in *Instance) Addr() netip.AddrPort { return in.addr }

// Front is what clients connect to. Acts of the cluster use it too: what was set there by hand ends when the instance
// is restarted, partitioned or healed.
func (in *Instance) Front() *front.Front { return in.front }

// Role is what the instance is to its cluster; an old writer is a reader as soon as there is a new one.
func (in *Instance) Role() Role {
	in.cluster.mu.Lock()
	defer in.cluster.mu.Unlock()
	return in.role
}

// State is how the instance is.
func (in *Instance) State() State {
	in.cluster.mu.Lock()
	defer in.cluster.mu.Unlock()
	return in.state()
}

// String is the instance's identifier.
func (in *Instance) String() string { return in.id }

func (in *Instance) state() State {
	switch {
	case in.stage == copying:
		return Rejoining
	case in.process == nil:
		return Down
	case in.frozen:
		return Frozen
	case in.cut != 0:
		return Partitioned
	case in.stage == deposed:
		return Deposed
	case in.stage == following:
		return Rejoining
	}
	return Running
}

// reachable says whether the instance can do its work; the cluster's lock is held.
func (in *Instance) reachable() bool {
	return in.process != nil && !in.frozen && in.cut == 0 && in.stage != copying
}

// displace takes a reader from its place; the cluster's lock is held. What it has is not counted on until it was seen to
// follow the writer again.
func (in *Instance) displace() {
	if in.role == Reader && in.stage == placed {
		in.stage, in.since = following, time.Now()
	}
}

// sky is how the fronts of an instance are set.
type sky struct {
	closed bool          // clients are refused
	front  front.Silence // how clients meet with silence; 0: they do not
	uplink front.Silence
}

// setFronts brings the fronts of an instance in line with how it is. A front is left alone where nothing changes, since
// somebody may have set it by hand.
func (c *Cluster) setFronts(in *Instance) {
	in.skyMu.Lock()
	defer in.skyMu.Unlock()
	c.mu.Lock()
	want := sky{closed: !in.serving && in.cut == 0, front: in.cut, uplink: uplinkSilence(in.cut)}
	if in.frozen && in.cut == 0 {
		// The front is in this process and would go on to accept TLS for a server that does not answer.
		want.front = front.Hold
	}
	if in != c.writer && want.uplink == 0 {
		want.uplink = uplinkSilence(c.writer.cut)
	}
	c.mu.Unlock()
	if want.uplink != in.sky.uplink {
		if want.uplink == 0 {
			in.uplink.Pass()
		} else {
			in.uplink.Silence(want.uplink)
		}
	}
	if want.front != in.sky.front || want.closed != in.sky.closed {
		if want.front != 0 {
			in.front.Silence(want.front)
		} else {
			in.front.Pass()
		}
		if want.closed {
			in.front.Refuse()
		}
	}
	in.sky = want
}

// uplinkSilence is the nearest to a silence that can be had on a Unix socket.
func uplinkSilence(s front.Silence) front.Silence {
	switch s {
	case front.Backlog:
		return front.Swallow
	case front.Unplug:
		return front.Hold
	}
	return s
}
