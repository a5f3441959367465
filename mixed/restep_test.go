package mixed

import (
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

func TestRestepKeepsWhatIsLearned(t *testing.T) {
	float := residualNet(t, 2)
	from := quantized(t, float, func(string) int { return 4 })
	store := parameters(t, from)
	for i, n := range from.Params() {
		if s := store.Get(n.Name()).Float32s(); len(s) == 1 {
			s[0] = 0.1 + 0.001*float32(i) // a value of its own for each step
		}
	}
	before := store.Clone()
	to := quantized(t, float, func(l string) int {
		if l == "layer2.0.conv1" || l == "layer2.0.downsample.0" {
			return 2
		}
		return 4
	})
	e := engine.New(1)
	defer e.Close()
	images := tensor.New(tensor.F32, 2, 3, 8, 8)
	for i := range images.Float32s() {
		images.Float32s()[i] = float32(i%17)/8 - 1
	}
	rules := StartRules{Weights: quant.Rule{Kind: quant.RuleLSQ}, Activations: quant.Rule{Kind: quant.RuleMax}}
	if _, err := Restep(e, from, to, store.Clone(), nil, rules); err == nil {
		t.Error("activation steps are found without images")
	}
	names, err := Restep(e, from, to, store, []engine.Inputs{{"input": images}}, rules)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"layer2.0.conv1.input_step", "layer2.0.conv1.weight_step", "layer2.0.downsample.0.weight_step"}
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("new steps %v, want %v", names, want)
	}
	for _, n := range store.Names() {
		same := slices.Equal(store.Get(n).Float32s(), before.Get(n).Float32s())
		if same == slices.Contains(want, n) {
			t.Errorf("%s: unchanged %t", n, same)
		}
	}
	w := before.Get("layer2.0.conv1.weight").Float32s()
	if got, want := store.Get("layer2.0.conv1.weight_step").Float32s()[0], quant.StepLSQ(w, quant.Spec{Bits: 2, Signed: true}); got != want {
		t.Errorf("weight step %g, want %g", got, want)
	}
	top := largest(t, e, to, store, images, "layer2.0.conv1.input_quant")
	if got := store.Get("layer2.0.conv1.input_step").Float32s()[0]; got != top/3 {
		t.Errorf("activation step %g, want %g", got, top/3)
	}
}

// largest is the largest value that comes to a quantizer of g.
func largest(t *testing.T, e *engine.Engine, g *graph.Graph, store *tensor.Store, images *tensor.Tensor, name string) float32 {
	t.Helper()
	tap, err := tapped(g, map[string]bool{name: true})
	if err != nil {
		t.Fatal(err)
	}
	plans := engine.Plans{Engine: e, Graph: tap, Store: store}
	plan, err := plans.For(engine.Inputs{"input": images})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Run(); err != nil {
		t.Fatal(err)
	}
	return slices.Max(plan.Output(name).Float32s())
}

func TestRestepOfAFloatNetworkSetsAll(t *testing.T) {
	float := residualNet(t, 2)
	to := quantized(t, float, func(string) int { return 3 })
	store := parameters(t, float)
	e := engine.New(1)
	defer e.Close()
	images := tensor.New(tensor.F32, 2, 3, 8, 8)
	for i := range images.Float32s() {
		images.Float32s()[i] = float32(i%5) - 2
	}
	r := quant.Rule{Kind: quant.RuleMSE}
	names, err := Restep(e, float, to, store, []engine.Inputs{{"input": images}}, StartRules{r, r})
	if err != nil || len(names) != 18 {
		t.Fatalf("%d steps, %v", len(names), err)
	}
	for _, n := range names {
		if !(store.Get(n).Float32s()[0] > 0) {
			t.Errorf("%s is %g", n, store.Get(n).Float32s())
		}
	}
	// And back: steps that the float network lacks go.
	if _, err := Restep(e, to, float, store, nil, StartRules{r, r}); err != nil || store.Get(names[0]) != nil {
		t.Errorf("%s stays, %v", names[0], err)
	}
}
