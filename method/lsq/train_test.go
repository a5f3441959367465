package lsq

import (
	"context"
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/lsq/lsqtest"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// A whole run: 2 bits without training lose much, with it little; the result
// repeats bit for bit with another number of threads.
func TestTrainingRecoversTwoBits(t *testing.T) {
	var first *tensor.Store
	for _, threads := range []int{1, 2} {
		e := engine.New(threads)
		base, job, full := lsqtest.Pretrained(t, e)
		c := ShortConfig(lsqtest.Bits(t, "w2a2"), 0)
		weights := job.Store.Clone()
		job.Store = weights.Clone()
		_, before, err := Train(context.Background(), base, job, c)
		if err != nil {
			t.Fatal(err)
		}
		job.Store = weights.Clone()
		c.Epochs = 6
		g, after, err := Train(context.Background(), base, job, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("full precision %.3f, 2 bits %.3f untrained, %.3f trained", full, before.Accuracy, after.Accuracy)
		if full < 0.9 || after.Accuracy < full-0.05 || before.Accuracy > after.Accuracy-0.05 {
			t.Errorf("full precision %.3f, 2 bits %.3f untrained, %.3f trained", full, before.Accuracy, after.Accuracy)
		}
		for _, n := range g.Params() {
			if p := n.Op().(graph.Param); p.Role == graph.Step && job.Store.Get(p.Name).Float32s()[0] <= 0 {
				t.Errorf("%s is not positive", p.Name)
			}
		}
		if first == nil {
			first = job.Store.Clone()
		} else {
			for _, name := range first.Names() {
				if !slices.Equal(first.Get(name).Bytes(), job.Store.Get(name).Bytes()) {
					t.Errorf("%s depends on the number of threads", name)
				}
			}
		}
		e.Close()
	}
}

func TestDefaultsFollowTheWidth(t *testing.T) {
	for _, c := range []struct {
		bits   string
		epochs int
		lr, wd float64
	}{{"w8a8", 1, 0.001, 1e-4}, {"w4a4", 90, 0.01, 1e-4}, {"w3a3", 90, 0.01, 0.5e-4}, {"w2a2", 90, 0.01, 0.25e-4}} {
		d := DefaultConfig(lsqtest.Bits(t, c.bits))
		if d.Epochs != c.epochs || d.LR != c.lr || d.WeightDecay != c.wd {
			t.Errorf("%s: %+v", c.bits, d)
		}
		if err := d.Validate(); err != nil {
			t.Error(err)
		}
		r := d.Recipe(train.DefaultConfig())
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		for _, g := range r.Optim.Groups {
			if slices.Contains(g.Roles, graph.Step) && (g.WeightDecay != 0 || g.Floor <= 0) {
				t.Errorf("steps are trained as %+v", g)
			}
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"epochs":      func(c *Config) { c.Epochs = -1 },
		"lr":          func(c *Config) { c.LR = -1 },
		"no loss":     func(c *Config) { c.CrossEntropy = 0 },
		"temperature": func(c *Config) { c.Distill, c.Temperature = 1, 0 },
		"batches":     func(c *Config) { c.Start.Batches = 0 },
		"rule":        func(c *Config) { c.Start.Weights.Kind = "median" },
		"granularity": func(c *Config) { c.Granularity = quant.PerGroup },
		"scale batch": func(c *Config) { c.ScaleBatch = -1 },
	} {
		c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: %+v accepted", name, c)
		}
	}
}

// One pass without quantizers sees the float activations; with them set in
// turn, later layers see rounded ones.
func TestCalibrationSequentialAndAtOnce(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenFile)
	g, err := Insert(lsqtest.Net(t, 4, 10), DefaultQuantizers(lsqtest.Bits(t, "w2a2")))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(0)
	defer e.Close()
	images := []engine.Inputs{{"input": all.Get("input")}}
	s := PaperStart()
	step := func(sequential bool, name string) float32 {
		s.Sequential = sequential
		if err := Init(e, g, store, images, s); err != nil {
			t.Fatal(err)
		}
		return store.Get(name).Float32s()[0]
	}
	if a, b := step(true, "conv1.input_step"), step(false, "conv1.input_step"); a != b {
		t.Errorf("the first step is %g in sequence, %g at once", a, b)
	}
	if a, b := step(true, "fc.input_step"), step(false, "fc.input_step"); a == b {
		t.Errorf("the last step is %g both in sequence and at once", a)
	}
	if err := Init(e, g, store, nil, s); err == nil {
		t.Error("calibrated without images")
	}
}
