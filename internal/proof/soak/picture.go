package soak

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// panel is one graph of the picture.
type panel struct {
	title  string
	series []series
}

type series struct {
	name string
	hue  color.RGBA
	of   func(Sample) float64
}

// The hues are of Okabe and Ito's set, which people with any kind of colour vision can tell apart.
var (
	blue   = color.RGBA{R: 0, G: 0x72, B: 0xb2, A: 255}
	orange = color.RGBA{R: 0xd5, G: 0x5e, B: 0, A: 255}
	green  = color.RGBA{R: 0, G: 0x9e, B: 0x73, A: 255}
)

var panels = []panel{
	{"Honest clients: operations per second", []series{{"operations", green, func(s Sample) float64 { return float64(s.Ops) }}}},
	{"Honest clients: slowest operation (s), failed operations", []series{
		{"slowest", blue, func(s Sample) float64 { return s.Slowest.Seconds() }},
		{"failed so far", orange, func(s Sample) float64 { return float64(s.Failed) }},
	}},
	{"The pooler's memory (MB)", []series{
		{"resident", blue, func(s Sample) float64 { return float64(s.RSS) / (1 << 20) }},
		{"heap", orange, func(s Sample) float64 { return float64(s.Heap) / (1 << 20) }},
	}},
	{"Clients, goroutines, server connections", []series{
		{"goroutines", blue, func(s Sample) float64 { return float64(s.Goroutines) }},
		{"clients", green, func(s Sample) float64 { return float64(s.Clients) }},
		{"server connections", orange, func(s Sample) float64 { return float64(s.Open) }},
	}},
}

// Draw draws the samples into a file, as SVG or PNG by the ending of its name, and makes its directory if need be.
func (res *Result) Draw(file string) error {
	const width, height = 24 * vg.Centimeter, 24 * vg.Centimeter
	var canvas interface {
		vg.CanvasWriterTo
		vg.CanvasSizer
	}
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".svg":
		canvas = vgsvg.New(width, height)
	case ".png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.New(width, height)}
	default:
		return fmt.Errorf("soak: picture %s: the name must end in .svg or .png", file)
	}
	plots := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		drawn, err := res.plot(p)
		if err != nil {
			return err
		}
		plots[i] = []*plot.Plot{drawn}
	}
	plots[len(plots)-1][0].X.Label.Text = "seconds"
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadY: 4 * vg.Millimeter, PadTop: vg.Millimeter, PadRight: 3 * vg.Millimeter}
	for i, c := range plot.Align(plots, tiles, draw.New(canvas)) {
		plots[i][0].Draw(c[0])
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("soak: picture: %w", err)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("soak: picture: %w", err)
	}
	if _, err := canvas.WriteTo(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("soak: picture: %w", err)
	}
	return f.Close()
}

func (res *Result) plot(p panel) (*plot.Plot, error) {
	drawn := plot.New()
	drawn.Title.Text = p.title
	drawn.Y.Min = 0
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Legend.Padding, drawn.Legend.ThumbnailWidth = vg.Millimeter, 6*vg.Millimeter
	drawn.Legend.XOffs, drawn.Legend.YOffs = 2*vg.Millimeter, 8*vg.Millimeter // above the lines, beside the title
	drawn.Legend.TextStyle.Font.Size = 9
	for _, s := range p.series {
		points := make(plotter.XYs, 0, len(res.Samples))
		last := 0.0
		for _, sample := range res.Samples {
			at := sample.At.Seconds()
			if sample.At > res.Config.Duration {
				break // the attacks are over
			}
			y := s.of(sample)
			if s.name == "operations" && at > last {
				y /= at - last
			}
			last = at
			points = append(points, plotter.XY{X: at, Y: y})
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("soak: picture: %w", err)
		}
		line.Color, line.Width = s.hue, vg.Points(1)
		drawn.Add(line)
		drawn.Legend.Add(s.name, line)
	}
	return drawn, nil
}
