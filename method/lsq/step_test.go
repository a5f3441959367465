package lsq

import (
	"math"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// Bounds on relative differences from PyTorch. Both sides sum up to 1200
// float32 products in different orders; no value of the golden stands within
// 2e-5 of a tie or a clip border.
const (
	stepTol  = 1e-5 // of initial steps and of the loss
	gradTol  = 2e-4 // of a gradient, relative to its tensor's norm
	paramTol = 1e-5 // of a parameter after the step, relative to its tensor's norm
)

// golden reads testdata/step.safetensors: a store with the network before the
// step, and everything.
func golden(t *testing.T) (store, all *tensor.Store) {
	t.Helper()
	all, _, err := safetensors.Read("testdata/step.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	store = tensor.NewStore()
	for _, name := range all.Names() {
		if p, ok := strings.CutPrefix(name, "before."); ok {
			if err := store.Put(p, all.Get(name).Clone()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return store, all
}

// distance is the norm of a-b relative to b's.
func distance(a, b *tensor.Tensor) float64 {
	var d, n float64
	x, y := a.Float32s(), b.Float32s()
	for i := range y {
		e := float64(x[i]) - float64(y[i])
		d += e * e
		n += float64(y[i]) * float64(y[i])
	}
	return math.Sqrt(d) / math.Max(math.Sqrt(n), 1e-12)
}

func TestGoldenInitialSteps(t *testing.T) {
	store, all := golden(t)
	g, err := Insert(smallNet(t, 4, 8, 10), DefaultQuantizers(bits(t, "w4a4")))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(0)
	defer e.Close()
	for _, n := range g.Params() {
		if n.Op().(graph.Param).Role == graph.Step {
			store.Get(n.Name()).Float32s()[0] = 0
		}
	}
	if err := Init(e, g, store, []*tensor.Tensor{all.Get("input")}, PaperStart()); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, n := range g.Params() {
		if n.Op().(graph.Param).Role != graph.Step {
			continue
		}
		checked++
		if d := distance(store.Get(n.Name()), all.Get("before."+n.Name())); d > stepTol {
			t.Errorf("%s is %g, want %g", n.Name(), store.Get(n.Name()).Float32s(), all.Get("before."+n.Name()).Float32s())
		}
	}
	if checked != 18 {
		t.Errorf("%d steps, want 18", checked)
	}
}

func TestGoldenTrainingStep(t *testing.T) {
	store, all := golden(t)
	g, err := Insert(smallNet(t, 4, 8, 10), DefaultQuantizers(bits(t, "w4a4")))
	if err != nil {
		t.Fatal(err)
	}
	if g, err = graph.Training(g, nil); err != nil {
		t.Fatal(err)
	}
	g.Output("loss", g.Mean(g.Apply(graph.CrossEntropy{}, g.OutputNode("logits"), g.Input("labels", tensor.I32, 4))))
	e := engine.New(0)
	defer e.Close()
	s, err := train.NewStepper(e, g, store, optim.DefaultConfig(optim.SGD, 1e-4))
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"input", "labels"} {
		if err := s.Forward.SetInput(in, all.Get(in)); err != nil {
			t.Fatal(err)
		}
	}
	loss, err := s.Gradient()
	if err != nil {
		t.Fatal(err)
	}
	if want := float64(all.Get("loss").Float32s()[0]); math.Abs(loss/want-1) > stepTol {
		t.Errorf("loss %g, want %g", loss, want)
	}
	if d := distance(s.Forward.Output("logits"), all.Get("logits")); d > stepTol {
		t.Errorf("logits are off by %g", d)
	}
	if len(s.Params()) != len(withPrefix(all, "grad.")) {
		t.Errorf("%d parameters are trained, want %d", len(s.Params()), len(withPrefix(all, "grad.")))
	}
	for _, name := range s.Params() {
		if d := distance(s.Forward.Output(optim.GradInput(name)), all.Get("grad."+name)); d > gradTol {
			t.Errorf("gradient of %s is off by %g", name, d)
		}
	}
	if err := s.Apply(0.01, 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range withPrefix(all, "after.") {
		if d := distance(store.Get(name), all.Get("after."+name)); d > paramTol {
			t.Errorf("%s is off by %g after the step", name, d)
		}
	}
	if loss, err = s.Gradient(); err != nil {
		t.Fatal(err)
	}
	// The second step's values may stand near ties: the loss alone, loosely.
	if want := float64(all.Get("loss2").Float32s()[0]); math.Abs(loss/want-1) > 1e-3 {
		t.Errorf("next loss %g, want %g", loss, want)
	}
}

func withPrefix(s *tensor.Store, prefix string) []string {
	var names []string
	for _, n := range s.Names() {
		if p, ok := strings.CutPrefix(n, prefix); ok {
			names = append(names, p)
		}
	}
	return names
}
