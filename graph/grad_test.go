package graph_test

import (
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// checkGradients takes the gradient of the sum of node with respect to each of
// its operands and checks that it is there, unless the operand has none, and
// has the operand's shape.
func checkGradients(t *testing.T, g *graph.Graph, node *graph.Node, without ...int) {
	t.Helper()
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	grads, err := graph.Gradients(g, g.Sum(node), node.In())
	if err != nil {
		t.Errorf("%s: %v", node.Name(), err)
		return
	}
	for i, x := range node.In() {
		none := x.Type().DType != tensor.F32
		for _, w := range without {
			none = none || w == i
		}
		switch {
		case (grads[i] == nil) != none:
			t.Errorf("%s: operand %d has a gradient: %v, want %v", node.Name(), i, grads[i] != nil, !none)
		case grads[i] != nil && !grads[i].Shape().Equal(x.Shape()):
			t.Errorf("%s: gradient of operand %d %v is %v", node.Name(), i, x.Type(), grads[i].Type())
		}
	}
}

// Shapes only: values are compared with differences where an engine runs them.
func TestGradientsHaveTheOperandsShapes(t *testing.T) {
	in := func(g *graph.Graph, shape ...int) *graph.Node {
		return f32(g, string(rune('a'+len(g.Nodes()))), shape...)
	}
	one := func(make func(g *graph.Graph) *graph.Node, without ...int) {
		t.Helper()
		g := graph.New()
		checkGradients(t, g, make(g), without...)
	}
	type G = *graph.Graph
	type N = *graph.Node
	for _, f := range []graph.BinaryKind{graph.Add, graph.Sub, graph.Mul, graph.Div, graph.Max, graph.Min} {
		for _, s := range [][2][]int{{{2, 3}, {2, 3}}, {{2, 3}, {3}}, {{2, 1}, {4, 1, 3}}, {{}, {2, 3}}} {
			one(func(g G) N { return g.Apply(graph.Binary{F: f}, in(g, s[0]...), in(g, s[1]...)) })
		}
	}
	for _, f := range []graph.UnaryKind{graph.Neg, graph.Abs, graph.Sqrt, graph.Exp, graph.Log, graph.Relu, graph.Relu6, graph.Sigmoid, graph.Tanh, graph.Erf} {
		one(func(g G) N { return g.Apply(graph.Unary{F: f}, in(g, 2, 3)) })
	}
	one(func(g G) N { return g.Apply(graph.Unary{F: graph.Sign}, in(g, 2)) }, 0)
	one(func(g G) N { return g.Apply(graph.Binary{F: graph.Greater}, in(g, 2), in(g, 2)) }, 0, 1)
	one(func(g G) N {
		return g.Apply(graph.Dropout{Rate: 0.5}, in(g, 2, 3), g.FixedInput("rng", tensor.I64, 2))
	})
	for _, c := range []graph.Conv2D{
		{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1},
		{Stride: [2]int{2, 3}, Dilation: [2]int{2, 1}, Groups: 2, Pad: [4]int{0, 1, 2, 3}},
	} {
		one(func(g G) N { return g.Conv2D(in(g, 2, 4, 9, 8), in(g, 6, 4/c.Groups, 3, 2), c) })
		one(func(g G) N { // the gradient's own gradient
			y := g.Conv2D(in(g, 2, 4, 9, 8), in(g, 6, 4/c.Groups, 3, 2), c)
			return g.Apply(graph.Conv2DGradInput{Conv2D: c, InShape: y.In()[0].Shape()}, in(g, y.Shape()...), y.In()[1])
		})
	}
	for _, m := range []struct {
		op   graph.MatMul
		a, b []int
	}{
		{graph.MatMul{}, []int{2, 3}, []int{3, 4}},
		{graph.MatMul{TransA: true}, []int{3, 2}, []int{3, 4}},
		{graph.MatMul{TransB: true}, []int{2, 3}, []int{4, 3}},
		{graph.MatMul{TransA: true, TransB: true}, []int{3, 2}, []int{4, 3}},
		{graph.MatMul{}, []int{5, 2, 3}, []int{5, 3, 4}},
		{graph.MatMul{TransA: true, TransB: true}, []int{5, 3, 2}, []int{5, 4, 3}},
		{graph.MatMul{}, []int{5, 6, 2, 3}, []int{3, 4}},
		{graph.MatMul{TransB: true}, []int{5, 2, 3}, []int{4, 3}},
	} {
		one(func(g G) N { return g.Apply(m.op, in(g, m.a...), in(g, m.b...)) })
	}
	one(func(g G) N { return g.MaxPool2D(in(g, 2, 3, 9, 9), 3, 2, 1) })
	one(func(g G) N { return g.AvgPool2D(in(g, 2, 3, 9, 9), 3, 2, 1) })
	for _, axes := range [][]int{nil, {1}, {0, 2}} {
		one(func(g G) N { return g.Mean(in(g, 2, 3, 4), axes...) })
		one(func(g G) N {
			return g.Apply(graph.Reduce{F: graph.Sum, Axes: axes, KeepDims: true}, in(g, 2, 3, 4))
		})
	}
	one(func(g G) N { return g.Apply(graph.BroadcastTo{Shape: []int{4, 2, 3}}, in(g, 2, 1)) })
	one(func(g G) N { return g.Reshape(in(g, 2, 6), 3, -1) })
	one(func(g G) N { return g.Transpose(in(g, 2, 3, 4), 2, 0, 1) })
	one(func(g G) N { return g.Slice(in(g, 2, 9), 1, 1, 8, 3) })
	one(func(g G) N { return g.Apply(graph.SliceGrad{Axis: 1, Start: 1, Step: 3, Size: 9}, in(g, 2, 3)) })
	one(func(g G) N { return g.Pad(in(g, 2, 3, 4), []int{0, 1, 2}, []int{0, 0, 3}, 1) })
	one(func(g G) N { return g.Concat(1, in(g, 2, 3), in(g, 2, 1), in(g, 2, 5)) })
	one(func(g G) N {
		return g.Apply(graph.BatchNorm{Eps: 1e-5}, in(g, 2, 3, 4, 4), in(g, 3), in(g, 3), in(g, 3), in(g, 3))
	}, 3, 4)
	one(func(g G) N {
		return g.Apply(graph.BatchNormTrain{Eps: 1e-5}, in(g, 2, 3, 4, 4), in(g, 3), in(g, 3), in(g, 2, 3))
	}, 3)
	for _, s := range []quant.Spec{
		{Bits: 4, Signed: true}, {Bits: 2}, {Bits: 4, Granularity: quant.PerChannel, Axis: 1}, {Bits: 8, Granularity: quant.PerGroup, Group: 3},
	} {
		shape, err := graph.StepShape(s, tensor.Shape{2, 3, 6})
		if err != nil {
			t.Fatal(err)
		}
		for _, grad := range []graph.StepGrad{graph.StepLSQ, graph.StepPACT} {
			one(func(g G) N {
				return g.FakeQuant(in(g, 2, 3, 6), in(g, shape...), graph.FakeQuant{Spec: s, StepGrad: grad})
			})
		}
		one(func(g G) N {
			return g.FakeQuant(in(g, 2, 3, 6), in(g, shape...), graph.FakeQuant{Spec: s, StepGrad: graph.StepFrozen})
		}, 1)
	}
	for _, log := range []bool{false, true} {
		one(func(g G) N { return g.Apply(graph.Softmax{Log: log}, in(g, 2, 3)) })
	}
	one(func(g G) N { return g.Apply(graph.CrossEntropy{}, in(g, 2, 3), g.Input("labels", tensor.I32, 2)) })
	one(func(g G) N { return g.Apply(graph.KLDivergence{T: 2}, in(g, 2, 3), in(g, 2, 3)) }, 1)
}
