package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
)

// Size of the charts in their own units, and their margins.
const (
	chartW, chartH           = 760, 360
	left, right, top, bottom = 56, 20, 18, 44
)

// key is an entry of a chart's legend.
type key struct {
	Class string // colour
	Shape template.HTML
	Name  string
}

// Interval is the number of standard errors that error bars show each way.
const Interval = 1.96

// closeUp is how far below float32 the close-up of the accuracies reaches;
// a chart of all that spans less needs none.
const closeUp = 0.12

// accuracyChart draws accuracy against bits, one series a method, each point
// with the interval that 95 of 100 test sets of its size would give. The
// close-up, empty where the chart shows enough, leaves out what lies far below
// float32.
func accuracyChart(runs []Run) (all, near template.HTML, keys []key) {
	var columns []string // bits, wide to narrow
	var methods []string
	lo, fp := 1.0, 0.0
	for _, r := range runs {
		if r.FP32 > 0 {
			fp = math.Max(fp, r.FP32)
		}
		if !r.quantized() {
			fp = math.Max(fp, r.Accuracy)
			continue
		}
		if !slices.Contains(columns, r.Bits) {
			columns = append(columns, r.Bits)
		}
		if !slices.Contains(methods, r.Method) {
			methods = append(methods, r.Method)
		}
		lo = math.Min(lo, r.Accuracy-Interval*r.SE)
	}
	if len(columns) == 0 {
		return "", "", nil
	}
	slices.Sort(methods)
	for m, method := range methods {
		keys = append(keys, legend(m, method))
	}
	all = drawAccuracy(runs, columns, methods, lo, fp)
	if fp-lo <= 2*closeUp {
		return all, "", keys
	}
	var close []Run
	nearest := fp
	for _, r := range runs {
		if r.Accuracy >= fp-closeUp {
			close = append(close, r)
			nearest = math.Min(nearest, r.Accuracy-Interval*r.SE)
		}
	}
	if len(close) == 0 {
		return all, "", keys
	}
	return all, drawAccuracy(close, columns, methods, nearest, fp), keys
}

// drawAccuracy draws runs on a scale that reaches from lo to above fp.
func drawAccuracy(runs []Run, columns, methods []string, lo, fp float64) template.HTML {
	y := accuracyScale(lo, fp)
	c := newCanvas(chartW, chartH, "Accuracy against bits")
	frame(c, y, 100, "accuracy, %")
	if fp > 0 {
		c.line("fp", left, y.at(fp), chartW-right, y.at(fp))
		c.text("fp-label", "end", chartW-right, y.at(fp)-6, fmt.Sprintf("float32 %.2f", 100*fp))
	}
	x := func(bits string, m int) float64 {
		column := (float64(chartW-left-right) / float64(len(columns)))
		spread := math.Min(26, column/float64(len(methods)+1))
		return left + column*(float64(slices.Index(columns, bits))+0.5) + spread*(float64(m)-float64(len(methods)-1)/2)
	}
	for _, bits := range columns {
		c.text("tick", "middle", x(bits, 0)/2+x(bits, len(methods)-1)/2, chartH-bottom+20, bits)
	}
	c.text("axis", "middle", (left+chartW-right)/2, chartH-4, "bits of weights and activations")
	for m, method := range methods {
		series(c, runs, method, m, func(bits string) float64 { return x(bits, m) }, y)
	}
	return c.html()
}

// accuracyScale covers from a round value below the lowest to one above the
// highest.
func accuracyScale(lo, hi float64) scale {
	unit, room := 0.1, 0.04
	if hi-lo < 0.2 {
		unit, room = 0.01, 0.005
	}
	hi = math.Min(1, hi+room)
	lo = math.Max(0, math.Floor(lo/unit)*unit)
	return scale{lo, math.Min(1, math.Ceil(hi/unit)*unit), chartH - bottom, top}
}

// series draws the points of one method and joins their means.
func series(c *canvas, runs []Run, method string, m int, x func(string) float64, y scale) {
	class := fmt.Sprintf("s%d", m%6)
	var xs, ys []float64
	sums := map[string][2]float64{}
	for _, r := range runs {
		if r.Method == method && r.quantized() {
			s := sums[r.Bits]
			sums[r.Bits] = [2]float64{s[0] + r.Accuracy, s[1] + 1}
		}
	}
	seen := map[string]bool{}
	for _, r := range runs {
		if r.Method != method || !r.quantized() || seen[r.Bits] {
			continue
		}
		seen[r.Bits] = true
		s := sums[r.Bits]
		xs, ys = append(xs, x(r.Bits)), append(ys, y.at(s[0]/s[1]))
	}
	c.path("curve "+class, xs, ys)
	for _, r := range runs {
		if r.Method != method || !r.quantized() {
			continue
		}
		px, py := x(r.Bits), y.at(r.Accuracy)
		hi, lo := y.at(math.Min(1, r.Accuracy+Interval*r.SE)), y.at(math.Max(0, r.Accuracy-Interval*r.SE))
		c.line("bar "+class, px, hi, px, lo)
		c.line("bar "+class, px-4, hi, px+4, hi)
		c.line("bar "+class, px-4, lo, px+4, lo)
		tip := fmt.Sprintf("%s %s: %.2f ± %.2f %% of %d examples", r.Method, r.Bits, 100*r.Accuracy, 100*Interval*r.SE, r.Examples)
		c.mark("mark "+class, m, px, py, tip)
		value(c, m, px, py, hi, lo, fmt.Sprintf("%.1f", 100*r.Accuracy))
	}
}

// value writes the figure of a point above it, that of every second series
// below, where there is room, else beside it.
func value(c *canvas, m int, x, y, hi, lo float64, figure string) {
	below := math.Max(lo, y+5) + 14
	switch {
	case m%2 == 0:
		c.text("value", "middle", x, math.Min(hi, y-5)-5, figure)
	case below < chartH-bottom-2:
		c.text("value", "middle", x, below, figure)
	default:
		c.text("value", "start", x+11, y+4, figure)
	}
}

// lossChart draws the training loss of each run that was trained.
func lossChart(runs []Run) (template.HTML, []key) {
	var curves []curve
	for _, r := range runs {
		xs, ys := lossCurve(r)
		curves = append(curves, curve{r.Name, xs, ys})
	}
	return drawCurves(curves, "Training loss", "training loss", "epochs")
}

// curve is a line of a chart, from the left to the right.
type curve struct {
	name   string
	xs, ys []float64
}

// drawCurves draws curves of two points or more on axes that begin at 0, the
// vertical one lower where a value is; nothing if there are none.
func drawCurves(curves []curve, title, yTitle, xTitle string) (template.HTML, []key) {
	curves = slices.DeleteFunc(curves, func(k curve) bool { return len(k.xs) < 2 })
	var maxX, maxY, minY float64
	for _, k := range curves {
		maxX, maxY, minY = math.Max(maxX, slices.Max(k.xs)), math.Max(maxY, slices.Max(k.ys)), math.Min(minY, slices.Min(k.ys))
	}
	if maxX == 0 || maxY == minY {
		return "", nil
	}
	yt := ticks(minY, maxY, 5)
	unit := yt[1] - yt[0]
	y := scale{math.Floor(minY/unit) * unit, math.Ceil(maxY/unit) * unit, chartH - bottom, top}
	x := scale{0, maxX, left, chartW - right}
	c := newCanvas(chartW, chartH, title)
	frame(c, y, 1, yTitle)
	xt := ticks(0, maxX, 8)
	for _, v := range xt {
		c.text("tick", "middle", x.at(v), chartH-bottom+20, label(v, xt[1]-xt[0]))
	}
	c.text("axis", "middle", (left+chartW-right)/2, chartH-4, xTitle)
	var keys []key
	for i, k := range curves {
		class := fmt.Sprintf("s%d", i%6)
		px, py := make([]float64, len(k.xs)), make([]float64, len(k.xs))
		for j := range k.xs {
			px[j], py[j] = x.at(k.xs[j]), y.at(k.ys[j])
		}
		last := len(px) - 1
		c.path("curve "+class, px, py)
		c.mark("mark "+class, i, px[last], py[last], fmt.Sprintf("%s: %.4g at the end", k.name, k.ys[last]))
		keys = append(keys, legend(i, k.name))
	}
	return c.html(), keys
}

// maxPoints bounds a curve: a longer one shows means of neighbours.
const maxPoints = 300

// lossCurve returns the training loss over epochs: each step's line where there
// are some, else each epoch's.
func lossCurve(r Run) (xs, ys []float64) {
	perEpoch := 0.0
	if e := r.Record.Result.Epochs; e > 0 {
		perEpoch = float64(r.Record.Result.Steps) / float64(e)
	}
	if perEpoch == 0 {
		return nil, nil
	}
	for _, kind := range []string{"step", "epoch"} {
		xs, ys = nil, nil
		for _, m := range r.Metrics {
			if m.Kind == kind && !math.IsNaN(m.Loss) && !math.IsInf(m.Loss, 0) {
				xs, ys = append(xs, float64(m.Step)/perEpoch), append(ys, m.Loss)
			}
		}
		if len(xs) >= 4 {
			break
		}
	}
	for len(xs) > maxPoints {
		n := len(xs) / 2
		for i := range n {
			xs[i], ys[i] = (xs[2*i]+xs[2*i+1])/2, (ys[2*i]+ys[2*i+1])/2
		}
		xs, ys = xs[:n], ys[:n]
	}
	return xs, ys
}

// frame draws the horizontal grid with its labels (values times factor).
func frame(c *canvas, y scale, factor float64, title string) {
	t := ticks(y.lo*factor, y.hi*factor, 5)
	unit := 1.0
	if len(t) > 1 {
		unit = t[1] - t[0]
	}
	for _, v := range t {
		py := y.at(v / factor)
		c.line("grid", left, py, chartW-right, py)
		c.text("tick", "end", left-8, py+4, label(v, unit))
	}
	fmt.Fprintf(&c.b, `<text class="axis" text-anchor="middle" transform="translate(13 %d) rotate(-90)">%s</text>`, (top+chartH-bottom)/2, title)
}

// legend makes the entry of series i.
func legend(i int, name string) key {
	c := newCanvas(14, 14, name)
	class := fmt.Sprintf("s%d", i%6)
	c.mark("mark "+class, i, 7, 7, name)
	return key{Class: class, Shape: c.html(), Name: name}
}
