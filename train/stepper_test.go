package train

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
)

// Bounds against PyTorch, both float32 with sums in other orders: gradBound is
// relative to the largest value of each tensor plus 0.01, paramBound absolute
// on values of about 1 after three steps of rate 0.1.
const (
	lossBound  = 2e-6
	gradBound  = 2e-5
	paramBound = 5e-6
)

type stepsGolden struct {
	Runs []struct {
		Frozen bool
		Start  map[string][]float32
		Steps  []struct {
			Images, Teacher []float32
			Labels          []int32
			Loss            float64
			Grads           map[string][]float32
		}
		End map[string][]float32
	}
}

// near demands that no value is farther than bound from its golden one.
func near(t *testing.T, what string, got, want []float32, bound float64) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= bound) {
			t.Fatalf("%s[%d] = %g, want %g", what, i, got[i], want[i])
		}
	}
}

func TestStepsEqualPyTorch(t *testing.T) {
	b, err := os.ReadFile("testdata/steps.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden stepsGolden
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	e := engine.New(2)
	defer e.Close()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, run := range golden.Runs {
		c := tinyConfig()
		c.Loss = Loss{CrossEntropy: 1, Smooth: 0.1, Distill: 0.5, Temperature: 2}
		c.Optim = optim.DefaultConfig(optim.SGD, 0.01)
		c.FrozenNorm = run.Frozen
		net, store := tinyNet(t, netOptions{}), tensor.NewStore()
		for _, p := range net.Params() {
			check(store.Put(p.Name(), tensor.FromFloat32s(run.Start[p.Name()], p.Shape()...)))
		}
		g, err := lossGraph(net, shape{batch: 4}, c, Hooks{})
		check(err)
		s, err := NewStepper(e, g, store, c.Optim)
		check(err)
		for i, step := range run.Steps {
			check(s.Forward.SetInput("input", tensor.FromFloat32s(step.Images, 4, 3, 8, 8)))
			check(s.Forward.SetInput("labels", tensor.FromInt32s(step.Labels, 4)))
			check(s.Forward.SetInput("teacher_logits", tensor.FromFloat32s(step.Teacher, 4, 3)))
			loss, err := s.Gradient()
			check(err)
			if math.Abs(loss-step.Loss) > lossBound*step.Loss {
				t.Errorf("frozen %t step %d: loss %g, want %g", run.Frozen, i, loss, step.Loss)
			}
			for name, want := range step.Grads {
				top := 0.01
				for _, v := range want {
					top = math.Max(top, math.Abs(float64(v)))
				}
				near(t, "gradient of "+name, s.Forward.Output("grad:"+name).Float32s(), want, gradBound*top)
			}
			check(s.Apply(0.1, i+1))
		}
		for name, want := range run.End {
			near(t, name, store.Get(name).Float32s(), want, paramBound)
		}
	}
}

func TestStepperRejects(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	sgd := optim.DefaultConfig(optim.SGD, 0)
	build := func(f func(g *graph.Graph, w *graph.Node) *graph.Node) (*graph.Graph, *tensor.Store) {
		g, s := graph.New(), tensor.NewStore()
		w := g.Param(graph.Param{Name: "w", Shape: []int{2}, Role: graph.Weight, Init: graph.Init{Kind: graph.InitConst}})
		if loss := f(g, w); loss != nil {
			g.Output("loss", loss)
		}
		if err := graph.InitParams(g, s, 1); err != nil {
			t.Fatal(err)
		}
		return g, s
	}
	sum := func(g *graph.Graph, w *graph.Node) *graph.Node { return g.Sum(w) }
	frozen := sgd
	frozen.Groups = []optim.Group{{Name: "all", Frozen: true}}
	for _, k := range []struct {
		want string
		make func(*graph.Graph, *graph.Node) *graph.Node
		c    optim.Config
		taps []string
	}{
		{`no output "loss"`, func(*graph.Graph, *graph.Node) *graph.Node { return nil }, sgd, nil},
		{"no trained parameter", func(g *graph.Graph, _ *graph.Node) *graph.Node { return g.Scalar(1) }, sgd, nil},
		{"no trained parameter", sum, frozen, nil},
		{`no node "x"`, sum, sgd, []string{"x"}},
		{"want a scalar", func(g *graph.Graph, w *graph.Node) *graph.Node { return g.Add(w, w) }, sgd, nil},
		{"unknown optimizer", sum, optim.Config{}, nil},
	} {
		g, s := build(k.make)
		if _, err := NewStepper(e, g, s, k.c, k.taps...); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("error %v, want %q", err, k.want)
		}
	}
}

func TestFiniteFindsEveryPlace(t *testing.T) {
	for n := range 12 {
		v := make([]float32, n)
		for i := range v {
			v[i] = 3e38
		}
		if !finite(v) {
			t.Errorf("%d large numbers are said not to be finite", n)
		}
		for i := range v {
			for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				old := v[i]
				v[i] = float32(bad)
				if finite(v) {
					t.Errorf("%g at %d of %d is not found", bad, i, n)
				}
				v[i] = old
			}
		}
	}
}
