//go:build !linux || !(amd64 || arm64)

package backend

import "net"

// tcpFactsOf knows nothing here.
func tcpFactsOf(net.Conn) tcpFacts { return tcpFacts{} }

// setUserTimeout does nothing here, as libpq does where there is no TCP_USER_TIMEOUT.
func setUserTimeout(uintptr, int) error { return nil }
