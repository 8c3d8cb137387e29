// Package printed is for tests of what something prints while it runs.
package printed

import (
	"strings"
	"sync"
)

// Buffer keeps what is written to it. Several goroutines may use it at once.
type Buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
