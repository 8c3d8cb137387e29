// Package clients opens the drivers on top of the mount, for what works through all of them on a cluster of package rdstest.
//
//	dc, err := clients.Config(cluster, rdstest.Aurora, map[string]string{"commit_resolution": "marker"})
//	dbs, err := clients.Open(dc)
//	defer dbs.Close()
//	dbs.SQL.Exec(...) // database/sql with pgx
//	dbs.PQ.Exec(...)  // database/sql with lib/pq
package clients
