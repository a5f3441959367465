package silq_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/lsq/lsqtest"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

const goldenFile = "testdata/step.safetensors" // peer/golden_silq_step.py

// Bounds on relative differences from PyTorch. Both sides sum in different
// orders; no value of the golden's first step stands near a tie.
const (
	gradTol = 5e-4 // of a gradient, relative to its tensor's norm
	nextTol = 1e-2 // of the next step's loss, whose values may stand near ties
)

// goldenStepper compiles the golden's decoder with quantizers and distillation.
func goldenStepper(t *testing.T, e *engine.Engine, store, all *tensor.Store) *train.Stepper {
	t.Helper()
	c := model.Llama{Vocab: 24, Dim: 16, Layers: 2, Heads: 4, KVHeads: 2, Hidden: 24, Context: 8, NormEps: 1e-5, Theta: 1e4, Tied: true}
	g, err := c.Graph(model.LlamaRun{Batch: 2, Seq: 8})
	if err != nil {
		t.Fatal(err)
	}
	q := bits(t, "w4a8kv8")
	q.Static = true
	if g, err = silq.Insert(g, q); err != nil {
		t.Fatal(err)
	}
	logits := g.OutputNode("logits")
	teacher := g.Input("teacher_logits", tensor.F32, logits.Shape()...)
	g.Output("loss", g.Mean(g.Apply(graph.KLDivergence{T: 1}, logits, teacher)))
	s, err := train.NewStepper(e, g, store, silq.DefaultConfig(q).Recipe(1, 1).Optim)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"input", "teacher_logits"} {
		if err := s.Forward.SetInput(in, all.Get(in)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func goldenLoss(t *testing.T, s *train.Stepper, all *tensor.Store, name string, tol float64) {
	t.Helper()
	loss, err := s.Gradient()
	if err != nil {
		t.Fatal(err)
	}
	if want := float64(all.Get(name).Float32s()[0]); math.Abs(loss/want-1) > tol {
		t.Errorf("%s is %g, want %g", name, loss, want)
	}
}

func TestGoldenTrainingStep(t *testing.T) {
	store, all := lsqtest.Golden(t, goldenFile)
	e := engine.New(1)
	defer e.Close()
	e.FloatGradients = true
	s := goldenStepper(t, e, store, all)
	goldenLoss(t, s, all, "loss", 1e-4)
	if d := lsqtest.Distance(s.Forward.Output("logits"), all.Get("logits")); d > lsqtest.StepTol {
		t.Errorf("logits are off by %g", d)
	}
	want := 0
	for _, n := range all.Names() {
		if strings.HasPrefix(n, "grad.") {
			want++
		}
	}
	if len(s.Params()) != want {
		t.Errorf("%d parameters are trained, want %d", len(s.Params()), want)
	}
	for _, name := range s.Params() {
		if d := lsqtest.Distance(s.Forward.Output(optim.GradInput(name)), all.Get("grad."+name)); !(d < gradTol) {
			t.Errorf("gradient of %s is off by %g", name, d)
		}
	}
	if err := s.Apply(1e-3, 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range s.Params() {
		afterStep(t, name, store, all)
	}
	goldenLoss(t, s, all, "loss2", nextTol)
}

// afterStep compares a parameter after the step. Adam's first step is the
// gradient's sign times the rate, so that elements of next to no gradient are
// left out.
func afterStep(t *testing.T, name string, store, all *tensor.Store) {
	t.Helper()
	grad, after, got := all.Get("grad."+name).Float32s(), all.Get("after."+name).Float32s(), store.Get(name).Float32s()
	top := 0.0
	for _, v := range grad {
		top = max(top, math.Abs(float64(v)))
	}
	for i, v := range after {
		if math.Abs(float64(grad[i])) > 1e-2*top && math.Abs(float64(got[i]-v)) > 1e-6*max(1, math.Abs(float64(v))) {
			t.Errorf("%s[%d] is %g after the step, want %g", name, i, got[i], v)
		}
	}
}

// Steps of the convex objective against a search on ever finer grids.
func TestGoldenConvexSteps(t *testing.T) {
	_, all := lsqtest.Golden(t, goldenFile)
	rows := all.Get("rows")
	n := rows.Shape()[1]
	for _, bits := range []int{2, 3, 4, 8} {
		for i, want := range all.Get(fmt.Sprintf("convex.%d", bits)).Float32s() {
			got := silq.StepConvex(rows.Float32s()[i*n:(i+1)*n], bits)
			if math.Abs(float64(got/want-1)) > 1e-3 {
				t.Errorf("row %d at %d bits: step %g, want %g", i, bits, got, want)
			}
		}
	}
}
