package picture

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"gonum.org/v1/plot/vg"

	"github.com/fairlead-go/fairlead/internal/demo"
)

// The latency scale.
const (
	fastest = 0.3e-3 // seconds
	slowest = 30.0
)

// column is one failure: a panel for each contestant, above one time axis.
type column struct {
	*painter
	failure  demo.Failure
	index    int // of the failure
	first    bool
	x0, x1   vg.Length
	from, to time.Duration // relative to the failure
	rate     float64       // the end of the scale
}

// x is where a time is, relative to the failure.
func (c *column) x(t time.Duration) vg.Length {
	part := float64(t-c.from) / float64(c.to-c.from)
	return c.x0 + (c.x1-c.x0)*vg.Length(min(max(part, 0), 1))
}

// panel draws a contestant, downwards from top.
func (c *column) panel(contestant demo.Contestant, top vg.Length) {
	hue := hues[contestant.Name]
	outage := contestant.Outages[c.index]
	t := contestant.Timelines[c.index]
	yTop := top - name
	y0 := yTop - upper
	lTop := y0 - rug
	l0 := lTop - lower

	c.text(bold(13), hue, c.x0, top-17, contestant.Name)
	c.text(plain(13), ink, c.x0+c.widthOf(bold(13), contestant.Name+"  "), top-17, described(contestant, outage))

	from, to := c.x(outage.From-c.failure.At), c.x(outage.To-c.failure.At)
	c.fill(shade, from, l0, max(to, from+1), yTop)
	for _, v := range []float64{0, c.rate / 2, c.rate} {
		y := y0 + upper*vg.Length(v/c.rate)
		c.line(grid, 0.6, nil, c.x0, y, c.x1, y)
		c.textRight(plain(11), soft, c.x0-5, y-4, strconv.FormatFloat(v, 'f', -1, 64))
	}
	for _, tick := range []struct {
		at    float64
		label string
	}{{1e-3, "1 ms"}, {0.1, "0.1 s"}, {10, "10 s"}} {
		y := l0 + lower*latencyPart(tick.at)
		c.line(grid, 0.6, nil, c.x0, y, c.x1, y)
		c.textRight(plain(11), soft, c.x0-5, y-4, tick.label)
	}
	c.line(axis, 0.8, nil, c.x0, y0, c.x1, y0)
	c.line(axis, 0.8, nil, c.x0, l0, c.x1, l0)
	if c.first {
		c.textUp(plain(11), soft, c.x0-47, y0+upper/2, "writes/s")
		c.textUp(plain(11), soft, c.x0-47, l0+lower/2, "slowest")
	}

	c.rates(t, hue, y0)
	c.errors(t, y0)
	c.latencies(t, hue, l0)
	c.line(ink, 1.2, dashed, c.x(0), l0, c.x(0), yTop)
	accepting := c.x(c.failure.Accepting - c.failure.At)
	c.line(ink, 1.0, dotted, accepting, l0, accepting, yTop)
}

func described(c demo.Contestant, o demo.Outage) string {
	text := "no write for " + short(o.None)
	if !o.Over {
		text = "no write for more than " + short(o.None)
	}
	return text
}

// rates fills the area under the writes per second.
func (c *column) rates(t demo.Timeline, hue colour, y0 vg.Length) {
	var path vg.Path
	open := false
	shut := func(i int) {
		if open {
			path.Line(vg.Point{X: c.edge(t, i), Y: y0})
			path.Close()
			open = false
		}
	}
	for i, b := range t.Bins {
		if b.Writes == 0 {
			shut(i)
			continue
		}
		part := min(float64(b.Writes)/demo.BinWidth.Seconds()/c.rate, 1)
		y := y0 + upper*vg.Length(part)
		if !open {
			path.Move(vg.Point{X: c.edge(t, i), Y: y0})
			open = true
		}
		if i == 0 || t.Bins[i-1].Writes != b.Writes {
			path.Line(vg.Point{X: c.edge(t, i), Y: y})
		}
		if i+1 == len(t.Bins) || t.Bins[i+1].Writes != b.Writes {
			path.Line(vg.Point{X: c.edge(t, i+1), Y: y})
		}
	}
	shut(len(t.Bins))
	if len(path) > 0 {
		c.SetColor(hue)
		c.Fill(path)
	}
}

// errors draws a stroke for each bin in which an operation failed, under the axis.
func (c *column) errors(t demo.Timeline, y0 vg.Length) {
	var path vg.Path
	for i, b := range t.Bins {
		if b.Errors > 0 {
			x := c.x(t.At(i))
			path.Move(vg.Point{X: x, Y: y0 - rug + 3})
			path.Line(vg.Point{X: x, Y: y0 - 2})
		}
	}
	c.stroke(path, failed, 1)
}

// latencies draws a dash for the slowest response in each bin.
func (c *column) latencies(t demo.Timeline, hue colour, l0 vg.Length) {
	var path vg.Path
	for i, b := range t.Bins {
		if b.Slowest == 0 {
			continue
		}
		y := l0 + lower*latencyPart(b.Slowest.Seconds())
		x := c.x(t.At(i))
		path.Move(vg.Point{X: x - 0.6, Y: y})
		path.Line(vg.Point{X: x + 0.6, Y: y})
	}
	c.stroke(path, hue, 1.4)
}

// edge is the left edge of a bin.
func (c *column) edge(t demo.Timeline, i int) vg.Length {
	return c.x(t.Start + time.Duration(i)*demo.BinWidth)
}

// latencyPart is where a time in seconds is on the logarithmic scale, from 0 to 1.
func latencyPart(s float64) vg.Length {
	part := math.Log(s/fastest) / math.Log(slowest/fastest)
	return vg.Length(min(max(part, 0), 1))
}

func (c *column) timeAxis(y vg.Length) {
	step := c.step()
	for i := int(math.Ceil(c.from.Seconds() / step)); float64(i)*step <= c.to.Seconds(); i++ {
		s := float64(i) * step
		x := c.x(time.Duration(s * float64(time.Second)))
		c.line(axis, 0.8, nil, x, y, x, y-4)
		c.textCentre(plain(11), soft, x, y-16, strconv.FormatFloat(s, 'g', 4, 64))
	}
	c.textCentre(plain(11), soft, (c.x0+c.x1)/2, y-31, fmt.Sprintf("seconds since the writer was %s", c.failure.Name))
}

// step is the distance of the labels of the time axis, in seconds.
func (c *column) step() float64 {
	for _, s := range []float64{0.1, 0.2, 0.5, 1, 2, 5} {
		if (c.to-c.from).Seconds()/s*26 < float64(c.x1-c.x0) {
			return s
		}
	}
	return 10
}
