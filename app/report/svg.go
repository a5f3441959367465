package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// canvas is an SVG under construction. Colours and fonts are classes of the
// page's style sheet, so that light and dark need no second drawing.
type canvas struct {
	b             strings.Builder
	width, height float64
}

func newCanvas(width, height float64, title string) *canvas {
	c := &canvas{width: width, height: height}
	fmt.Fprintf(&c.b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, html.EscapeString(title))
	return c
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

// text writes at the baseline; anchor is start, middle or end.
func (c *canvas) text(class, anchor string, x, y float64, s string) {
	fmt.Fprintf(&c.b, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, class, anchor, x, y, html.EscapeString(s))
}

func (c *canvas) path(class string, xs, ys []float64) {
	fmt.Fprintf(&c.b, `<path class="%s" d="`, class)
	for i := range xs {
		op := "L"
		if i == 0 {
			op = "M"
		}
		fmt.Fprintf(&c.b, "%s%.1f %.1f", op, xs[i], ys[i])
	}
	c.b.WriteString(`"/>`)
}

// mark draws one of a few shapes, so that series differ without colour, with a
// text that shows when it is pointed at.
func (c *canvas) mark(class string, shape int, x, y float64, tip string) {
	const r = 5
	fmt.Fprintf(&c.b, `<g class="%s"><title>%s</title>`, class, html.EscapeString(tip))
	switch shape % 4 {
	case 0:
		fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="%d"/>`, x, y, r)
	case 1:
		fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%d" height="%d"/>`, x-r+.5, y-r+.5, 2*r-1, 2*r-1)
	case 2:
		fmt.Fprintf(&c.b, `<path d="M%.1f %.1fl6 10h-12z"/>`, x, y-6)
	case 3:
		fmt.Fprintf(&c.b, `<path d="M%.1f %.1fl6 6l-6 6l-6 -6z"/>`, x, y-6)
	}
	c.b.WriteString(`</g>`)
}

func (c *canvas) html() template.HTML { return template.HTML(c.b.String() + `</svg>`) }

// scale maps values to positions on an axis.
type scale struct{ lo, hi, from, to float64 }

func (s scale) at(v float64) float64 {
	if s.hi == s.lo {
		return s.from
	}
	return s.from + (v-s.lo)/(s.hi-s.lo)*(s.to-s.from)
}

// ticks returns round values from lo to hi, about n of them.
func ticks(lo, hi float64, n int) []float64 {
	if !(hi > lo) {
		return []float64{lo}
	}
	raw := (hi - lo) / float64(n)
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if unit*m >= raw*0.999 {
			unit *= m
			break
		}
	}
	var t []float64
	for k := math.Ceil(lo/unit - 1e-9); k*unit <= hi+unit*1e-9; k++ {
		t = append(t, k*unit)
	}
	return t
}

// label writes a tick as short as its distance to the next allows.
func label(v, unit float64) string {
	digits := max(0, int(math.Ceil(-math.Log10(unit)-1e-9)))
	if math.Abs(v) < unit/2 {
		v = 0 // never -0
	}
	return fmt.Sprintf("%.*f", digits, v)
}
