package sweep

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
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

// Against times the points stand where their milliseconds are, in the order of
// the times and not of the costs.
func TestTimesSVGStandsByTheTimes(t *testing.T) {
	r := result()
	if r.TimesSVG() != "" || r.BitMACsSVG() == "" {
		t.Error("want a picture of bit-MACs, and none of times that are not measured")
	}
	for i := range r.Points {
		r.Points[i].MS = map[string]float64{"eagl": 3, "random": 1, "alps": 2, "w4a4": 9}[r.Points[i].Method]
	}
	r.Times, r.CostModel = &Times{Kernel: "generic", Threads: 2}, "bit-macs"
	r.analyse()
	svg := r.TimesSVG()
	if n := elements(t, svg); n["polyline"] != 4 || n["circle"] != 4 {
		t.Errorf("%v", n)
	}
	for _, want := range []string{"accuracy against time</title>", "ms an example, sum of layers, generic, 2 threads", "random: 0.7140 at 1, 4 seeds", "w4a4: 0.8625 at 9, 4 seeds"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture lacks %q: %s", want, svg)
		}
	}
	x := func(method string) (at float64) {
		if _, err := fmt.Sscanf(svg[strings.LastIndex(svg[:strings.Index(svg, "<title>"+method+":")], "cx=")+4:], "%g", &at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	zero := axis{0, 9, 0, 1} // where 0 ms are, from the others
	zero.from = x("random") - (x("w4a4")-x("random"))/8
	for method, ms := range map[string]float64{"random": 1, "alps": 2, "eagl": 3, "w4a4": 9} {
		if zero.to = x("w4a4"); math.Abs(x(method)-zero.at(ms)) > 0.11 || zero.from < marginLeft || zero.from > marginLeft+40 {
			t.Errorf("%g ms stand at %g, want %g; 0 at %g", ms, x(method), zero.at(ms), zero.from)
		}
	}
	if r.BitMACsSVG() != "" {
		t.Error("two pictures of bit-MACs")
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
