package main

import (
	"fmt"
	"io"
	"time"

	"github.com/fairlead-go/fairlead/internal/demo"
)

// lines is the progress of a demo where there is no terminal: what happens as it happens, and how the contestants fare
// once a second.
type lines struct {
	out   io.Writer
	began time.Time
	last  demo.Sample
}

func newLines(out io.Writer) *lines { return &lines{out: out, began: time.Now()} }

var _ demo.Observer = (*lines)(nil)

// Step implements demo.Observer.
func (l *lines) Step(text string) {
	fmt.Fprintf(l.out, "%5.1f s  %s\n", time.Since(l.began).Seconds(), text)
}

// Sample implements demo.Observer.
func (l *lines) Sample(s demo.Sample) {
	if s.At-l.last.At < time.Second {
		return
	}
	fmt.Fprintf(l.out, "%5.1f s ", time.Since(l.began).Seconds())
	for i, c := range s.Contestants {
		fmt.Fprintf(l.out, "  %s %s", c.Name, pulse(c, s, l.last, i))
	}
	fmt.Fprintln(l.out)
	l.last = s
}

// silent is when a contestant counts as being without a writer.
const silent = 500 * time.Millisecond

// pulse is the rate at which contestant i writes, or since when it does not.
func pulse(c demo.Standing, now, before demo.Sample, i int) string {
	if c.Silent > silent {
		return fmt.Sprintf("NO WRITE for %.1f s", c.Silent.Seconds())
	}
	return fmt.Sprintf("%.0f writes/s", rate(now, before, i))
}

// rate is in writes per second.
func rate(now, before demo.Sample, i int) float64 {
	writes, elapsed := now.Contestants[i].Writes, now.At
	if i < len(before.Contestants) {
		writes -= before.Contestants[i].Writes
		elapsed -= before.At
	}
	if elapsed <= 0 {
		return 0
	}
	return float64(writes) / elapsed.Seconds()
}
