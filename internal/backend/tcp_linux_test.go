package backend

import (
	"net"
	"syscall"
	"testing"
	"time"
)

func TestKeepalivesAreAsTheyAreAskedFor(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, c := range map[string]struct {
		k    Keepalive
		want [5]int // SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT; -1: whatever the system has
	}{
		"all of them":  {Keepalive{Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3, UserTimeout: 2500 * time.Millisecond}, [5]int{1, 30, 10, 3, 2500}},
		"the system's": {Keepalive{}, [5]int{1, -1, -1, -1, 0}},
		"none":         {Keepalive{Off: true}, [5]int{0, -1, -1, -1, 0}},
	} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.k.apply(&countedConn{Conn: conn})
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		options := [5][2]int{{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}, {syscall.IPPROTO_TCP, 18}}
		_ = raw.Control(func(fd uintptr) {
			for i, o := range options {
				got, err := syscall.GetsockoptInt(int(fd), o[0], o[1])
				if want := c.want[i]; err != nil || want >= 0 && got != want {
					t.Errorf("%s: option %v is %d (%v), want %d", name, o, got, err, want)
				}
			}
		})
		_ = conn.Close()
	}
}
