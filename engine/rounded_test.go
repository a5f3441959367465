package engine

import (
	"math"
	"slices"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/quant"
	"lowbit/tensor"
)

// A network of which the weights were rounded once gives the same bits, also
// where a second graph of another length shares the store.
func TestRoundWeightsKeepsTheBits(t *testing.T) {
	spec := quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel}
	build := func(rows int) *graph.Graph {
		g := graph.New()
		x := g.Input("input", tensor.F32, rows, 24)
		w := g.Param(graph.Param{Name: "w", Shape: []int{16, 24}, Role: graph.Weight})
		s := g.Param(graph.Param{Name: "s", Shape: []int{16}, Role: graph.Step})
		q := g.FakeQuant(w, s, graph.FakeQuant{Spec: spec, StepGrad: graph.StepFrozen}).Named("w.quant")
		y := g.DynamicQuant(x, quant.Spec{Bits: 8, Signed: true, Granularity: quant.PerToken})
		g.Output("logits", g.Add(g.Linear(y, q), g.Param(graph.Param{Name: "b", Shape: []int{16}, Role: graph.Bias})))
		return g
	}
	store := tensor.NewStore()
	random := rng.New(3)
	for name, n := range map[string][]int{"w": {16, 24}, "s": {16}, "b": {16}} {
		v := make([]float32, tensor.Shape(n).Size())
		for i := range v {
			v[i] = float32(random.Float64() + 0.01)
		}
		if err := store.Put(name, tensor.FromFloat32s(v, n...)); err != nil {
			t.Fatal(err)
		}
	}
	e := New(2)
	defer e.Close()
	e.FloatProducts = true
	run := func(g *graph.Graph, s *tensor.Store, rows int) []float32 {
		p, err := e.Compile(g, s)
		if err != nil {
			t.Fatal(err)
		}
		r := rng.New(9)
		x := p.Input("input").Float32s()
		for i := range x {
			x[i] = float32(r.Float64() - 0.5)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(p.Output("logits").Float32s())
	}
	from, into := store, tensor.NewStore()
	for _, rows := range []int{1, 7} {
		rounded, err := e.RoundWeights(build(rows), from, into)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range rounded.Nodes() {
			if _, ok := n.Op().(graph.FakeQuant); ok && n.Name() == "w.quant" {
				t.Errorf("%d rows: the weights' quantizer is still there", rows)
			}
		}
		want, got := run(build(rows), store, rows), run(rounded, into, rows)
		if !slices.EqualFunc(want, got, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			t.Errorf("%d rows: %v, want %v", rows, got, want)
		}
		from = into
	}
	if names := into.Names(); !slices.Equal(names, []string{"b", "w.quant.rounded"}) {
		t.Errorf("the store holds %v", names)
	}
	if into.Get("b") != store.Get("b") {
		t.Error("a parameter was copied")
	}
	if _, err := e.RoundWeights(build(1), tensor.NewStore(), tensor.NewStore()); err == nil {
		t.Error("an empty store accepted")
	}
}

// Quantizers before a convolution stay: it runs on their codes.
func TestRoundWeightsLeavesConvolutions(t *testing.T) {
	g := graph.New()
	x := g.Input("input", tensor.F32, 1, 2, 4, 4)
	w := g.Param(graph.Param{Name: "w", Shape: []int{3, 2, 1, 1}, Role: graph.Weight})
	s := g.Param(graph.Param{Name: "s", Shape: []int{1}, Role: graph.Step})
	q := g.FakeQuant(w, s, graph.FakeQuant{Spec: quant.Spec{Bits: 4, Signed: true}, StepGrad: graph.StepFrozen}).Named("w.quant")
	g.Output("logits", g.Conv2D(x, q, graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}))
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
	if found := weightQuantizers(g); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}
