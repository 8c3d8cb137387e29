package front

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// reservePort binds a socket to addr and never listens on it, so that nobody else gets the port while the door is closed.
// SO_REUSEADDR lets the listener have the same address.
func reservePort(addr *net.TCPAddr) (*net.TCPAddr, func() error, error) {
	none := func() error { return nil }
	family, sockaddr := unix.AF_INET, unix.Sockaddr(nil)
	switch ip4 := addr.IP.To4(); {
	case ip4 != nil:
		sockaddr = &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip4)}
	case len(addr.IP) == net.IPv6len && addr.Zone == "":
		family, sockaddr = unix.AF_INET6, &unix.SockaddrInet6{Port: addr.Port, Addr: [16]byte(addr.IP)}
	default:
		// A wildcard is bound once for each family; a test does not need to keep that.
		return addr, none, nil
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, sockaddr)
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, nil, os.NewSyscallError("bind", err)
	}
	got := *addr
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		got.Port = b.Port
	case *unix.SockaddrInet6:
		got.Port = b.Port
	default:
		_ = unix.Close(fd)
		return nil, nil, fmt.Errorf("getsockname: unexpected address %T", bound)
	}
	return &got, func() error { return os.NewSyscallError("close", unix.Close(fd)) }, nil
}

// dropPackets attaches to the socket of conn, if it has one, a filter that drops every packet before TCP sees it, or takes
// it away. It reports whether it could.
func dropPackets(conn any, on bool) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	return err == nil && dropRawPackets(raw, on)
}

func dropRawPackets(raw syscall.RawConn, on bool) bool {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil || domain == unix.AF_UNIX {
			optErr = unix.ENOTSUP
			return
		}
		if !on {
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			return
		}
		none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
		optErr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(none)), Filter: &none[0]})
	})
	return err == nil && optErr == nil
}

// undelivered is the number of bytes that were written to conn and that the other end's kernel has not acknowledged.
func undelivered(conn net.Conn) int {
	sc, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		// A connection that was reset keeps its count, and will never deliver it.
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State == unix.BPF_TCP_CLOSE {
			return
		}
		if queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = queued
		}
	})
	if err != nil {
		return 0
	}
	return n
}
