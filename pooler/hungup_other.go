//go:build unix && !linux

package pooler

// hungUp cannot be told here behind what was sent.
func hungUp(uintptr) bool { return false }
