//go:build unix

package driver

import (
	"syscall"
	"time"
)

// cpuTime is what this process has used of the processors so far. Unlike the time of day it does not count what other
// processes take away.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
