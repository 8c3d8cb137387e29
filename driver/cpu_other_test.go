//go:build !unix

package driver

import "time"

var started = time.Now()

func cpuTime() time.Duration { return time.Since(started) }
