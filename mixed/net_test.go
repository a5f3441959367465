package mixed

import (
	"testing"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// residualNet has the linked pairs of an option-B network: two convolutions
// read one tensor in layer2.0 and layer3.0.
func residualNet(t testing.TB, batch int) *graph.Graph {
	t.Helper()
	g := graph.New()
	x := nn.Input(g, batch, 3, 8, 8)
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	x = nn.ResidualBlock(g, "layer1.0", x, nn.Residual{Out: 4, Stride: 1})
	x = nn.ResidualBlock(g, "layer2.0", x, nn.Residual{Out: 8, Stride: 2})
	x = nn.ResidualBlock(g, "layer3.0", x, nn.Residual{Out: 16, Stride: 2})
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: 3}))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

// quantized puts quantizers on weights and inputs of the convolutions, one for
// each tensor and width, as a method would: width tells a layer's.
func quantized(t testing.TB, g *graph.Graph, width func(layer string) int) *graph.Graph {
	t.Helper()
	type site struct {
		x    *graph.Node
		bits int
	}
	done := map[site]*graph.Node{}
	q, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if !isLayer(n) {
			return nil
		}
		b := width(n.Name())
		quantizer := func(x *graph.Node, what string, signed bool) *graph.Node {
			if y := done[site{x, b}]; y != nil {
				return y
			}
			step := to.Param(graph.Param{Name: n.Name() + what + "_step", Shape: []int{1}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst, Value: 0.1}})
			y := to.FakeQuant(x, step, graph.FakeQuant{Spec: quant.Spec{Bits: b, Signed: signed}, StepGrad: graph.StepLSQ, GradScale: 1}).Named(n.Name() + what + "_quant")
			done[site{x, b}] = y
			return y
		}
		return to.Copy(n, []*graph.Node{quantizer(in[0], ".input", n.Name() == "conv1"), quantizer(in[1], ".weight", true)})
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func parameters(t testing.TB, g *graph.Graph) *tensor.Store {
	t.Helper()
	s := tensor.NewStore()
	if err := graph.InitParams(g, s, 1); err != nil {
		t.Fatal(err)
	}
	return s
}

// problem is residualNet at 4 bits with the choice of 2 and 4.
func problem(t testing.TB, bits ...int) *Problem {
	t.Helper()
	g := quantized(t, residualNet(t, 1), func(string) int { return 4 })
	n, err := Link(g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProblem(n, parameters(t, g), Square(bits...), BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
