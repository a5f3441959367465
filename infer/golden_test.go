package infer

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// golden is testdata/deploy.json, made by peer/golden_infer.py.
type golden struct {
	Eps    float64 `json:"eps"`
	Params map[string]struct {
		Shape  []int     `json:"shape"`
		Values []float32 `json:"values"`
	} `json:"params"`
	Codes  map[string][]int32 `json:"codes"`
	Logits []float32          `json:"logits"`
}

// graph builds the network of the golden.
func (gold *golden) graph(g *graph.Graph) *graph.Graph {
	param := func(name string, role graph.Role) *graph.Node {
		return g.Param(graph.Param{Name: name, Shape: gold.Params[name].Shape, Role: role})
	}
	q := func(x *graph.Node, name string, s quant.Spec) *graph.Node {
		return g.FakeQuant(x, param(name+"_step", graph.Step), graph.FakeQuant{Spec: s, StepGrad: graph.StepLSQ})
	}
	norm := func(x *graph.Node, name string) *graph.Node {
		return g.Apply(graph.BatchNorm{Eps: gold.Eps}, x, param(name+".weight", graph.Norm), param(name+".bias", graph.Norm),
			param(name+".running_mean", graph.Stat), param(name+".running_var", graph.Stat)).Named(name)
	}
	one := [2]int{1, 1}
	pad := [4]int{1, 1, 1, 1}
	x := q(g.Input("input", tensor.F32, 1, 3, 8, 8), "conv1.input", quant.Spec{Bits: 8, Signed: true})
	w := q(param("conv1.weight", graph.Weight), "conv1.weight", quant.Spec{Bits: 8, Signed: true})
	x = g.Relu(norm(g.Conv2D(x, w, graph.Conv2D{Stride: one, Pad: pad, Dilation: one, Groups: 1}), "bn1"))
	x = q(x, "conv2.input", quant.Spec{Bits: 4})
	w = q(param("conv2.weight", graph.Weight), "conv2.weight", quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel})
	x = g.Relu6(norm(g.Conv2D(x, w, graph.Conv2D{Stride: [2]int{2, 2}, Pad: pad, Dilation: one, Groups: 6}), "bn2"))
	x = q(g.GlobalAvgPool(q(x, "pool.input", quant.Spec{Bits: 8})).Named("pool"), "fc.input", quant.Spec{Bits: 8})
	x = g.Linear(x, q(param("fc.weight", graph.Weight), "fc.weight", quant.Spec{Bits: 3, Signed: true}))
	g.Output("logits", g.Add(x, param("fc.bias", graph.Bias)))
	return g
}

func TestDeployFormEqualsThePeers(t *testing.T) {
	b, err := os.ReadFile("testdata/deploy.json")
	if err != nil {
		t.Fatal(err)
	}
	var gold golden
	if err := json.Unmarshal(b, &gold); err != nil {
		t.Fatal(err)
	}
	g, store := gold.graph(graph.New()), tensor.NewStore()
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	for name, p := range gold.Params {
		if err := store.Put(name, tensor.FromFloat32s(p.Values, p.Shape...)); err != nil {
			t.Fatal(err)
		}
	}
	in := gold.Params["input"].Values
	ref, err := NewReference(g, store)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ref.Run(in); err != nil || !slices.Equal(got, gold.Logits) {
		t.Errorf("reference: %v, want %v (%v)", got, gold.Logits, err)
	}
	found := 0
	for d, v := range ref.done {
		if want, ok := gold.Codes[d.node.Name()]; ok && d.to.codes {
			found++
			if !slices.Equal(v.codes, want) {
				t.Errorf("codes of %s differ from the peer's", d.node.Name())
			}
		}
	}
	if found != len(gold.Codes) {
		t.Errorf("%d layers compared, want %d", found, len(gold.Codes))
	}
	eachKernel(t, func(t *testing.T) {
		m, err := Lower(g, store)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, len(gold.Logits))
		if err := m.NewSession(Options{Threads: 1}).Run(in, got); err != nil || !slices.Equal(got, gold.Logits) {
			t.Errorf("plan: %v, want %v (%v)", got, gold.Logits, err)
		}
	})
}
