package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/fairlead-go/fairlead/internal/demo"
)

// runLive runs the demo under a view that follows it.
func runLive(ctx context.Context, cfg demo.Config, in io.Reader, out *os.File) (*demo.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The program ends by Quit only: the view stays until the cluster is gone, also after an interrupt.
	p := tea.NewProgram(&live{began: time.Now(), stop: cancel}, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	type ended struct {
		result *demo.Result
		err    error
	}
	done := make(chan ended, 1)
	go func() {
		result, err := demo.Run(ctx, cfg, sender{p})
		p.Quit()
		done <- ended{result, err}
	}()
	_, err := p.Run()
	if err != nil {
		cancel()
	}
	e := <-done
	if e.err != nil {
		return nil, e.err
	}
	if err != nil {
		return nil, fmt.Errorf("demo: live view: %w; --plain does without it", err)
	}
	return e.result, nil
}

// sender passes on to the view what it is told.
type sender struct{ program *tea.Program }

type stepMsg struct {
	at   time.Time
	text string
}

// Step implements demo.Observer.
func (s sender) Step(text string) { s.program.Send(stepMsg{time.Now(), text}) }

// Sample implements demo.Observer.
func (s sender) Sample(sample demo.Sample) { s.program.Send(sample) }

// live is what the view shows.
type live struct {
	began    time.Time
	stop     context.CancelFunc
	stopping bool
	width    int
	steps    []string
	samples  []demo.Sample // the latest ones, newest last
	gaps     []gaps
}

// gaps are the times that a contestant was without a writer.
type gaps struct {
	longest time.Duration
}

var _ tea.Model = (*live)(nil)

// Init implements tea.Model.
func (m *live) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m *live) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width = msg.Width
	case tea.KeyPressMsg:
		if k := msg.Keystroke(); k == "ctrl+c" || k == "q" || k == "esc" {
			m.stopping = true
			m.stop()
		}
	case stepMsg:
		m.steps = append(m.steps, fmt.Sprintf("%5.1f s  %s", msg.at.Sub(m.began).Seconds(), msg.text))
	case demo.Sample:
		m.samples = append(m.samples, msg)
		if len(m.samples) > history+1 {
			m.samples = m.samples[1:]
		}
		m.gaps = append(m.gaps, make([]gaps, len(msg.Contestants)-min(len(m.gaps), len(msg.Contestants)))...)
		for i, c := range msg.Contestants {
			m.gaps[i].longest = max(m.gaps[i].longest, c.Silent)
		}
	}
	return m, nil
}

// How many columns of rates, and of steps, are shown.
const (
	history   = 40
	lastSteps = 12
)

// View implements tea.Model.
func (m *live) View() tea.View {
	var b strings.Builder
	b.WriteString(strong("fairlead demo") + ": one cluster, one load, three drivers\n\n")
	if n := len(m.samples); n > 0 {
		now := m.samples[n-1]
		before := m.samples[max(n-5, 0)]
		for i, c := range now.Contestants {
			m.contestant(&b, i, c, pulse(c, now, before, i))
		}
		b.WriteString("\n")
	}
	for _, step := range m.steps[max(len(m.steps)-lastSteps, 0):] {
		b.WriteString(m.cut(step) + "\n")
	}
	switch {
	case m.stopping:
		b.WriteString("\nstopping ...\n")
	default:
		b.WriteString("\nctrl+c stops it\n")
	}
	return tea.NewView(b.String())
}

func (m *live) contestant(b *strings.Builder, i int, c demo.Standing, pulse string) {
	state := good(fmt.Sprintf("%-22s", pulse))
	if c.Silent > silent {
		state = bad(fmt.Sprintf("%-22s", pulse))
	}
	fmt.Fprintf(b, "%s %s %s\n", strong(fmt.Sprintf("%-14s", c.Name)), state, m.rates(i))
	fmt.Fprintf(b, "%-14s %d acknowledged, %d failed, %d undecided, at most %.1f s without a write\n",
		"", c.Writes, c.Errors, c.Undecided, m.gaps[i].longest.Seconds())
}

// rates is a line of bars, one for each sample.
func (m *live) rates(i int) string {
	if m.width > 0 && m.width < 39+history {
		return ""
	}
	bars := []rune(" ▁▂▃▄▅▆▇█")
	top := 1.0
	for j := 1; j < len(m.samples); j++ {
		for k := range m.samples[j].Contestants {
			top = max(top, rate(m.samples[j], m.samples[j-1], k))
		}
	}
	var b strings.Builder
	for j := 1; j < len(m.samples); j++ {
		v := rate(m.samples[j], m.samples[j-1], i)
		n := int(v / top * float64(len(bars)-1))
		if v > 0 {
			n = max(n, 1)
		}
		b.WriteRune(bars[n])
	}
	return b.String()
}

func (m *live) cut(s string) string {
	if r := []rune(s); m.width > 0 && len(r) > m.width {
		return string(r[:m.width])
	}
	return s
}

// The colours; bubbletea leaves them out where there are none, or where NO_COLOR is set.
func strong(s string) string { return "\x1b[1m" + s + "\x1b[0m" }
func good(s string) string   { return "\x1b[32m" + s + "\x1b[0m" }
func bad(s string) string    { return "\x1b[1;31m" + s + "\x1b[0m" }
