package report

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/app/inspect"
	"lowbit/app/quantize"
	"lowbit/eval"
	"lowbit/method/silq"
)

// moved is a run whose weights moved: a rotation has a share of the change, and
// of another kind of layer that by chance alone.
func moved(name string, share float64) LanguageRun {
	kl := 0.1
	o := quantize.LanguageOutcome{LanguageResult: eval.LanguageResult{Perplexity: 12, KL: &kl, Top1: new(float64)}, Bits: "w4a8kv8", FP32Perplexity: 10}
	if share > 0 {
		o.Rotations = []silq.KindRotation{
			{Kind: "q_proj", Layers: 3, Rotation: silq.Rotation{Change: 0.01, Input: share, InputChance: 0.5, Output: 0.5, OutputChance: 0.5}},
			{Kind: "up_<proj", Layers: 3, Rotation: silq.Rotation{Change: 0.02, Input: 0.19, InputChance: 0.19, Output: 0.81, OutputChance: 0.81}},
		}
	}
	return LanguageRun{Run: Run{Name: name, Model: "small"}, Outcome: o}
}

func TestThePageSaysHowTheWeightsMoved(t *testing.T) {
	write := func(runs ...LanguageRun) string {
		path := filepath.Join(t.TempDir(), "r.html")
		if err := WriteLanguage(path, runs, Config{}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		standsAlone(t, string(b))
		return string(b)
	}
	if page := write(moved("ptq", 0)); strings.Contains(page, "How the weights moved") {
		t.Error("weights that stayed have a section")
	}
	// Two kinds of three layers each: the mean above chance is half of the first's.
	for share, want := range map[float64]string{0.58: "4.0 points at most (inputs of silq &lt;a&gt;): no more than a change at random", 0.7: "a small part", 1: "a good part"} {
		page := write(moved("ptq", 0), moved("silq <a>", share))
		for _, want := range []string{want, "How the weights moved", "(q_proj of silq &lt;a&gt;)", percent(share), "up_&lt;proj", "of the change is a rotation of inputs"} {
			if !strings.Contains(page, want) {
				t.Errorf("share %g: the page lacks %q", share, want)
			}
		}
	}
}

// measured is a run of some bits with a cache of 1,000 bytes a token.
func measured(name, bits, method string, epochs int, perplexity float64, size int64) LanguageRun {
	r := moved(name, 0)
	r.Bits, r.Size, r.FP32Of = bits, size, 40_000_000
	o := &r.Outcome
	o.Bits, o.Method, o.Epochs, o.Perplexity, o.WeightSteps = bits, method, epochs, perplexity, silq.RuleGPTQ
	o.Cache = quantize.Cache{Values: 960, BytesPerToken: 1000, Context: 2000}
	entropy, clipped := 3.5, 0.01
	o.Layers = []inspect.Layer{{Name: "model.layers.0.mlp.up_proj", WeightBits: 4, ActBits: 8, Entropy: &entropy, Clipped: &clipped, WeightPeak: 7.25}}
	o.InputOutliers = map[string]float64{"model.layers.0.mlp.up_proj": 33.3}
	r.Layers = o.Layers
	return r
}

func TestThePageSaysWhatLowBitsCostAndSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.html")
	runs := []LanguageRun{
		measured("two", "w2a8kv8", "ptq", 0, 12072, 2_000_000), measured("four", "w4a8kv8", "silq", 1, 10.5, 5_000_000), measured("rounded", "w4a8kv8", "ptq", 0, 11, 5_000_000),
	}
	if err := WriteLanguage(path, runs, Config{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	standsAlone(t, page)
	for _, want := range []string{
		"Perplexity against bits", "ptq gptq", "two, w2a8kv8: perplexity 12072.000", "float32 10.00",
		// 20 MB and 2 * 960 bytes a token of the original; 5 MB and 2 MB a context.
		"20.00\u00a0MB", "1.97\u00a0MB", "3.84\u00a0MB", "23.84\u00a0MB", `<td class="n">9</td>`, `<td class="n">10</td>`,
		`<td class="n">7.2</td>`, `<td class="n">33.3</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if wide, narrow := strings.Index(page, ">w4a8kv8</text>"), strings.Index(page, ">w2a8kv8</text>"); wide < 0 || narrow < wide {
		t.Errorf("columns at %d and %d, want the wider bits first", wide, narrow)
	}
}

func TestTicksOfALogarithm(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   []float64
	}{{9.7, 12400, []float64{10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}}, {13.6, 14.6, []float64{13.6, 13.8, 14, 14.2, 14.4, 14.6}}} {
		got := logTicks(c.lo, c.hi)
		if len(got) != len(c.want) {
			t.Fatalf("%v, want %v", got, c.want)
		}
		for i := range got {
			if math.Abs(got[i]/c.want[i]-1) > 1e-9 {
				t.Errorf("%v, want %v", got, c.want)
			}
		}
	}
}
