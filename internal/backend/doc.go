// Package backend makes and ends connections to PostgreSQL servers for the mounts.
//
// A [Login] is one pool's way in: it finds the instance that the pool wants in a topology.Cluster, dials it, does TLS
// and logs in with pgconn, and hands out the bare connection as an [Upstream].
//
// A [Registry] knows every Upstream of a cluster. It is the kill switch: when the topology moves, it closes the sockets
// to what is not the writer any more, so that blocked readers wake at once and not at a TCP timeout. And it is the pulse:
// while work is in flight and nothing comes back, it has the topology probe the instance.
package backend
