package graph_test

import (
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// blocks is a residual network of n blocks of a quantized linear layer and more.
func blocks(t *testing.T, n int) (g *graph.Graph, loss *graph.Node, params []*graph.Node) {
	t.Helper()
	g = graph.New()
	param := func(name string, role graph.Role, shape ...int) *graph.Node {
		p := g.Param(graph.Param{Name: name, Shape: shape, Role: role, Init: graph.Init{Kind: graph.InitNormal, Value: 0.3}})
		params = append(params, p)
		return p
	}
	x := g.Input("input", tensor.F32, 4, 8)
	for i := range n {
		name := string(rune('a' + i))
		step := g.Param(graph.Param{Name: name + ".step", Shape: []int{8}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst, Value: 0.1}})
		params = append(params, step)
		w := g.FakeQuant(param(name+".weight", graph.Weight, 8, 8), step, graph.FakeQuant{Spec: quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel}, StepGrad: graph.StepLSQ, GradScale: 0.1})
		y := g.Linear(g.RMSNorm(x, param(name+".norm", graph.Norm, 8), 1e-5), w.Named(name+".quant")).Named(name + ".linear")
		x = g.Add(x, g.SiLU(y)).Named(name + ".out")
	}
	loss = g.Mean(g.Mul(x, x))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g, loss, params
}

// With recomputation the backward pass reads of the forward one only the cuts,
// inputs and parameters.
func TestRecomputationReadsTheCutsAlone(t *testing.T) {
	g, loss, params := blocks(t, 3)
	forward := len(g.Nodes())
	grads, err := graph.RecomputedGradients(g, loss, params, g.InputNode("input"))
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range grads {
		g.Output("grad:"+params[i].Name(), d)
	}
	if g, err = graph.Prune(g); err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{}
	afters := 0
	for _, n := range g.Nodes()[forward:] {
		if _, ok := n.Op().(graph.After); ok {
			afters++
		}
		for _, x := range n.In() {
			if x.ID() < forward && x.Op().Kind() != "param" && x.Op().Kind() != "input" && x.Op().Kind() != "const" {
				read[x.Name()] = true
			}
		}
	}
	for name := range read {
		if !strings.HasSuffix(name, ".out") {
			t.Errorf("the backward pass reads %s", name)
		}
	}
	if g.Find("b.linear.again") == nil || g.Find("b.quant.again") == nil {
		t.Error("a block's linear layer or quantizer is not computed again")
	}
	if afters != 2*3 {
		t.Errorf("%d values wait for a gradient, want a block's input and steps of three blocks", afters)
	}
	if _, err := graph.RecomputedGradients(g, loss, params, nil); err == nil {
		t.Error("no error without a beginning")
	}
}
