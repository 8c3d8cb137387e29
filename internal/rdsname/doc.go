// Package rdsname reads what the name of an RDS endpoint says about what is behind it.
//
//	n := rdsname.Parse("app.cluster-ro-xyz.eu-west-1.rds.amazonaws.com")
//	n.Kind            // rdsname.Reader
//	n.InstancePattern // "?.xyz.eu-west-1.rds.amazonaws.com"
package rdsname

// Kind is what an endpoint leads to.
type Kind string

// The kinds of endpoints.
const (
	None     Kind = ""         // not a name that RDS gives
	Cluster  Kind = "cluster"  // the writer of a cluster
	Reader   Kind = "reader"   // any reader of a cluster (cluster-ro)
	Custom   Kind = "custom"   // instances of a cluster that its owner chose (cluster-custom)
	Instance Kind = "instance" // one instance, of a cluster or alone
	Proxy    Kind = "proxy"    // an RDS Proxy, whichever of its endpoints
	Global   Kind = "global"   // the writer of an Aurora global database
)

// Name is what was read from a host name.
type Name struct {
	Kind Kind
	// InstancePattern gives the host of an instance when its ID is put in place of the "?". It is empty where the name
	// does not tell: behind a proxy, for a global database, and for names that are not RDS's.
	InstancePattern string
}
