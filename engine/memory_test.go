package engine_test

import (
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
)

// Plans of several shapes that share memory compute what plans with memory of
// their own do, whichever ran before.
func TestPlansShareMemory(t *testing.T) {
	c := model.Bert{Vocab: 40, Dim: 16, Layers: 2, Heads: 2, Hidden: 24, Positions: 32, Types: 2, NormEps: 1e-12, Head: model.BertClassify, Classes: 2}
	e := engine.New(2)
	defer e.Close()
	store := tensor.NewStore()
	r := rng.New(4)
	var memory engine.Memory
	var shared, own []*engine.Plan
	shapes := [][2]int{{4, 32}, {3, 8}, {5, 32}, {4, 16}} // the third needs more than the first
	for _, s := range shapes {
		g, err := c.Graph(s[0], s[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := graph.InitParams(g, store, 2); err != nil {
			t.Fatal(err)
		}
		g.Output("loss", g.Mean(g.Apply(graph.CrossEntropy{}, g.OutputNode("logits"), g.Input(nn.LabelsName, tensor.I32, s[0]))))
		grads, err := graph.Gradients(g, g.OutputNode("loss"), g.Params())
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range grads {
			g.Output("grad:"+g.Params()[i].Name(), d)
		}
		a, err := e.CompileIn(&memory, g, store)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.Compile(g, store)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.Input("input").Int32s() {
			a.Input("input").Int32s()[i] = int32(r.Intn(40))
		}
		for i := range s[0] {
			a.Input("lengths").Int32s()[i] = int32(1 + r.Intn(s[1]))
		}
		for _, in := range []string{"input", "types", "lengths", "labels"} {
			copy(b.Input(in).Int32s(), a.Input(in).Int32s())
		}
		shared, own = append(shared, a), append(own, b)
	}
	for _, i := range []int{0, 1, 2, 3, 1, 0, 2, 2} {
		for _, p := range []*engine.Plan{shared[i], own[i]} {
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"logits", "loss", "grad:embeddings.word_embeddings.weight", "grad:encoder.layer.0.attention.self.query.weight"} {
			if !slices.Equal(shared[i].Output(name).Float32s(), own[i].Output(name).Float32s()) {
				t.Errorf("shape %v: %s differs", shapes[i], name)
			}
		}
	}
}
