package silq_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/train"
)

// The codes of numpy's textbook form (peer/golden_gptq.py): all the same.
func TestGoldenGPTQ(t *testing.T) {
	file, err := os.ReadFile("testdata/gptq.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Bits     int
		W, Steps []float32
		Hessian  []float64
		Codes    []int
	}
	if err := json.Unmarshal(file, &golden); err != nil {
		t.Fatal(err)
	}
	w := slices.Clone(golden.W)
	if err := silq.GPTQ(w, slices.Clone(golden.Hessian), golden.Steps, golden.Bits); err != nil {
		t.Fatal(err)
	}
	n := len(w) / len(golden.Steps)
	for i, code := range golden.Codes {
		if want := golden.Steps[i/n] * float32(code); w[i] != want {
			t.Errorf("weight %d of row %d is %g, want %g", i%n, i/n, w[i], want)
		}
	}
}

func TestHessiansThatMakeNoSense(t *testing.T) {
	w, steps := []float32{1, 2, 3, 4}, []float32{1, 1}
	for name, h := range map[string][]float64{"indefinite": {1, 2, 2, 1}, "not a number": {math.NaN(), 0, 0, 1}, "short": {1, 0, 0}} {
		if err := silq.GPTQ(slices.Clone(w), h, steps, 4); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	rest := slices.Clone(w) // inputs that were never seen: plain rounding
	if err := silq.GPTQ(rest, make([]float64, 4), steps, 4); err != nil || !slices.Equal(rest, w) {
		t.Errorf("%v, %v; want %v", rest, err, w)
	}
}

// On a small trained model at 2 bits, weights that make up for each other's
// errors are closer to the model in full precision than those rounded alone;
// they stand on their grids, and are the same on three threads. The tied
// embedding stays.
func TestGPTQIsCloserThanRounding(t *testing.T) {
	text := letters(t, 6000)
	e := engine.New(1)
	defer e.Close()
	full := pretrained(t, e, text)
	test := slices.Concat(windows(letters(t, 9000), 200)[180:]...)
	q := bits(t, "w2a8kv8")
	run := func(rule silq.WeightRule, threads int) *tensor.Store {
		e := engine.New(threads)
		defer e.Close()
		c := silq.DefaultConfig(q)
		c.Start.Weights, c.Epochs, c.Start.Windows = rule, 0, 16
		job := train.Job{Engine: e, Graph: build(t, model.LlamaRun{Batch: 1, Seq: 32}), Store: full.Clone(), Source: &train.Windows{Name: "letters", Sets: []*data.Packed{text}}}
		cal := silq.Calibration{Engine: e, Graph: job.Graph, Windows: windows(text, 16)}
		if _, _, err := silq.Train(context.Background(), c, 1, job, cal); err != nil {
			t.Fatal(err)
		}
		return job.Store
	}
	rounded, moved, again := run(silq.RuleWeighted, 1), run(silq.RuleGPTQ, 1), run(silq.RuleGPTQ, 3)
	a, b := divergence(t, e, q, full, rounded, test), divergence(t, e, q, full, moved, test)
	t.Logf("KL %.4f rounded, %.4f by GPTQ", a, b)
	if !(b < 0.9*a) {
		t.Errorf("KL %.4f rounded, %.4f by GPTQ", a, b)
	}
	for _, n := range moved.Names() {
		if !slices.Equal(moved.Get(n).Bytes(), again.Get(n).Bytes()) {
			t.Errorf("%s differs on three threads", n)
		}
	}
	const embedding, layer = "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj"
	if !slices.Equal(moved.Get(embedding).Float32s(), full.Get(embedding).Float32s()) {
		t.Error("the tied embedding was moved")
	}
	w, steps := moved.Get(layer+".weight").Float32s(), moved.Get(layer+".weight_step").Float32s()
	for i, v := range w {
		if code := float64(v / steps[i/(len(w)/len(steps))]); code != math.Round(code) || code < -2 || code > 1 {
			t.Fatalf("weight %g with step %g is on no grid", v, steps[i/(len(w)/len(steps))])
		}
	}
}
