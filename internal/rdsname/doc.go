// Package rdsname reads what the name of an RDS endpoint says about what is behind it.
//
//	n := rdsname.Parse("app.cluster-ro-xyz.eu-west-1.rds.amazonaws.com")
//	n.Kind            // rdsname.Reader
//	n.InstancePattern // "?.xyz.eu-west-1.rds.amazonaws.com"
package rdsname
