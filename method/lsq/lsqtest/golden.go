package lsqtest

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
// float32 products in different orders; no value of a golden's first step
// stands within 2e-5 of a tie or a clip border.
const (
	StepTol  = 1e-5 // of initial steps and of the loss
	gradTol  = 2e-4 // of a gradient, relative to its tensor's norm
	bf16Tol  = 2e-2 // of a gradient whose operands were rounded to bfloat16, units of 2^-9
	zeroTol  = 1e-6 // of a gradient that is 0 but for rounding, relative to all gradients' norm
	paramTol = 1e-5 // of a parameter after the step, relative to its tensor's norm
	nextTol  = 1e-3 // of the next step's loss, whose values may stand near ties
)

// Golden reads a file of peer/golden_lsq_step.py: a store with the network
// before the step, and all that the file holds.
func Golden(t testing.TB, path string) (store, all *tensor.Store) {
	t.Helper()
	all, _, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	store = tensor.NewStore()
	for _, name := range withPrefix(all, "before.") {
		if err := store.Put(name, all.Get("before."+name).Clone()); err != nil {
			t.Fatal(err)
		}
	}
	return store, all
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

// Distance is the norm of a-b relative to b's.
func Distance(a, b *tensor.Tensor) float64 {
	var d, n float64
	x, y := a.Float32s(), b.Float32s()
	for i := range y {
		e := float64(x[i]) - float64(y[i])
		d += e * e
		n += float64(y[i]) * float64(y[i])
	}
	return math.Sqrt(d) / math.Max(math.Sqrt(n), 1e-12)
}

func norm(t *tensor.Tensor) float64 {
	n := 0.0
	for _, v := range t.Float32s() {
		n = math.Hypot(n, float64(v))
	}
	return n
}

// ClearSteps sets the steps of g to 0 and returns their names.
func ClearSteps(g *graph.Graph, store *tensor.Store) []string {
	var names []string
	for _, n := range g.Params() {
		if n.Op().(graph.Param).Role == graph.Step {
			clear(store.Get(n.Name()).Float32s())
			names = append(names, n.Name())
		}
	}
	return names
}

// TrainingStep trains the quantized graph g from the store for one step of SGD
// with momentum and compares loss, logits, gradients, parameters and running
// statistics, and the next step's loss, with the golden's; gradients also as they
// are computed unless asked otherwise, from operands in bfloat16.
func TrainingStep(t *testing.T, g *graph.Graph, store, all *tensor.Store, lr, decay float64) {
	t.Helper()
	g, err := graph.Training(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	logits := g.OutputNode("logits")
	g.Output("loss", g.Mean(g.Apply(graph.CrossEntropy{}, logits, g.Input("labels", tensor.I32, logits.Shape()[0]))))
	e := engine.New(0)
	defer e.Close()
	again, err := graph.Clone(g)
	if err != nil {
		t.Fatal(err)
	}
	checkGradients(t, newStepper(t, e, again, store.Clone(), all, decay), all, bf16Tol)
	e.FloatGradients = true
	s := newStepper(t, e, g, store, all, decay)
	checkGradients(t, s, all, gradTol)
	if err := s.Apply(lr, 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range withPrefix(all, "after.") {
		if d := Distance(store.Get(name), all.Get("after."+name)); d > paramTol {
			t.Errorf("%s is off by %g after the step", name, d)
		}
	}
	checkLoss(t, s, all, "loss2", nextTol)
}

func newStepper(t *testing.T, e *engine.Engine, g *graph.Graph, store, all *tensor.Store, decay float64) *train.Stepper {
	t.Helper()
	inputs := g.Inputs()
	s, err := train.NewStepper(e, g, store, optim.DefaultConfig(optim.SGD, decay))
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range inputs {
		if err := s.Forward.SetInput(in.Name(), all.Get(in.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// checkGradients compares loss, logits and gradients of a first step.
func checkGradients(t *testing.T, s *train.Stepper, all *tensor.Store, tol float64) {
	t.Helper()
	checkLoss(t, s, all, "loss", StepTol)
	if d := Distance(s.Forward.Output("logits"), all.Get("logits")); d > StepTol {
		t.Errorf("logits are off by %g", d)
	}
	want := withPrefix(all, "grad.")
	if len(s.Params()) != len(want) {
		t.Errorf("%d parameters are trained, want %d", len(s.Params()), len(want))
	}
	total, steps := 0.0, 0.0
	for _, name := range want {
		total = math.Hypot(total, norm(all.Get("grad."+name)))
		if strings.HasSuffix(name, "_step") {
			steps = math.Hypot(steps, norm(all.Get("grad."+name)))
		}
	}
	for _, name := range s.Params() {
		got, want := s.Forward.Output(optim.GradInput(name)), all.Get("grad."+name)
		if norm(want) < zeroTol*total && norm(got) < zeroTol*total {
			continue // of keys' biases, which softmax does not see
		}
		d := Distance(got, want)
		if tol == bf16Tol && strings.HasSuffix(name, "_step") {
			d *= min(1, norm(want)/steps) // a sum of many that cancel: rounding is a share of these
		}
		if d > tol {
			t.Errorf("gradient of %s is off by %g", name, d)
		}
	}
}

func checkLoss(t *testing.T, s *train.Stepper, all *tensor.Store, name string, tol float64) {
	t.Helper()
	loss, err := s.Gradient()
	if err != nil {
		t.Fatal(err)
	}
	if want := float64(all.Get(name).Float32s()[0]); math.Abs(loss/want-1) > tol {
		t.Errorf("%s is %g, want %g", name, loss, want)
	}
}
