package lsq

import (
	"testing"

	"lowbit/engine"
	"lowbit/method/lsq/lsqtest"
	"lowbit/tensor"
)

const goldenFile = "testdata/step.safetensors" // peer/golden_lsq_step.py

func TestGoldenInitialSteps(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenFile)
	g, err := Insert(lsqtest.Net(t, 4, 10), DefaultQuantizers(lsqtest.Bits(t, "w4a4")))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(0)
	defer e.Close()
	steps := lsqtest.ClearSteps(g, store)
	if len(steps) != 18 {
		t.Errorf("%d steps, want 18", len(steps))
	}
	if err := Init(e, g, store, []*tensor.Tensor{all.Get("input")}, PaperStart()); err != nil {
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
	g, err := Insert(lsqtest.Net(t, 4, 10), DefaultQuantizers(lsqtest.Bits(t, "w4a4")))
	if err != nil {
		t.Fatal(err)
	}
	lsqtest.TrainingStep(t, g, store, all, 0.01, 1e-4)
}
