package picture

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/fairlead-go/fairlead/internal/demo"
)

// The size of the picture, and of what is in it, in points.
const (
	width  = vg.Length(1060)
	margin = vg.Length(16)
	left   = vg.Length(64) // for the labels of the y axes
	gutter = vg.Length(54) // between columns, for the same

	head    = vg.Length(108) // for the titles
	name    = vg.Length(24)  // for the contestant's name above its panel
	upper   = vg.Length(110) // writes per second
	rug     = vg.Length(12)  // failed operations
	lower   = vg.Length(70)  // slowest response
	between = vg.Length(16)  // between panels
	foot    = vg.Length(84)  // for the time axis and the legend
)

// Check says whether Save can write to a file of this name: whether its ending is one of a kind of picture that it knows.
func Check(file string) error {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".svg", ".png":
		return nil
	}
	return fmt.Errorf("picture: file %s: the name must end in .svg or .png", file)
}

// Save draws the result into a file, as SVG or PNG by the ending of its name, and makes its directory if need be.
func Save(file string, r *demo.Result) error {
	if err := Check(file); err != nil {
		return err
	}
	var buf bytes.Buffer
	write := WriteSVG
	if strings.EqualFold(filepath.Ext(file), ".png") {
		write = WritePNG
	}
	if err := write(&buf, r); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("picture: save: %w", err)
	}
	if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
		return fmt.Errorf("picture: save: %w", err)
	}
	return nil
}

// WriteSVG draws the result as SVG.
func WriteSVG(w io.Writer, r *demo.Result) error {
	c := vgsvg.New(width, height(r))
	paint(draw.New(c), r)
	var buf bytes.Buffer
	if _, err := c.WriteTo(&buf); err != nil {
		return fmt.Errorf("picture: svg: %w", err)
	}
	// The font is not in the file. Where it is not installed either, one with letters of the same widths has to do.
	svg := bytes.ReplaceAll(buf.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;"))
	if _, err := w.Write(svg); err != nil {
		return fmt.Errorf("picture: svg: %w", err)
	}
	return nil
}

// WritePNG draws the result as PNG, with two dots for each point.
func WritePNG(w io.Writer, r *demo.Result) error {
	c := vgimg.NewWith(vgimg.UseWH(width, height(r)), vgimg.UseDPI(144))
	paint(draw.New(c), r)
	if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(w); err != nil {
		return fmt.Errorf("picture: png: %w", err)
	}
	return nil
}

func height(r *demo.Result) vg.Length {
	n := vg.Length(len(r.Contestants))
	return head + n*panelHeight + (n-1)*between + foot
}

const panelHeight = name + upper + rug + lower

// paint lays the panels out, from the top left.
func paint(c draw.Canvas, r *demo.Result) {
	p := &painter{Canvas: c}
	p.fill(white, c.Min.X, c.Min.Y, c.Max.X, c.Max.Y)
	p.titles(r)
	columns := vg.Length(len(r.Failures))
	if columns == 0 {
		return
	}
	inner := c.Max.X - c.Min.X - left - margin - (columns-1)*gutter
	top := c.Max.Y - head
	bottom := c.Min.Y + foot
	rate := topRate(r)
	x := c.Min.X + left
	for i, f := range r.Failures {
		col := column{painter: p, failure: f, index: i, rate: rate, first: i == 0}
		col.x0, col.x1 = x, x+inner*share(r, i)
		col.from, col.to = span(r, i)
		p.text(bold(15), ink, col.x0, top+14, "The writer is "+f.Name)
		y := top
		for _, contestant := range r.Contestants {
			col.panel(contestant, y)
			y -= panelHeight + between
		}
		col.timeAxis(bottom)
		x = col.x1 + gutter
	}
	p.legend(bottom - 48)
}

// share is how much of the width column i has: half of it the same as all others, and half by its time.
func share(r *demo.Result, i int) vg.Length {
	var all float64
	for j := range r.Failures {
		from, to := span(r, j)
		all += (to - from).Seconds()
	}
	from, to := span(r, i)
	even := 1 / float64(len(r.Failures))
	if all == 0 {
		return vg.Length(even)
	}
	return vg.Length(0.5*even + 0.5*(to-from).Seconds()/all)
}

// span is the time that column i shows, relative to the failure.
func span(r *demo.Result, i int) (from, to time.Duration) {
	for _, c := range r.Contestants {
		if t := c.Timelines[i]; len(t.Bins) > 0 {
			from = min(from, t.Start)
			to = max(to, t.Start+time.Duration(len(t.Bins))*demo.BinWidth)
		}
	}
	return from, to
}

// topRate is the end of the scale for writes per second: a round number above what nearly all bins have.
func topRate(r *demo.Result) float64 {
	counts := map[int]int{}
	n := 0
	for _, c := range r.Contestants {
		for _, t := range c.Timelines {
			for _, b := range t.Bins {
				if b.Writes > 0 {
					counts[b.Writes]++
					n++
				}
			}
		}
	}
	top, seen := 0, 0
	for seen < n-n/200 {
		top++
		seen += counts[top]
	}
	return round(float64(max(top, 1)) / demo.BinWidth.Seconds())
}

// round goes up to 1, 2, 3, 4, 5 or 8 and zeros.
func round(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 3, 4, 5, 8} {
		if v <= m*unit*1.0001 {
			return m * unit
		}
	}
	return 10 * unit
}
