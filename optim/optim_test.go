package optim

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/tensor"
)

// updateBound is relative to the largest parameter (about 2): a few float32
// roundings a step over six steps; PyTorch fuses some multiply-adds.
const updateBound = 2e-6

type golden struct {
	Runs []struct {
		Name  string
		Start [][]float32
		Steps []struct {
			Rate, Norm    float64
			Grads, Params [][]float32
		}
	}
	Schedules []struct {
		Name  string
		Rates []float64
	}
}

func readGolden(t *testing.T) golden {
	t.Helper()
	b, err := os.ReadFile("testdata/optim.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Runs) == 0 || len(g.Schedules) == 0 {
		t.Fatal("empty golden")
	}
	return g
}

// twoParams returns nodes of a weight "w" [3 4] and a bias "b" [5].
func twoParams() []*graph.Node {
	g := graph.New()
	return []*graph.Node{
		g.Param(graph.Param{Name: "w", Shape: []int{3, 4}, Role: graph.Weight}),
		g.Param(graph.Param{Name: "b", Shape: []int{5}, Role: graph.Bias}),
	}
}

// stepper runs an optimizer on given gradients.
type stepper struct {
	t     *testing.T
	c     Config
	store *tensor.Store
	plan  *engine.Plan
	count int
}

func newStepper(t *testing.T, c Config, params []*graph.Node, start ...[]float32) *stepper {
	t.Helper()
	s := &stepper{t: t, c: c, store: tensor.NewStore()}
	for i, p := range params {
		s.check(s.store.Put(p.Name(), tensor.FromFloat32s(start[i], p.Shape()...)))
	}
	g, err := Build(params, c)
	s.check(err)
	s.check(Prepare(g, s.store))
	e := engine.New(1)
	t.Cleanup(e.Close)
	s.plan, err = e.Compile(g, s.store)
	s.check(err)
	return s
}

func (s *stepper) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stepper) step(lr float64, params []*graph.Node, grads ...[]float32) {
	s.t.Helper()
	s.count++
	s.check(s.c.SetScalars(s.plan.Input, lr, s.count))
	for i, p := range params {
		s.check(s.plan.SetInput(GradInput(p.Name()), tensor.FromFloat32s(grads[i], p.Shape()...)))
	}
	s.check(s.plan.Run())
}

func TestOptimizersEqualPyTorch(t *testing.T) {
	all := func(decay float64) []Group { return []Group{{Name: "all", WeightDecay: decay}} }
	sgd := Config{Kind: SGD, Momentum: 0.9, Groups: all(0.01)}
	nesterov := sgd
	nesterov.Nesterov = true
	adam := DefaultConfig(Adam, 0)
	adam.Groups = all(0.01)
	cases := map[string]struct {
		c  Config
		lr float64
	}{
		"sgd":      {Config{Kind: SGD}, 0.1},
		"momentum": {sgd, 0.1},
		"nesterov": {nesterov, 0.1},
		"groups": {Config{Kind: SGD, Momentum: 0.9, Groups: []Group{
			{Name: "weights", Roles: []graph.Role{graph.Weight}, WeightDecay: 0.05},
			{Name: "biases", Pattern: "^b$", LR: 0.2},
		}}, 0.1},
		"clip":  {Config{Kind: SGD, Momentum: 0.9, ClipNorm: 1.5}, 0.1},
		"adam":  {adam, 0.01},
		"adamw": {Config{Kind: AdamW, Beta1: 0.8, Beta2: 0.95, Eps: 1e-8, Groups: all(0.1)}, 0.01},
	}
	for _, run := range readGolden(t).Runs {
		c, ok := cases[run.Name]
		if !ok {
			t.Fatalf("golden %s has no case here", run.Name)
		}
		params := twoParams()
		s := newStepper(t, c.c, params, run.Start...)
		for i, step := range run.Steps {
			s.step(c.lr*step.Rate, params, step.Grads...)
			for k, p := range params {
				got := s.store.Get(p.Name()).Float32s()
				for j, want := range step.Params[k] {
					if d := math.Abs(float64(got[j] - want)); !(d <= 2*updateBound) {
						t.Fatalf("%s step %d: %s[%d] = %g, want %g", run.Name, i, p.Name(), j, got[j], want)
					}
				}
			}
			if c.c.ClipNorm > 0 {
				got := float64(s.plan.Output("grad_norm").Float32s()[0])
				if math.Abs(got-step.Norm) > 1e-6*step.Norm {
					t.Errorf("%s step %d: norm %g, want %g", run.Name, i, got, step.Norm)
				}
			}
		}
	}
}

func TestStepsStayAboveTheirFloor(t *testing.T) {
	g := graph.New()
	params := []*graph.Node{g.Param(graph.Param{Name: "conv.weight_step", Shape: []int{2}, Role: graph.Step})}
	s := newStepper(t, DefaultConfig(SGD, 0.1), params, []float32{0.1, 0.1})
	s.step(1, params, []float32{5, -5})
	got := s.store.Get("conv.weight_step").Float32s()
	if float64(got[0]) < DefaultStepFloor || got[0] > 2*DefaultStepFloor || got[1] != 5.1 {
		t.Fatalf("steps %v, want the floor %g and 5.1", got, DefaultStepFloor)
	}
}

func TestAverageFollowsTheParameter(t *testing.T) {
	params := twoParams()[1:]
	start := []float32{1, 2, 3, 4, 5}
	s := newStepper(t, Config{Kind: SGD, EMA: 0.75}, params, start)
	grad := []float32{1, 1, 1, 1, 1}
	s.step(0.5, params, grad) // p = start - 0.5, ema = start - 0.125
	s.step(0.5, params, grad) // p = start - 1, ema = start - 0.34375
	avg, err := Averaged(s.store)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range avg.Get("b").Float32s() {
		if want := start[i] - 0.34375; v != want {
			t.Errorf("average %d: %g, want %g", i, v, want)
		}
		if p := s.store.Get("b").Float32s()[i]; p != start[i]-1 {
			t.Errorf("parameter %d: %g, want %g", i, p, start[i]-1)
		}
	}
	if names := avg.Names(); len(names) != 1 {
		t.Errorf("the averaged store holds %v, want b alone", names)
	}
}

func TestBuildRejectsWhatItDoesNotTrain(t *testing.T) {
	g := graph.New()
	stat := g.Param(graph.Param{Name: "bn.running_mean", Shape: []int{2}, Role: graph.Stat})
	weight := g.Param(graph.Param{Name: "w", Shape: []int{2}, Role: graph.Weight})
	frozen := Config{Kind: SGD, Groups: []Group{{Name: "w", Pattern: "w", Frozen: true}}}
	for name, f := range map[string]func() (*graph.Graph, error){
		"stat":   func() (*graph.Graph, error) { return Build([]*graph.Node{stat}, DefaultConfig(SGD, 0)) },
		"frozen": func() (*graph.Graph, error) { return Build([]*graph.Node{weight}, frozen) },
		"sum":    func() (*graph.Graph, error) { return Build([]*graph.Node{g.Add(weight, weight)}, Config{Kind: SGD}) },
		"config": func() (*graph.Graph, error) { return Build([]*graph.Node{weight}, Config{Kind: "lbfgs"}) },
	} {
		if _, err := f(); err == nil || !strings.HasPrefix(err.Error(), "optim: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestConfigValidateRejects(t *testing.T) {
	for _, c := range []Config{
		{}, {Kind: SGD, Momentum: 1}, {Kind: SGD, Nesterov: true}, {Kind: Adam}, {Kind: SGD, EMA: 1}, {Kind: SGD, ClipNorm: -1},
		{Kind: SGD, Groups: []Group{{Pattern: "("}}}, {Kind: SGD, Groups: []Group{{WeightDecay: -1}}},
		{Kind: SGD, Groups: []Group{{LR: math.Inf(1)}}},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if err := DefaultConfig(AdamW, 0.1).Validate(); err != nil {
		t.Error(err)
	}
}
