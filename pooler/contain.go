package pooler

import (
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/contain"
)

// panicked logs and counts a panic that was contained.
func (s *Server) panicked(p *contain.Panic, where string, attrs ...any) {
	p.Log(s.log, where, attrs...)
	s.panics.Add(1)
}

// guard calls f, and contains its panic.
func (s *Server) guard(where string, f func()) *contain.Panic {
	p := contain.Run(f)
	if p != nil {
		s.panicked(p, where)
	}
	return p
}

// beat notes that the watch goes round.
func (s *Server) beat() { s.beaten.Store(int64(time.Since(s.begun))) }

// rounds is how many rounds the watch may miss, and patience the least time that it may take, before it is taken to be stuck.
const (
	rounds   = 10
	patience = 5 * time.Second
)

// stuck says what of the Server does not go round any more, "" if all does. It takes no lock.
func (s *Server) stuck() string {
	beaten := s.beaten.Load()
	if beaten == 0 {
		return "" // it does not run, or not yet
	}
	if since := time.Since(s.begun) - time.Duration(beaten); since > max(rounds*s.cfg.Load().interval(), patience) {
		return fmt.Sprintf("the watch over clients has not gone round for %v", since.Round(time.Millisecond))
	}
	return ""
}

// within waits for goroutines, but no longer than that.
func within(d time.Duration, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
