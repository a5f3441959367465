package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// label is the method of a run, with the rule of the first steps where nothing
// else tells runs apart.
func (r LanguageRun) label() string {
	if rule := string(r.Outcome.WeightSteps); rule != "" && r.Outcome.Epochs == 0 {
		return r.Outcome.Method + " " + rule
	}
	return r.Outcome.Method
}

// perplexities draws perplexity against bits, one series a method, on a
// logarithmic scale: what only rounds to 2 bits may lose everything.
func perplexities(runs []LanguageRun) Section {
	var columns, methods []string
	lo, hi, fp := math.Inf(1), 0.0, math.Inf(1)
	for _, r := range byWidth(runs) {
		if !slices.Contains(columns, r.Bits) {
			columns = append(columns, r.Bits)
		}
		if !slices.Contains(methods, r.label()) {
			methods = append(methods, r.label())
		}
		o := r.Outcome
		lo, hi, fp = min(lo, o.Perplexity, o.FP32Perplexity), max(hi, o.Perplexity, o.FP32Perplexity), min(fp, o.FP32Perplexity)
	}
	slices.Sort(methods)
	y := scale{math.Log10(lo * 0.97), math.Log10(max(hi, lo*1.05) * 1.03), chartH - bottom, top}
	c := newCanvas(chartW, chartH, "Perplexity against bits")
	for _, v := range logTicks(lo*0.97, max(hi, lo*1.05)*1.03) {
		c.line("grid", left, y.at(math.Log10(v)), chartW-right, y.at(math.Log10(v)))
		c.text("tick", "end", left-8, y.at(math.Log10(v))+4, fmt.Sprintf("%g", v))
	}
	fmt.Fprintf(&c.b, `<text class="axis" text-anchor="middle" transform="translate(13 %d) rotate(-90)">perplexity</text>`, (top+chartH-bottom)/2)
	c.line("fp", left, y.at(math.Log10(fp)), chartW-right, y.at(math.Log10(fp)))
	c.text("fp-label", "end", chartW-right, y.at(math.Log10(fp))-6, fmt.Sprintf("float32 %.2f", fp))
	column := float64(chartW-left-right) / float64(len(columns))
	for i, bits := range columns {
		c.text("tick", "middle", left+column*(float64(i)+0.5), chartH-bottom+20, bits)
	}
	c.text("axis", "middle", (left+chartW-right)/2, chartH-4, "bits of weights, activations, keys and values")
	s := Section{Heading: "Perplexity against bits", Note: "The scale is logarithmic. The dashed line is the model in full precision."}
	for m, method := range methods {
		s.Keys = append(s.Keys, legend(m, method))
		spread := min(26, column/float64(len(methods)+1))
		for _, r := range runs {
			if r.label() == method {
				x := left + column*(float64(slices.Index(columns, r.Bits))+0.5) + spread*(float64(m)-float64(len(methods)-1)/2)
				c.mark(fmt.Sprintf("mark s%d", m%6), m, x, y.at(math.Log10(r.Outcome.Perplexity)), fmt.Sprintf("%s, %s: perplexity %.3f", r.Name, r.Bits, r.Outcome.Perplexity))
			}
		}
	}
	s.SVG = string(c.html())
	return s
}

// byWidth sorts runs from wide to narrow: by the bytes of their weights.
func byWidth(runs []LanguageRun) []LanguageRun {
	s := slices.Clone(runs)
	slices.SortStableFunc(s, func(a, b LanguageRun) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Bits, b.Bits)) })
	return s
}

// logTicks returns round values between lo and hi: 1, 2 and 5 times powers of ten,
// or ordinary ticks where fewer than three of these are inside.
func logTicks(lo, hi float64) []float64 {
	var t []float64
	for p := math.Pow(10, math.Floor(math.Log10(lo))); p <= hi; p *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := m * p; v >= lo && v <= hi {
				t = append(t, v)
			}
		}
	}
	if len(t) < 3 {
		return ticks(lo, hi, 5)
	}
	return t
}
