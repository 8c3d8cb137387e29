// Package pooler lets any PostgreSQL client share few server connections, and keeps its session when the writer dies.
//
//	cluster, err := driver.ParseConfig("postgres://app@db.cluster-xyz.eu-west-1.rds.amazonaws.com/app")
//	server, err := pooler.New(pooler.Config{
//		Listeners: []pooler.Listener{{Address: "127.0.0.1:6432"}},
//		Clusters:  map[string]*pooler.Cluster{"main": {Database: cluster, PoolSize: 20}},
//	})
//	err = server.Run(ctx) // until ctx ends, and the clients' transactions are over
//
// A client's session lives here and not on a server: settings, prepared statements and the place in a transaction go with it
// to whatever connection it is given. It borrows one with the first message that needs a server, and gives it back when the
// transaction is over. What cannot be carried from one connection to another (temporary tables, session advisory locks,
// cursors WITH HOLD and their like) keeps the session on its connection until it is gone.
package pooler
