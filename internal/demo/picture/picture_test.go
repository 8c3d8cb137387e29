package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/demo"
)

// imagined is a result as a run could have it.
func imagined() *demo.Result {
	r := &demo.Result{
		Failures: []demo.Failure{
			{Name: "killed", At: 2 * time.Second, Accepting: 2310 * time.Millisecond, Old: "inst-1", New: "inst-2"},
			{Name: "frozen", At: 21 * time.Second, Accepting: 21240 * time.Millisecond, Old: "inst-2", New: "inst-3"},
		},
		Workers: 16, StaleDNS: 15 * time.Second, OpTimeout: 10 * time.Second,
	}
	none := map[string][2]time.Duration{
		demo.PgxEndpoint:  {15400 * time.Millisecond, 20300 * time.Millisecond},
		demo.PgxMultiHost: {520 * time.Millisecond, 15200 * time.Millisecond},
		demo.Fairlead:     {330 * time.Millisecond, 290 * time.Millisecond},
	}
	span := []time.Duration{17 * time.Second, 22 * time.Second}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{demo.PgxEndpoint, demo.PgxMultiHost, demo.Fairlead} {
		c := demo.Contestant{Name: name}
		for i, f := range r.Failures {
			gap := none[name][i]
			c.Outages = append(c.Outages, demo.Outage{None: gap, From: f.At, To: f.At + gap, AllBack: gap, Over: true})
			t := demo.Timeline{Start: -time.Second, Bins: make([]demo.Bin, (span[i]+time.Second)/demo.BinWidth)}
			for j := range t.Bins {
				at := t.At(j)
				switch {
				case at < 0 || at > gap:
					t.Bins[j] = demo.Bin{Writes: 3 + rnd.IntN(8), Slowest: time.Duration(1+rnd.IntN(8)) * time.Millisecond}
				case name == demo.PgxEndpoint && i == 0 && rnd.IntN(3) == 0:
					t.Bins[j].Errors = 1
				}
			}
			c.Timelines = append(c.Timelines, t)
		}
		r.Contestants = append(r.Contestants, c)
	}
	return r
}

func TestSVGIsWellFormedAndSaysWhatIsSeen(t *testing.T) {
	var buf bytes.Buffer
	if err := WriteSVG(&buf, imagined()); err != nil {
		t.Fatal(err)
	}
	var words strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(buf.Bytes())); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := tok.(xml.CharData); ok {
			words.Write(s)
		}
	}
	for _, want := range []string{
		"What an application sees", "The writer is killed", "The writer is frozen", "pgx-endpoint", "pgx-multihost",
		"fairlead", "no write for 15.4 s", "no write for 0.33 s", "seconds since the writer was frozen", "writes/s",
		"operations failed",
	} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if strings.Contains(buf.String(), "font-family:Liberation Sans;") {
		t.Error("a font without a substitute")
	}
	if buf.Len() > 1<<20 {
		t.Errorf("the picture has %d bytes", buf.Len())
	}
}

func TestSaveMakesTheKindOfPictureThatTheNameSays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := Save(filepath.Join(dir, "a.PNG"), imagined()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "a.PNG"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if w := img.Bounds().Dx(); w != 2*int(width) {
		t.Errorf("width %d", w)
	}
	if err := Save(filepath.Join(dir, "a.svg"), imagined()); err != nil {
		t.Fatal(err)
	}
	err = Save(filepath.Join(dir, "a.jpeg"), imagined())
	if err == nil || !strings.Contains(err.Error(), "a.jpeg") || !strings.Contains(err.Error(), ".svg or .png") {
		t.Errorf("jpeg: %v", err)
	}
}

func TestAnOutageThatDoesNotEndIsShownAsALowerBound(t *testing.T) {
	r := imagined()
	r.Contestants[0].Outages[1].Over = false
	var buf bytes.Buffer
	if err := WriteSVG(&buf, r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(buf.String(), "no write for more than 20.3 s") {
		t.Error("not said")
	}
}

func TestScalesEndAtRoundNumbers(t *testing.T) {
	for in, want := range map[float64]float64{1: 1, 101: 200, 850: 1000, 600: 800, 500: 500, 1200: 2000} {
		if got := round(in); got != want {
			t.Errorf("round(%v) = %v, want %v", in, got, want)
		}
	}
	r := imagined()
	if got := topRate(r); got != 1000 {
		t.Errorf("rate %v", got)
	}
	r.Contestants[0].Timelines[0].Bins[0].Writes = 90
	if got := topRate(r); got != 1000 {
		t.Errorf("one bin of thousands sets the scale: %v", got)
	}
}
