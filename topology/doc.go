// Package topology knows which instance of a database cluster is the writer, and finds the new one when it goes away.
//
//	c, err := topology.New(topology.Config{
//		Name:  "app",
//		Seeds: []topology.Endpoint{{Host: "10.0.0.1", Port: 5432}, {Host: "10.0.0.2", Port: 5432}},
//	})
//	...
//	release := c.Attach(topology.NewPostgresProber(topology.KindAuto, login))
//	defer release()
//	writer, _, err := c.Pick(ctx, topology.WantWriter, 0)
//
// # Quiet and hunt
//
// A [Cluster] is quiet most of the time: one connection, to the writer, asked once per refresh interval. A suspicion
// ([Cluster.Suspect], an unanswered [Cluster.Check], a missed refresh) starts a hunt: every known instance is asked in
// parallel, each over a connection of its own that is kept while the hunt lasts, again and again at a pace that is proportional
// to how long the hunt has lasted, until one proves to be the writer. No instance waits for another, and nothing waits for
// DNS: names are resolved in the background and their last good answers are kept.
//
// # Proof
//
// An instance is the writer only by its own answer. Every probe carries a number that rises over all instances ("round"),
// taken before the question is sent, so that "proven after this moment" is a comparison of two numbers: [Cluster.Suspect]
// returns such a moment as a [Ticket], and [Cluster.Pick] waits for a proof that began after it.
//
// # Epochs
//
// An epoch is one reign of one writer: one run of one server. It rises when another instance proves to be the writer, and also
// when the same instance does after a restart, so a consumer needs one rule only: a socket to the writer that was
// opened in an epoch before the snapshot's is dead. A reign that ended never comes back: what an instance that was the writer
// in an older epoch says of itself does not count until it was restarted. For readers, compare [Instance.Boot].
//
// A snapshot's [Reign] says how its epoch began, as far as this process saw it: whether the writer was promoted, recovered
// from a crash or was restarted, after which run of which server, and where in the WAL its recovery ended. It is what a lost
// commit can be judged by, and it says "unknown" rather than guess: of an epoch that began before the cluster was watched,
// or while it was not, of a server that was never seen as a replica, and wherever the server does not tell.
//
// # Metrics
//
// By the OpenTelemetry API, each with the attribute fairlead.cluster (the configured name):
//
//	fairlead.topology.failovers           counter    epochs after the first
//	fairlead.topology.failover.duration   histogram  seconds, by phase: detect (first suspicion to the writer's failure being
//	                                                 certain), find (from there to the proof of the new one), total
//	fairlead.topology.probe.duration      histogram  seconds from question to answer, by fairlead.instance
package topology
