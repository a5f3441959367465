package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	for share, want := range map[float64]string{0.52: "no more than a change at random", 0.6: "a small part", 0.9: "a good part"} {
		page := write(moved("ptq", 0), moved("silq <a>", share))
		for _, want := range []string{want, "How the weights moved", "q_proj of silq &lt;a&gt;", percent(share), "up_&lt;proj", "of the change is a rotation of inputs"} {
			if !strings.Contains(page, want) {
				t.Errorf("share %g: the page lacks %q", share, want)
			}
		}
	}
}
