//go:build linux && (amd64 || arm64)

package backend

import (
	"net"
	"syscall"
	"unsafe"
)

// tcpFactsOf is what the kernel knows of a connection, nothing when it has none.
func tcpFactsOf(c net.Conn) (facts tcpFacts) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return facts
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return facts
	}
	// The beginning of struct tcp_info: tcpi_retransmits is its third byte, tcpi_unacked the 32 bits behind the 24th.
	var info struct {
		_           [2]uint8
		retransmits uint8
		_           [5]uint8
		_           [4]uint32
		unacked     uint32
	}
	size := uint32(unsafe.Sizeof(info))
	err = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 && size == uint32(unsafe.Sizeof(info)) {
			facts = tcpFacts{unacknowledged: info.unacked, retransmits: info.retransmits}
		}
	})
	if err != nil {
		return tcpFacts{}
	}
	return facts
}

// setUserTimeout sets TCP_USER_TIMEOUT, in milliseconds.
func setUserTimeout(fd uintptr, ms int) error {
	const tcpUserTimeout = 18
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, ms)
}
