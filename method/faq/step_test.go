package faq

import (
	"testing"

	"lowbit/engine"
	"lowbit/method/lsq"
	"lowbit/method/lsq/lsqtest"
)

const goldenFile = "testdata/step.safetensors" // peer/golden_lsq_step.py

func TestGoldenCalibration(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenFile)
	c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
	g, err := lsq.Insert(lsqtest.Net(t, 4, 10), c.quantizers())
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(0)
	defer e.Close()
	steps := lsqtest.ClearSteps(g, store)
	if err := lsq.InitWeights(g, store, c.WeightRule); err != nil {
		t.Fatal(err)
	}
	if err := lsq.Calibrate(e, g, store, []engine.Inputs{{"input": all.Get("input")}}, false, c.ActRule); err != nil {
		t.Fatal(err)
	}
	for _, name := range steps {
		if d := lsqtest.Distance(store.Get(name), all.Get("before."+name)); d > lsqtest.StepTol {
			t.Errorf("%s is %g, want %g", name, store.Get(name).Float32s(), all.Get("before."+name).Float32s())
		}
	}
}

func TestGoldenTrainingStep(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenFile)
	c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
	g, err := lsq.Insert(lsqtest.Net(t, 4, 10), c.quantizers())
	if err != nil {
		t.Fatal(err)
	}
	lsqtest.TrainingStep(t, g, store, all, c.LR, c.WeightDecay)
}
