package ptq

import (
	"context"
	"math"
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/method/lsq/lsqtest"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/train"
)

// 8 bits keep the accuracy with every calibration; at 2 bits the least squared
// error does better than the largest value.
func TestCalibrations(t *testing.T) {
	e := engine.New(0)
	defer e.Close()
	base, job, full := lsqtest.Pretrained(t, e)
	weights := job.Store.Clone()
	accuracy := func(bits, calibration string) float64 {
		c, err := DefaultConfig(lsqtest.Bits(t, bits), calibration)
		if err != nil {
			t.Fatal(err)
		}
		j := job
		j.Store = weights.Clone()
		_, r, err := Run(context.Background(), base, j, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range weights.Names() {
			if !optim.IsState(name) && !slices.Equal(weights.Get(name).Bytes(), j.Store.Get(name).Bytes()) {
				t.Errorf("%s %s changed %s", bits, calibration, name)
			}
		}
		return r.Accuracy
	}
	for _, c := range []string{"max", "percentile", "mse"} {
		if a := accuracy("w8a8", c); a < full-0.01 {
			t.Errorf("8 bits by %s: %.3f, full precision %.3f", c, a, full)
		}
	}
	m, q := accuracy("w2a2", "max"), accuracy("w2a2", "mse")
	t.Logf("2 bits: %.3f by max, %.3f by mse, full precision %.3f", m, q, full)
	if q < m+0.05 {
		t.Errorf("2 bits: %.3f by max, %.3f by mse", m, q)
	}
}

// With float arithmetic the statistics of the training data are what training
// left, up to its momentum; the means of the first norm are checked by hand.
func TestReestimateFindsTheBatchStatistics(t *testing.T) {
	e := engine.New(0)
	defer e.Close()
	base, job, full := lsqtest.Pretrained(t, e)
	c, err := DefaultConfig(lsqtest.Bits(t, "w8a8"), "mse")
	if err != nil {
		t.Fatal(err)
	}
	c.NormBatches = 16
	want := slices.Clone(job.Store.Get("bn1.running_mean").Float32s())
	variance := slices.Clone(job.Store.Get("bn1.running_var").Float32s())
	_, r, err := Run(context.Background(), base, job, c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Accuracy < full-0.02 {
		t.Errorf("accuracy %.3f, full precision %.3f", r.Accuracy, full)
	}
	got, gotVar := job.Store.Get("bn1.running_mean").Float32s(), job.Store.Get("bn1.running_var").Float32s()
	if slices.Equal(got, want) {
		t.Error("the statistics did not change")
	}
	for i := range want {
		// Ten batches of 32 random images determine a mean to a tenth of a
		// standard deviation, and a variance to a tenth of itself.
		sd := math.Sqrt(float64(variance[i]))
		if math.Abs(float64(got[i]-want[i])) > 0.1*sd || math.Abs(float64(gotVar[i]/variance[i]-1)) > 0.1 {
			t.Errorf("channel %d: mean %g, variance %g; training left %g, %g", i, got[i], gotVar[i], want[i], variance[i])
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	if _, err := DefaultConfig(quant.BitPlan{}, "median"); err == nil {
		t.Error("calibration median accepted")
	}
	for name, change := range map[string]func(*Config){
		"batches": func(c *Config) { c.Batches = 0 },
		"norms":   func(c *Config) { c.NormBatches = -1 },
		"rule":    func(c *Config) { c.Activations.Kind = "" },
		"bits":    func(c *Config) { c.Bits.Default.Weight = 1 },
	} {
		c, err := DefaultConfig(lsqtest.Bits(t, "w4a4"), "max")
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := c.Prepare(train.DefaultConfig(), train.Job{}); err == nil {
			t.Errorf("%s: %+v accepted", name, c)
		}
	}
}
