package sweep

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"lowbit/mixed"
)

// elements counts a picture's elements by name.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	n := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok {
			n[e.Name.Local]++
		}
	}
}

func TestFrontierSVGShowsEveryMethod(t *testing.T) {
	r := result()
	n := elements(t, r.FrontierSVG())
	if n["polyline"] != 4 || n["circle"] != 4 || n["rect"] != 4 {
		t.Errorf("%v", n)
	}
	if svg := (&Result{}).FrontierSVG(); svg != "" {
		t.Errorf("of nothing: %s", svg)
	}
	one := &Result{Points: []Point{{Method: "<b>", Budget: 1, Cost: 1, Accuracy: 0.5, Done: true}}}
	one.analyse()
	if n := elements(t, one.FrontierSVG()); n["circle"] != 1 || n["b"] != 0 {
		t.Errorf("one point: %v", n)
	}
}

func TestCorrelationSVGShowsEveryPair(t *testing.T) {
	r := &Result{}
	for _, m := range []string{"a", "b", "c"} {
		r.Scored = append(r.Scored, Scored{Method: m, Gains: mixed.Gains{Values: [][]float64{{0, 1}, {0, 2}}}})
	}
	r.analyse()
	if n := elements(t, r.CorrelationSVG()); n["rect"] != 9 || n["text"] != 15 {
		t.Errorf("%v", n)
	}
	r.Scored = r.Scored[:1]
	r.analyse()
	if svg := r.CorrelationSVG(); svg != "" {
		t.Errorf("of one method: %s", svg)
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, a := range []axis{{lo: 0.48, hi: 1.02}, {lo: 0.913, hi: 0.9231}, {lo: 0, hi: 100}} {
		ts := a.ticks()
		if len(ts) < 2 || len(ts) > 9 || ts[0] < a.lo || ts[len(ts)-1] > a.hi {
			t.Errorf("%+v: %v", a, ts)
		}
	}
}
