//go:build !linux

package pooler

import "net"

// samePeer is false where the user at the other end of a Unix socket cannot be told.
func samePeer(net.Conn) bool { return false }
