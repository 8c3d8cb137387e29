//go:build !linux

package front

import (
	"net"
	"syscall"
)

// What only Linux's kernel is asked for has no effect elsewhere.

// reservePort lets the listener pick the port.
func reservePort(addr *net.TCPAddr) (*net.TCPAddr, func() error, error) {
	return addr, func() error { return nil }, nil
}

// dropPackets reports that it cannot.
func dropPackets(any, bool) bool { return false }

func dropRawPackets(syscall.RawConn, bool) bool { return false }

// undelivered knows nothing, and so does not make anybody wait.
func undelivered(net.Conn) int { return 0 }
