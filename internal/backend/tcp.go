package backend

import (
	"net"
	"time"
)

// tcpFacts are what TCP knows of what was sent over a connection.
type tcpFacts struct {
	unacknowledged uint32 // packets
	retransmits    uint8  // how often in a row the oldest of them was sent again in vain
}

// Keepalive says how connections that have gone are found out by TCP. Zero values in it are the system's.
type Keepalive struct {
	Off            bool
	Idle, Interval time.Duration
	Count          int
	UserTimeout    time.Duration
}

// apply sets what a connection has for it. Not being able to is no reason not to use the connection.
func (k Keepalive) apply(c net.Conn) {
	tcp, ok := rawConn(c).(*net.TCPConn)
	if !ok {
		return
	}
	system := func(d time.Duration) time.Duration {
		if d == 0 {
			return -1
		}
		return d
	}
	count := k.Count
	if count == 0 {
		count = -1
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: !k.Off, Idle: system(k.Idle), Interval: system(k.Interval), Count: count})
	if k.UserTimeout <= 0 {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = setUserTimeout(fd, int(k.UserTimeout/time.Millisecond)) })
	}
}
