// Package contain keeps a panic from becoming the end of the process: it ends what it happened in, and is logged with its stack.
package contain

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Panic is one that was recovered.
type Panic struct {
	what  string
	stack []byte
}

// Error does not have the value of the panic, unless it is the runtime's own: there may be anything in it, secrets too.
func (p *Panic) Error() string { return "internal error: " + p.what }

// Log writes the panic and its stack; to slog's default logger if log is nil.
func (p *Panic) Log(log *slog.Logger, where string, attrs ...any) {
	if log == nil {
		log = slog.Default()
	}
	log.Error("an internal error was contained", append([]any{"where", where, "error", p.what, "stack", string(p.stack)}, attrs...)...)
}

// Of makes a Panic of what recover has returned. It is called by the deferred function, so that the stack is that of the panic.
func Of(recovered any) *Panic {
	what := fmt.Sprintf("panic with a %T", recovered)
	if err, ok := recovered.(runtime.Error); ok {
		what = err.Error()
	}
	return &Panic{what: what, stack: debug.Stack()}
}

// Run calls f and returns its panic, nil if it has none.
func Run(f func()) (p *Panic) {
	defer func() {
		if r := recover(); r != nil {
			p = Of(r)
		}
	}()
	f()
	return nil
}

// pause is how long a goroutine rests after a panic, so that one that comes back at once does not take up the processor.
const pause = 100 * time.Millisecond

// Keep calls f, and again after each panic, which it logs, until f returns.
func Keep(log *slog.Logger, where string, f func()) {
	for {
		p := Run(f)
		if p == nil {
			return
		}
		p.Log(log, where)
		time.Sleep(pause)
	}
}

var fault atomic.Pointer[func(point string, b []byte)]

// Point is a place in the code where tests can make something go wrong; b is what is worked on there.
func Point(name string, b []byte) {
	if f := fault.Load(); f != nil {
		(*f)(name, b)
	}
}

// Inject has f called at each Point, until undo is called. It is for tests.
func Inject(f func(point string, b []byte)) (undo func()) {
	fault.Store(&f)
	return func() { fault.Store(nil) }
}
