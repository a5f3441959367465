package silq_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/method/silq"
	"lowbit/model"
)

func TestSmoothScales(t *testing.T) {
	inputs, weights := []float32{4, 0, 9, 2}, []float32{1, 2, 4, 0}
	for alpha, want := range map[float64][]float32{0.5: {2, 1, 1.5, 1}, 1: {4, 1, 9, 2}, 0.75: {2.8284, 1, 3.6742, 1}} {
		for j, s := range silq.SmoothScales(inputs, weights, alpha) {
			if math.Abs(float64(s-want[j])) > 1e-4 {
				t.Errorf("alpha %g, input %d: %g, want %g", alpha, j, s, want[j])
			}
		}
	}
}

// A feature that is far larger than the others ruins one step for all; smoothing
// moves it into the weights. The model in full precision stays what it was.
func TestSmoothingTakesOutliersAway(t *testing.T) {
	text := letters(t, 6000)
	e := engine.New(1)
	defer e.Close()
	full := pretrained(t, e, text)
	const layer, factor, feature = "model.layers.0.", 64, 5
	full.Get(layer + "post_attention_layernorm.weight").Float32s()[feature] *= factor
	for _, name := range []string{"gate_proj", "up_proj"} {
		w := full.Get(layer + "mlp." + name + ".weight").Float32s()
		for i := feature; i < len(w); i += tiny().Dim {
			w[i] /= factor
		}
	}
	test := slices.Concat(windows(letters(t, 9000), 200)[180:]...)
	q := bits(t, "w8a4")
	q.Static = true
	kl := map[float64]float64{}
	for _, alpha := range []float64{0, 0.5} {
		store := full.Clone()
		start := silq.Start{Weights: silq.RuleMax, Windows: 4, Passes: 1, Percentile: 100, Smooth: alpha}
		cal := silq.Calibration{Engine: e, Graph: build(t, model.LlamaRun{Batch: 1, Seq: 32}), Store: full, Windows: windows(text, 4)}
		if err := silq.Init(context.Background(), q, store, start, cal); err != nil {
			t.Fatal(err)
		}
		kl[alpha] = divergence(t, e, q, full, store, test)
		plain := func(n int) (*graph.Graph, error) { return tiny().Graph(model.LlamaRun{Batch: 1, Seq: n}) }
		teacher := eval.Decoder{Store: full, Build: plain}
		r, err := eval.Perplexity(context.Background(), e, eval.Decoder{Store: store, Build: plain}, test, eval.LanguageConfig{Length: 32, Teacher: &teacher})
		if err != nil || *r.KL > 1e-6 {
			t.Errorf("alpha %g: the weights before rounding are %v from the model's, %v", alpha, *r.KL, err)
		}
	}
	t.Logf("KL %v", kl)
	if !(kl[0.5] < kl[0]/3) {
		t.Errorf("KL %g, smoothed %g", kl[0], kl[0.5])
	}
}
