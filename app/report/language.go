package report

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"lowbit/app/quantize"
	"lowbit/train"
)

// LanguageRun is a run of a language model that was quantized.
type LanguageRun struct {
	Run
	Outcome quantize.LanguageOutcome
}

// LoadLanguage reads the run directory of a quantized language model; false if it
// is another run's.
func LoadLanguage(dir string) (LanguageRun, bool, error) {
	o, err := quantize.ReadLanguage(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && o.FP32Perplexity == 0:
		return LanguageRun{}, false, nil
	case err != nil:
		return LanguageRun{}, false, fmt.Errorf("report: %w", err)
	}
	rec, err := train.ReadRecord(dir)
	if err != nil {
		return LanguageRun{}, false, fmt.Errorf("report: %w", err)
	}
	r := LanguageRun{Outcome: o, Run: Run{
		Name: filepath.Base(filepath.Clean(dir)), Dir: dir, Model: rec.Model, Method: o.Method, Bits: o.Bits, Record: rec,
		Size: o.SizeBytes, FP32Of: o.FP32SizeBytes, Layers: o.Layers,
	}}
	if r.Metrics, err = train.ReadMetrics(dir); err != nil {
		return r, false, fmt.Errorf("report: %w", err)
	}
	return r, true, nil
}

// WriteLanguage makes path the page of quantized language models.
func WriteLanguage(path string, runs []LanguageRun, c Config) error {
	if len(runs) == 0 {
		return errors.New("report: no runs")
	}
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b LanguageRun) int { return cmp.Compare(*a.Outcome.KL, *b.Outcome.KL) })
	best := runs[0]
	if c.Title == "" {
		c.Title = filepath.Base(best.Model) + " at low bits"
	}
	if c.Lead == "" {
		c.Lead = fmt.Sprintf("%s with %s: perplexity %.2f, %.2f in full precision, %.1f %% of the tokens the same, in %s of %s.", best.Name, best.Bits,
			best.Outcome.Perplexity, best.Outcome.FP32Perplexity, 100**best.Outcome.Top1, bytes(best.Size), bytes(best.FP32Of))
	}
	sections := []Section{languageTable(runs), perplexities(runs), divergence(runs), memory(runs)}
	var trained []Run
	for _, r := range runs {
		if r.Outcome.Epochs > 0 {
			trained = append(trained, r.Run)
		}
	}
	if svg, keys := lossChart(trained); svg != "" {
		sections = append(sections, Section{Heading: "Training", SVG: string(svg), Keys: keys,
			Note: "The loss is the divergence from the model in full precision, in nats a token, on the training text."})
	}
	if s, ok := rotations(runs); ok {
		sections = append(sections, s)
	}
	for _, r := range runs {
		sections = append(sections, stepTable(r))
	}
	return WriteSections(path, sections, c)
}

func languageTable(runs []LanguageRun) Section {
	s := Section{Heading: "What each run costs", Texts: 3,
		Head: []string{"run", "method", "bits", "perplexity", "fp32", "KL", "same top token", "weights", "trained tokens", "time"}}
	o := runs[0].Outcome
	s.Note = fmt.Sprintf("Perplexity on %d windows of %d tokens, each read by itself; KL is the mean divergence from the model in full precision, in nats. "+
		"Perplexity flatters a model that was trained on text of the test's kind; the divergence does not.", o.Windows, o.Length)
	for _, r := range runs {
		o := r.Outcome
		s.Rows = append(s.Rows, []string{r.Name, o.Method, o.Bits, fmt.Sprintf("%.3f", o.Perplexity), fmt.Sprintf("%.3f", o.FP32Perplexity),
			fmt.Sprintf("%.4f", *o.KL), percent(*o.Top1), bytes(o.SizeBytes), thousands(o.TrainTokens), seconds(o.Seconds)})
	}
	return s
}

// divergence draws the KL of each run, on a logarithmic scale, with that before
// training.
func divergence(runs []LanguageRun) Section {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, r := range runs {
		lo, hi = min(lo, *r.Outcome.KL), max(hi, *r.Outcome.KL)
		if s := r.Outcome.Start; s != nil {
			hi = max(hi, *s.KL)
		}
	}
	lo, hi = math.Floor(math.Log10(max(lo, 1e-6))), math.Ceil(math.Log10(max(hi, 1e-5)))
	y := scale{lo, max(hi, lo+1), chartH - bottom, top}
	c := newCanvas(chartW, chartH, "Divergence from full precision")
	for v := y.lo; v <= y.hi; v++ {
		c.line("grid", left, y.at(v), chartW-right, y.at(v))
		c.text("tick", "end", left-8, y.at(v)+4, fmt.Sprintf("%g", math.Pow(10, v)))
	}
	fmt.Fprintf(&c.b, `<text class="axis" text-anchor="middle" transform="translate(13 %d) rotate(-90)">KL, nats a token</text>`, (top+chartH-bottom)/2)
	at := func(kl float64) float64 { return y.at(math.Log10(max(kl, 1e-6))) }
	width := (chartW - left - right) / float64(len(runs))
	for i, r := range runs {
		x := left + width*(float64(i)+0.5)
		kl := at(*r.Outcome.KL)
		if s := r.Outcome.Start; s != nil {
			c.line("grid", x, at(*s.KL), x, kl)
			c.mark("mark s1", 1, x, at(*s.KL), fmt.Sprintf("%s before training: KL %.4f, perplexity %.3f", r.Name, *s.KL, s.Perplexity))
		}
		c.mark("mark s0", 0, x, kl, fmt.Sprintf("%s: KL %.4f, perplexity %.3f", r.Name, *r.Outcome.KL, r.Outcome.Perplexity))
		c.text("tick", "middle", x, kl-10, fmt.Sprintf("%.3g", *r.Outcome.KL))
		c.text("tick", "middle", x, chartH-bottom+20, r.Name)
	}
	return Section{Heading: "Divergence from full precision", SVG: string(c.html()), Keys: []key{legend(0, "as measured at the end"), legend(1, "before training")}}
}

func stepTable(r LanguageRun) Section {
	s := Section{Heading: "Layers of " + r.Name, Texts: 1, Head: []string{"layer", "bits w/a", "mean step", "entropy", "outside the grid", "largest weight", "largest input", "cosine to the original"},
		Note: "Entropy is that of the weights' codes in bits. Outliers: the largest weight over the root mean square of its output channel, and the root of the largest mean square of an input feature over the mean of all, on the calibration text in full precision. The cosine compares the weights as the layer uses them with those it began with."}
	ratio := func(x float64) string {
		if x == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f", x)
	}
	for _, l := range r.Layers {
		if l.Entropy == nil {
			continue
		}
		cosine := "–"
		if l.WeightCosine != nil {
			cosine = fmt.Sprintf("%.4f", *l.WeightCosine)
		}
		s.Rows = append(s.Rows, []string{strings.TrimPrefix(l.Name, "model.layers."), fmt.Sprintf("%d/%d", l.WeightBits, l.ActBits),
			fmt.Sprintf("%.3g", l.WeightStep), fmt.Sprintf("%.2f", *l.Entropy), percent(*l.Clipped), ratio(l.WeightPeak), ratio(r.Outcome.InputOutliers[l.Name]), cosine})
	}
	return s
}
