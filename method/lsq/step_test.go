package lsq

import (
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/lsq/lsqtest"
	"lowbit/model"
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
	if err := Init(e, g, store, []engine.Inputs{{"input": all.Get("input")}}, PaperStart()); err != nil {
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

// The BERT of peer/golden_bert_lsq_step.py, with quantizers at 4 bits.
func goldenBert(t *testing.T) *graph.Graph {
	t.Helper()
	c := model.Bert{
		Vocab: 30, Dim: 16, Layers: 2, Heads: 4, Hidden: 24, Positions: 10, Types: 2, NormEps: 1e-12, Prefix: "bert.",
		Head: model.BertClassify, Classes: 2,
	}
	g, err := c.Graph(3, 6)
	if err != nil {
		t.Fatal(err)
	}
	if g, err = Insert(g, DefaultQuantizers(lsqtest.Bits(t, "w4a4"))); err != nil {
		t.Fatal(err)
	}
	return g
}

const goldenBertFile = "testdata/bert_step.safetensors"

func TestGoldenInitialStepsOfABert(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenBertFile)
	g := goldenBert(t)
	e := engine.New(0)
	defer e.Close()
	steps := lsqtest.ClearSteps(g, store)
	if len(steps) != 2+2*(6+4)+2+2 { // tables; weights and inputs of the layers; pooler; classifier
		t.Errorf("%d steps: %v", len(steps), steps)
	}
	in := engine.Inputs{}
	for _, name := range []string{"input", "types", "lengths"} {
		in[name] = all.Get(name)
	}
	if err := Init(e, g, store, []engine.Inputs{in}, PaperStart()); err != nil {
		t.Fatal(err)
	}
	for _, name := range steps {
		if d := lsqtest.Distance(store.Get(name), all.Get("before."+name)); d > lsqtest.StepTol {
			t.Errorf("%s is %g, want %g", name, store.Get(name).Float32s(), all.Get("before."+name).Float32s())
		}
	}
}

func TestGoldenTrainingStepOfABert(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenBertFile)
	lsqtest.TrainingStep(t, goldenBert(t), store, all, 0.01, 1e-4)
}
