package backend

import "crypto/tls"

// sessions is how many TLS sessions are kept to be resumed, which is more than a cluster has instances.
const sessions = 64

// Verifies reports whether a TLS connection is to nobody but the server: one whose certificate an authority has signed that was named for it, or
// whose name was checked too. Any certificate of a public authority is not enough.
func Verifies(t *tls.Config) bool {
	switch {
	case t == nil:
		return false
	case !t.InsecureSkipVerify || t.VerifyConnection != nil:
		return true
	}
	return t.VerifyPeerCertificate != nil && t.RootCAs != nil // verify-ca
}

// harden asks for TLS 1.2 at least, and lets sessions be resumed where the server allows that, which saves the new
// connections after a failover a signature each. What a session was verified as stays so: its key is the server's name, and
// all configurations of a Login verify alike.
func harden(t *tls.Config, cache tls.ClientSessionCache) {
	if t == nil {
		return
	}
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	if t.ClientSessionCache == nil {
		t.ClientSessionCache = cache
	}
}
