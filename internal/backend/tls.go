package backend

import "crypto/tls"

// sessions is how many TLS sessions are kept to be resumed, which is more than a cluster has instances.
const sessions = 64

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
