package picture

import (
	"fmt"
	"image/color"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	xfont "golang.org/x/image/font"

	"github.com/fairlead-go/fairlead/internal/demo"
)

type colour = color.RGBA

// The hues are of Okabe and Ito's set, which people with any kind of colour vision can tell apart.
var (
	white  = rgb(0xffffff)
	ink    = rgb(0x1a1a1a)
	soft   = rgb(0x4a4a4a)
	axis   = rgb(0x707070)
	grid   = rgb(0xd8d8d8)
	shade  = rgb(0xece6f0)
	failed = rgb(0x000000)

	hues = map[string]colour{
		demo.PgxEndpoint:  rgb(0xd55e00),
		demo.PgxMultiHost: rgb(0x0072b2),
		demo.Fairlead:     rgb(0x009e73),
	}

	dashed = []vg.Length{5, 3}
	dotted = []vg.Length{1.5, 2.5}
)

func rgb(v uint32) colour {
	return colour{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 255}
}

// painter draws lines, areas and words on a canvas.
type painter struct {
	draw.Canvas
}

type face struct {
	size vg.Length
	bold bool
}

func plain(size vg.Length) face { return face{size, false} }
func bold(size vg.Length) face  { return face{size, true} }

func (f face) style(c colour) text.Style {
	fnt := font.From(plot.DefaultFont, f.size)
	fnt.Variant = "Sans"
	if f.bold {
		fnt.Weight = xfont.WeightBold
	}
	return text.Style{Color: c, Font: fnt, Handler: plot.DefaultTextHandler}
}

func (p *painter) text(f face, c colour, x, y vg.Length, s string) {
	p.FillText(f.style(c), vg.Point{X: x, Y: y}, s)
}

func (p *painter) textRight(f face, c colour, x, y vg.Length, s string) {
	st := f.style(c)
	st.XAlign = text.XRight
	p.FillText(st, vg.Point{X: x, Y: y}, s)
}

func (p *painter) textCentre(f face, c colour, x, y vg.Length, s string) {
	st := f.style(c)
	st.XAlign = text.XCenter
	p.FillText(st, vg.Point{X: x, Y: y}, s)
}

// textUp writes upwards, centred on y.
func (p *painter) textUp(f face, c colour, x, y vg.Length, s string) {
	st := f.style(c)
	st.XAlign, st.Rotation = text.XCenter, 1.5707963267948966
	p.FillText(st, vg.Point{X: x, Y: y}, s)
}

func (p *painter) widthOf(f face, s string) vg.Length { return f.style(ink).Width(s) }

func (p *painter) fill(c colour, x0, y0, x1, y1 vg.Length) {
	var path vg.Path
	path.Move(vg.Point{X: x0, Y: y0})
	path.Line(vg.Point{X: x1, Y: y0})
	path.Line(vg.Point{X: x1, Y: y1})
	path.Line(vg.Point{X: x0, Y: y1})
	path.Close()
	p.SetColor(c)
	p.Fill(path)
}

func (p *painter) line(c colour, w vg.Length, dashes []vg.Length, x0, y0, x1, y1 vg.Length) {
	p.SetLineDash(dashes, 0)
	var path vg.Path
	path.Move(vg.Point{X: x0, Y: y0})
	path.Line(vg.Point{X: x1, Y: y1})
	p.stroke(path, c, w)
	p.SetLineDash(nil, 0)
}

func (p *painter) stroke(path vg.Path, c colour, w vg.Length) {
	if len(path) == 0 {
		return
	}
	p.SetColor(c)
	p.SetLineWidth(w)
	p.Stroke(path)
}

func (p *painter) titles(r *demo.Result) {
	x, y := p.Min.X+margin, p.Max.Y
	p.text(bold(21), ink, x, y-31, "What an application sees of its database's failover")
	p.text(plain(13), soft, x, y-54, fmt.Sprintf(
		"Three drivers under the same load on the same PostgreSQL cluster at the same time, %d workers each. "+
			"Bins of %d ms.", r.Workers, demo.BinWidth.Milliseconds()))
	p.text(plain(13), soft, x, y-71, fmt.Sprintf(
		"The DNS name of the cluster leads to the old writer for %s after a failover; operations give up after %s.",
		round3(r.StaleDNS), round3(r.OpTimeout)))
}

// legend explains the signs, from left to right.
func (p *painter) legend(y vg.Length) {
	x := p.Min.X + left
	say := func(s string) {
		p.text(plain(12), ink, x, y-4, s)
		x += p.widthOf(plain(12), s) + 24
	}
	p.fill(axis, x, y-5, x+14, y+5)
	x += 19
	say("writes per second")
	p.line(axis, 1.8, nil, x, y, x+5, y)
	p.line(axis, 1.8, nil, x+8, y+3, x+13, y+3)
	x += 19
	say("slowest response")
	for i := range 4 {
		p.line(failed, 1, nil, x+vg.Length(i*4), y-5, x+vg.Length(i*4), y+4)
	}
	x += 18
	say("operations failed")
	p.fill(shade, x, y-6, x+14, y+6)
	x += 19
	say("no write succeeds")
	p.line(ink, 1.2, dashed, x+4, y-8, x+4, y+8)
	x += 12
	say("failure of the writer")
	p.line(ink, 1, dotted, x+4, y-8, x+4, y+8)
	x += 12
	say("its successor takes writes")
}

// round3 gives a time that somebody has chosen.
func round3(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + " s" }

// short gives a time in seconds, with the digits that can be told apart in a picture.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
