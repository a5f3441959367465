package sweep

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"lowbit/quant"
)

// Size of the pictures, in pixels.
const (
	svgWidth, svgHeight = 720, 420
	marginLeft          = 60
	marginRight         = 150 // the legend
	marginTop           = 20
	marginBottom        = 46
)

// colours of methods, in order; told apart with the usual kinds of colour
// blindness, and by their markers' order in the legend.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a6761d", "#999999", "#8c564b", "#7f3fbf", "#b2df8a", "#1b6e53"}

// axis maps values to pixels.
type axis struct{ lo, hi, from, to float64 }

func (a axis) at(v float64) float64 { return a.from + (v-a.lo)/(a.hi-a.lo)*(a.to-a.from) }

// around returns an axis over values with a twentieth to spare.
func around(lo, hi, from, to float64) axis {
	if !(hi > lo) {
		lo, hi = lo-0.01, hi+0.01
	}
	spare := (hi - lo) / 20
	return axis{lo - spare, hi + spare, from, to}
}

// ticks are round values on the axis.
func (a axis) ticks() []float64 {
	step := math.Pow(10, math.Floor(math.Log10((a.hi-a.lo)/3)))
	for (a.hi-a.lo)/step > 8 {
		step *= 2
	}
	var ts []float64
	for i := math.Ceil(a.lo / step); i*step <= a.hi; i++ {
		ts = append(ts, i*step+0) // not -0
	}
	return ts
}

// FrontierSVG draws accuracy against cost, a line for each method, with 95 %
// confidence intervals over seeds as far as an accuracy can go; methods of equal
// cost stand side by side, and a broken line joins the uniform precisions. It is
// a picture to stand in a page as it is, empty if nothing is done.
func (r *Result) FrontierSVG() string {
	return r.frontierSVG("accuracy against cost", fmt.Sprintf("cost, share of %s at %v", r.CostModel, last(r)), math.Inf(1), 4, func(p Spot) float64 { return p.Cost })
}

// TimesSVG draws accuracy against milliseconds an example, as FrontierSVG does
// against cost; empty if no times are measured. Its axis begins at 0: times that
// differ by noise alone shall not look like a choice.
func (r *Result) TimesSVG() string {
	if r.Times == nil {
		return ""
	}
	threads := "1 thread"
	if r.Times.Threads != 1 {
		threads = fmt.Sprintf("%d threads", r.Times.Threads)
	}
	return r.frontierSVG("accuracy against time", fmt.Sprintf("ms an example, sum of layers, %s, %s", r.Times.Kernel, threads), 0, 0, func(p Spot) float64 { return p.MS })
}

// BitMACsSVG is FrontierSVG against bit-MACs where budgets count in something
// else; else empty.
func (r *Result) BitMACsSVG() string {
	if r.CostModel == "bit-macs" {
		return ""
	}
	return r.frontierSVG("accuracy against bit-MACs", fmt.Sprintf("cost, share of bit-macs at %v", last(r)), math.Inf(1), 0, func(p Spot) float64 { return p.BitMACs })
}

// frontierSVG draws accuracy against what of says of a spot, on an axis that
// begins at loX or at the least; methods stand so many pixels beside each other.
func (r *Result) frontierSVG(title, nameX string, loX, apart float64, of func(Spot) float64) string {
	hiX, loY, hiY := math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range r.Frontier {
		for _, p := range s.Spots {
			loX, hiX = min(loX, of(p)), max(hiX, of(p))
			from, to := p.interval()
			loY, hiY = min(loY, from), max(hiY, to)
		}
	}
	if math.IsInf(hiX, 0) {
		return ""
	}
	x := around(loX, hiX, marginLeft, svgWidth-marginRight)
	y := around(loY, hiY, svgHeight-marginBottom, marginTop)
	var b strings.Builder
	open(&b, title)
	axes(&b, x, y, nameX, "accuracy, %")
	r.uniformLine(&b, x, y, of)
	for i, s := range r.Frontier {
		c := colours[i%len(colours)]
		var line []string
		for _, p := range s.Spots {
			px, py := x.at(of(p))+apart*r.aside(i), y.at(p.Mean)
			line = append(line, fmt.Sprintf("%.1f,%.1f", px, py))
			if p.CI95 > 0 {
				from, to := p.interval()
				fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1fM%.1f %.1fh5M%.1f %.1fh5" fill="none" stroke="%s" stroke-opacity=".6"/>`,
					px, y.at(from), y.at(to), px-2.5, y.at(from), px-2.5, y.at(to), c)
			}
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s: %.4f at %.4g, %d seeds</title></circle>`, px, py, c, html.EscapeString(s.Method), p.Mean, of(p), p.N)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, strings.Join(line, " "), c)
		ly := marginTop + 16*float64(i)
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="10" height="10" fill="%s"/>`, svgWidth-marginRight+14, ly, c)
		text(&b, svgWidth-marginRight+30, ly+9, "start", s.Method)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// interval is the confidence interval of a mean accuracy, within 0..1.
func (p Spot) interval() (from, to float64) {
	return max(0, p.Mean-p.CI95), min(1, p.Mean+p.CI95)
}

// isUniform reports whether a series is of one precision for all layers.
func (r *Result) isUniform(method string) bool {
	return slices.ContainsFunc(r.Widths, func(w quant.Width) bool { return w.String() == method })
}

// aside is how many places the points of a method stand beside their cost.
func (r *Result) aside(series int) float64 {
	at, n := 0, 0
	for i, s := range r.Frontier {
		if r.isUniform(s.Method) {
			continue
		}
		if n++; i < series {
			at++
		}
	}
	if r.isUniform(r.Frontier[series].Method) {
		return 0
	}
	return float64(at) - float64(n-1)/2
}

// uniformLine joins the uniform precisions.
func (r *Result) uniformLine(b *strings.Builder, x, y axis, of func(Spot) float64) {
	var at []string
	for _, s := range r.Frontier {
		if r.isUniform(s.Method) && len(s.Spots) > 0 {
			at = append(at, fmt.Sprintf("%.1f %.1f", x.at(of(s.Spots[0])), y.at(s.Spots[0].Mean)))
		}
	}
	if len(at) > 1 {
		fmt.Fprintf(b, `<path d="M%s" fill="none" stroke="currentColor" stroke-opacity=".4" stroke-dasharray="4 4"/>`, strings.Join(at, "L"))
	}
}

func last(r *Result) string {
	if len(r.Widths) == 0 {
		return "the widest"
	}
	return r.Widths[len(r.Widths)-1].String()
}

func open(b *strings.Builder, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="sans-serif" font-size="12"><title>%s</title>`, svgWidth, svgHeight, html.EscapeString(title))
}

func text(b *strings.Builder, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="currentColor">%s</text>`, x, y, anchor, html.EscapeString(s))
}

func axes(b *strings.Builder, x, y axis, nameX, nameY string) {
	for _, t := range x.ticks() {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity=".15"/>`, x.at(t), x.at(t), y.from, y.to)
		text(b, x.at(t), y.from+16, "middle", fmt.Sprintf("%.4g", t))
	}
	for _, t := range y.ticks() {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity=".15"/>`, x.from, x.to, y.at(t), y.at(t))
		text(b, x.from-6, y.at(t)+4, "end", fmt.Sprintf("%.4g", 100*t))
	}
	text(b, (x.from+x.to)/2, svgHeight-8, "middle", nameX)
	text(b, x.from, marginTop-6, "start", nameY)
}

// CorrelationSVG draws the rank correlations between methods' gains as a table
// of squares, blue for like and orange for unlike; empty if fewer than two
// methods have gains.
func (r *Result) CorrelationSVG() string {
	c := r.Correlation
	if len(c.Methods) < 2 {
		return ""
	}
	var b strings.Builder
	open(&b, "rank correlation between gains")
	const left, top = 120, 30
	side := float64(svgHeight-top-10) / float64(len(c.Methods))
	for i, m := range c.Methods {
		text(&b, left-6, top+(float64(i)+.5)*side+4, "end", m)
		text(&b, left+(float64(i)+.5)*side, top-8, "middle", m)
		for j, v := range c.Spearman[i] {
			colour := colours[0]
			if v < 0 {
				colour = colours[1]
			}
			x, y := left+float64(j)*side, top+float64(i)*side
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" fill-opacity="%.2f"/>`, x, y, side, side, colour, math.Abs(v)*0.8)
			text(&b, x+side/2, y+side/2+4, "middle", fmt.Sprintf("%.2f", v))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
