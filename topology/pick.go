package topology

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Want is the kind of instance that a connection needs.
type Want uint8

// What can be wanted of [Cluster.Pick].
const (
	WantWriter   Want = iota // the writer
	WantReader               // a reader; readers take turns
	PreferReader             // a reader, or the writer when no reader answers
	WantAny                  // the first instance that answers, in the snapshot's order
)

// String returns what it is called in errors.
func (w Want) String() string {
	switch w {
	case WantWriter:
		return "writer"
	case WantReader:
		return "reader"
	}
	return "instance"
}

// Pick returns an instance of the wanted kind, proven by a probe that began after the ticket (and after the last suspicion
// against that instance), with the snapshot that says so. It waits for such a proof until ctx ends. A zero ticket takes what the current
// snapshot has. It gives up at once when every instance that can be reached refuses the login. Its error says what became of
// each instance, and wraps ctx's cause and the instances' last errors.
//
// With KindNone the seeds are returned in order, beginning with the one that was not yet suspected.
func (c *Cluster) Pick(ctx context.Context, want Want, after Ticket) (Instance, *Snapshot, error) {
	begin := c.seq.Load()
	var grace <-chan time.Time
	asked, late := false, false
	for {
		in, ok, s, news, detached := c.find(want, after, late, !asked)
		switch {
		case ok:
			return in, s, nil
		case detached:
			return Instance{}, s, fmt.Errorf("topology: no %v of %s: nothing is attached to the cluster", want, c.cfg.Name)
		case ctx.Err() != nil:
			return Instance{}, s, c.failure(s, want, context.Cause(ctx))
		case s.refusal != nil && s.refusedSince > begin:
			return Instance{}, s, c.failure(s, want, nil)
		}
		if !asked {
			asked = true
			c.waiting.Add(1)
			defer c.waiting.Add(-1)
			if want == WantReader {
				c.waitingReaders.Add(1)
				defer c.waitingReaders.Add(-1)
			}
			c.nudge()
			if want == PreferReader {
				t := time.NewTimer(c.cfg.ProbeTimeout)
				defer t.Stop()
				grace = t.C
			}
		}
		select {
		case <-ctx.Done():
		case <-news:
		case <-grace:
			late = true
		}
	}
}

// find is one look for what Pick wants, with what tells of news. If there is nothing, and ask is true, the monitor learns that somebody waits.
func (c *Cluster) find(want Want, after Ticket, late, ask bool) (in Instance, ok bool, s *Snapshot, news chan struct{}, detached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.snap.Load()
	in, ok = c.choose(s, want, max(after, c.floor), late)
	if news = c.anyCh; want == WantWriter {
		news = c.writerCh
	}
	if !ok && ask {
		c.inbox.wanted = true
		if want == WantWriter {
			c.inbox.needWriter = max(c.inbox.needWriter, uint64(after))
		} else {
			c.inbox.needAny = max(c.inbox.needAny, uint64(after)+1)
		}
	}
	return in, ok, s, news, len(c.probers) == 0
}

// choose finds an eligible instance. The caller holds mu. Late means that readers had their chance to answer.
func (c *Cluster) choose(s *Snapshot, want Want, floor Ticket, late bool) (Instance, bool) {
	if s.Kind == KindNone {
		return s.Instances[c.cursor%len(s.Instances)], true
	}
	proven := func(in *Instance) bool {
		return in.Role != Unknown && Ticket(in.Round) > max(floor, c.suspected[in.ID])
	}
	var readers []int
	writer, silent := -1, false
	for i := range s.Instances {
		in := &s.Instances[i]
		switch {
		case proven(in) && want == WantAny:
			return *in, true
		case proven(in) && in.Role == Reader:
			readers = append(readers, i)
		case proven(in):
			writer = i
		case Ticket(s.attempts[i].round) <= max(floor, c.suspected[in.ID]):
			silent = true
		}
	}
	switch {
	case len(readers) > 0 && (want == WantReader || want == PreferReader):
		c.turn++
		return s.Instances[readers[c.turn%uint64(len(readers))]], true
	case writer >= 0 && (want == WantWriter || want == PreferReader && (late || !silent)):
		return s.Instances[writer], true
	}
	return Instance{}, false
}

// ErrNotAsked stands for an instance that no attempt to ask has ended for.
var ErrNotAsked = errors.New("topology: no answer yet")

// Failures returns, in the order of Instances, how the last attempt to ask each instance ended: nil if it was answered, [ErrNotAsked] if none has
// ended yet. With KindNone nobody is asked.
func (s *Snapshot) Failures() []error {
	errs := make([]error, len(s.Instances))
	for i := range errs {
		if errs[i] = s.attempts[i].err; errs[i] == nil && s.attempts[i].round == 0 && s.Instances[i].Round == 0 {
			errs[i] = ErrNotAsked
		}
	}
	return errs
}

// pickError is why Pick found nothing.
type pickError struct {
	text   string
	causes []error
}

func (e *pickError) Error() string   { return e.text }
func (e *pickError) Unwrap() []error { return e.causes }

// failure describes what was seen of each instance.
func (c *Cluster) failure(s *Snapshot, want Want, cause error) error {
	e := &pickError{}
	if cause != nil {
		e.causes = append(e.causes, cause)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "topology: no %v among %d instances of %s", want, len(s.Instances), c.cfg.Name)
	if len(s.Instances) == 1 {
		b.Reset()
		fmt.Fprintf(&b, "topology: no %v of %s", want, c.cfg.Name)
	}
	for i := range s.Instances {
		in, a := &s.Instances[i], s.attempts[i]
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + in.ID + ": ")
		switch {
		case a.err != nil:
			b.WriteString(brief(a.err))
			e.causes = append(e.causes, a.err)
		case a.note != "":
			b.WriteString(a.note)
		case a.round == 0 && in.Round == 0:
			b.WriteString("no answer yet")
		default:
			fmt.Fprintf(&b, "%v, not proven again yet", in.Role)
		}
	}
	if cause != nil {
		b.WriteString(": " + cause.Error())
	}
	e.text = b.String()
	return e
}

// brief is an error's text without the path by which it came, where that is known to add nothing.
func brief(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno.Error()
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}
