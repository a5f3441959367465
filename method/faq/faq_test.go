package faq

import (
	"context"
	"math"
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/lsq/lsqtest"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// stepsOf returns the quantizers' steps by parameter name.
func stepsOf(g *graph.Graph, s *tensor.Store) map[string][]float32 {
	m := map[string][]float32{}
	for _, n := range g.Params() {
		if n.Op().(graph.Param).Role == graph.Step {
			m[n.Name()] = slices.Clone(s.Get(n.Name()).Float32s())
		}
	}
	return m
}

func TestActivationStepsArePowersOfTwoThatCoverThePercentile(t *testing.T) {
	e := engine.New(0)
	defer e.Close()
	base, job, _ := lsqtest.Pretrained(t, e)
	c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
	g, err := c.Prepare(base, job)
	if err != nil {
		t.Fatal(err)
	}
	free := c
	free.ActPow2 = false
	pow := stepsOf(g, job.Store)
	if _, err := free.Prepare(base, job); err != nil {
		t.Fatal(err)
	}
	plain := stepsOf(g, job.Store)
	activations := 0
	for _, n := range g.Nodes() {
		o, ok := n.Op().(graph.FakeQuant)
		if !ok {
			continue
		}
		if o.StepGrad != graph.StepFrozen {
			t.Errorf("%s learns its step", n.Name())
		}
		if _, weight := n.In()[0].Op().(graph.Param); weight {
			continue
		}
		activations++
		name := n.In()[1].Name()
		p, f := pow[name][0], plain[name][0]
		// y_max is f*Qp; the range 2^b*p is the next power of two above it.
		yMax, size := f*float32(o.Spec.Qp()), p*float32(o.Spec.Qp()+1)
		if quant.Pow2Up(p) != p || size < yMax*(1-1e-6) || size >= 2*yMax {
			t.Errorf("%s %v: step %g, percentile %g", name, o.Spec, p, yMax)
		}
	}
	if activations != 8 {
		t.Errorf("%d activation quantizers, want 8", activations)
	}
}

func TestSigmaRulesAreNearTheLeastError(t *testing.T) {
	c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
	for b := 2; b <= 7; b++ {
		s := quant.Spec{Bits: b, Signed: true}
		r := c.WeightRule(s)
		// The normal distribution's best clip, worked out by quadrature (see
		// quant's step tests for 2, 3 and 4 bits): step*Qp.
		want := map[int]float64{2: 1.048, 3: 1.806, 4: 2.369, 5: 2.833, 6: 3.232, 7: 3.581}[b]
		if r.Kind != quant.RuleSigma || math.Abs(r.Sigma-want) > 0.01 {
			t.Errorf("%d bits: %+v, want %g sigma", b, r, want)
		}
	}
	if r := c.WeightRule(quant.Spec{Bits: 8, Signed: true}); r.Kind != quant.RuleMax || !r.Pow2 {
		t.Errorf("8 bits: %+v", r)
	}
	if a, b := c.ActRule(quant.Spec{Bits: 8}), c.ActRule(quant.Spec{Bits: 4}); a.Percentile != 99.99 || b.Percentile != 99.9 {
		t.Errorf("percentiles %g and %g", a.Percentile, b.Percentile)
	}
}

func TestScheduleIsScaledToTheEpochs(t *testing.T) {
	c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
	for _, epochs := range []int{110, 30, 3} {
		c.Epochs = epochs
		s := c.Recipe(train.DefaultConfig()).Schedule
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		// After all epochs: 0.0015*0.936^110 = 1.04e-6.
		end := s.LR * math.Pow(s.Gamma, float64(epochs))
		if s.At(0, 10, epochs) != 0.0015 || math.Abs(end/1.04e-6-1) > 0.01 {
			t.Errorf("%d epochs: from %g to %g", epochs, s.At(0, 10, epochs), end)
		}
	}
	c.Schedule, c.Epochs = Steps, 110
	if m := c.Recipe(train.DefaultConfig()).Schedule.Milestones; !slices.Equal(m, []int{30, 60, 90}) {
		t.Errorf("milestones %v", m)
	}
	d := DefaultConfig(lsqtest.Bits(t, "w8a8"))
	if s := d.Recipe(train.DefaultConfig()).Schedule; d.Epochs != 1 || s.At(5, 10, 1) != 1e-4 {
		t.Errorf("8 bits: %d epochs at %g", d.Epochs, s.At(5, 10, 1))
	}
}

// A whole run: fine-tuning keeps the steps, gains accuracy, and ends near the
// start (section "solution similarity").
func TestFineTuningStaysNearTheStart(t *testing.T) {
	e := engine.New(0)
	defer e.Close()
	base, job, full := lsqtest.Pretrained(t, e)
	before := job.Store.Clone()
	c := DefaultConfig(lsqtest.Bits(t, "w2a2"))
	c.Epochs = 0
	_, untrained, err := Train(context.Background(), base, job, c)
	if err != nil {
		t.Fatal(err)
	}
	job.Store = before.Clone()
	c.Epochs, c.LR = 6, 0.01
	var g *graph.Graph
	var start map[string][]float32
	job.Hooks.AfterStep = func(s train.StepInfo) error {
		if start == nil {
			start = stepsOf(job.Graph, s.Store)
		}
		return nil
	}
	g, trained, err := Train(context.Background(), base, job, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("full precision %.3f, 2 bits %.3f calibrated, %.3f fine-tuned", full, untrained.Accuracy, trained.Accuracy)
	if trained.Accuracy < untrained.Accuracy+0.05 || trained.Accuracy < full-0.1 {
		t.Errorf("full precision %.3f, 2 bits %.3f calibrated, %.3f fine-tuned", full, untrained.Accuracy, trained.Accuracy)
	}
	for name, v := range start {
		if !slices.Equal(v, job.Store.Get(name).Float32s()) {
			t.Errorf("%s moved", name)
		}
	}
	layers, err := Similarity(g, before, job.Store)
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 10 {
		t.Errorf("%d layers, want 10", len(layers))
	}
	for _, l := range layers {
		if l.WeightCosine < 0.8 || l.WeightCosine >= 1 || l.QuantizedCosine == nil || *l.QuantizedCosine >= l.WeightCosine+0.01 {
			t.Errorf("%+v", l)
		}
	}
}

func TestSimilarityOfTheSameWeightsIsOne(t *testing.T) {
	g := lsqtest.Net(t, 1, 3)
	a, b := tensor.NewStore(), tensor.NewStore()
	if err := graph.InitParams(g, a, 1); err != nil {
		t.Fatal(err)
	}
	if err := graph.InitParams(g, b, 2); err != nil {
		t.Fatal(err)
	}
	same, err := Similarity(g, a, a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Similarity(g, a, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range same {
		if math.Abs(same[i].WeightCosine-1) > 1e-12 || same[i].QuantizedCosine != nil {
			t.Errorf("%+v", same[i])
		}
		// Independent weights: within five standard deviations, 1/sqrt(n), of 0.
		n := float64(a.Get(same[i].Name + ".weight").Len())
		if math.Abs(other[i].WeightCosine) > 5/math.Sqrt(n) {
			t.Errorf("%+v of independent weights", other[i])
		}
	}
	b.Delete("fc.weight")
	if _, err := Similarity(g, a, b); err == nil {
		t.Error("a missing weight was not noticed")
	}
}

func TestNoiseOfKnownUpdates(t *testing.T) {
	var same, flip noiseLayer
	for i := range 20 {
		same.take([]float32{1, 2, 3})
		s := float32(1 - 2*(i%2))
		flip.take([]float32{s, 2 * s, 3 * s})
	}
	n := Noise{layers: []noiseLayer{same, flip}}
	l := n.Layers()
	if math.Abs(l[0].GradientCosine-1) > 1e-6 || l[0].Updates != 19 {
		t.Errorf("equal updates: %+v", l[0])
	}
	// The average keeps the sign of the last update.
	if math.Abs(l[1].GradientCosine+1) > 1e-6 {
		t.Errorf("alternating updates: %+v", l[1])
	}
}

// A larger batch averages noise away: the law that the measurement must show.
func TestLargerBatchesAreLessNoisy(t *testing.T) {
	e := engine.New(0)
	defer e.Close()
	base, job, _ := lsqtest.Pretrained(t, e)
	g, err := DefaultConfig(lsqtest.Bits(t, "w4a4")).Prepare(base, job)
	if err != nil {
		t.Fatal(err)
	}
	job.Graph = g
	weights := job.Store.Clone()
	mean := func(batch int) float64 {
		base.Batch = batch
		layers, err := MeasureNoise(context.Background(), base, job, 1e-3, 60)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, l := range layers {
			if l.Updates != 59 || !(math.Abs(l.GradientCosine) <= 1) {
				t.Errorf("%+v", l)
			}
			sum += l.GradientCosine
		}
		return sum / float64(len(layers))
	}
	small, large := mean(8), mean(128)
	t.Logf("cosine %.3f with batches of 8, %.3f of 128", small, large)
	if large < small+0.1 {
		t.Errorf("cosine %.3f with batches of 8, %.3f of 128", small, large)
	}
	for _, name := range weights.Names() {
		if !slices.Equal(weights.Get(name).Bytes(), job.Store.Get(name).Bytes()) {
			t.Errorf("measuring changed %s", name)
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"batches":    func(c *Config) { c.Batches = 0 },
		"percentile": func(c *Config) { c.Percentile = 101 },
		"epochs":     func(c *Config) { c.Epochs = -1 },
		"schedule":   func(c *Config) { c.Schedule = "cosine" },
		"weights":    func(c *Config) { c.Weights.Kind = "median" },
		"bits":       func(c *Config) { c.Bits.Default.Act = 9 },
		"lr":         func(c *Config) { c.LR = math.NaN() },
	} {
		c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: %+v accepted", name, c)
		}
	}
	if _, err := MeasureNoise(context.Background(), train.DefaultConfig(), train.Job{}, 1, 1); err == nil {
		t.Error("noise over one step accepted")
	}
}
