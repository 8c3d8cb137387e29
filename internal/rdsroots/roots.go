package rdsroots

import (
	"crypto/x509"
	_ "embed"
	"sync"
)

//go:embed roots.pem
var pemBundle []byte

// Pool trusts RDS's authorities and no others. It is made once, is shared, and must not be changed.
var Pool = sync.OnceValue(func() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pemBundle)
	return pool
})
