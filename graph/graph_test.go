package graph_test

import (
	"errors"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

func f32(g *graph.Graph, name string, shape ...int) *graph.Node {
	return g.Input(name, tensor.F32, shape...)
}

func param(g *graph.Graph, name string, role graph.Role, shape ...int) *graph.Node {
	return g.Param(graph.Param{Name: name, Shape: shape, Role: role, Init: graph.Init{Kind: graph.InitConst}})
}

// A shape that does not fit: the error names the node's operands with their
// types, the op, and what was wanted.
func TestShapeErrorsNameNodeOpAndShapes(t *testing.T) {
	conv := graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	lsq := func(s quant.Spec) graph.FakeQuant { return graph.FakeQuant{Spec: s, StepGrad: graph.StepLSQ} }
	for _, c := range []struct {
		name string
		make func(g *graph.Graph)
		want []string
	}{
		{"broadcast", func(g *graph.Graph) { g.Add(f32(g, "a", 2, 3), f32(g, "b", 4)) }, []string{"add", "a f32[2 3]", "b f32[4]", "broadcast"}},
		{"conv channels", func(g *graph.Graph) { g.Conv2D(f32(g, "x", 1, 3, 8, 8), f32(g, "w", 4, 2, 3, 3), conv) }, []string{"conv2d", "x f32[1 3 8 8]", "w f32[4 2 3 3]", "3 channels"}},
		{"conv kernel", func(g *graph.Graph) { g.Conv2D(f32(g, "x", 1, 3, 2, 2), f32(g, "w", 4, 3, 3, 3), conv) }, []string{"conv2d", "[3 3]", "does not fit"}},
		{"conv rank", func(g *graph.Graph) { g.Conv2D(f32(g, "x", 3, 8, 8), f32(g, "w", 4, 3, 3, 3), conv) }, []string{"conv2d", "x f32[3 8 8]"}},
		{"conv zero stride", func(g *graph.Graph) {
			g.Conv2D(f32(g, "x", 1, 3, 8, 8), f32(g, "w", 4, 3, 3, 3), graph.Conv2D{})
		}, []string{"stride [0 0]"}},
		{"matmul", func(g *graph.Graph) { g.MatMul(f32(g, "a", 2, 3), f32(g, "b", 4, 5)) }, []string{"matmul", "3 and 4"}},
		{"matmul batch", func(g *graph.Graph) { g.MatMul(f32(g, "a", 2, 3, 4), f32(g, "b", 3, 4, 5)) }, []string{"matmul", "[2 3 4]", "[3 4 5]"}},
		{"pool", func(g *graph.Graph) { g.MaxPool2D(f32(g, "x", 1, 1, 2, 2), 3, 1, 0) }, []string{"max_pool", "x f32[1 1 2 2]", "window [3 3]"}},
		{"pool pad", func(g *graph.Graph) { g.AvgPool2D(f32(g, "x", 1, 1, 8, 8), 2, 2, 2) }, []string{"avg_pool", "pad"}},
		{"reduce", func(g *graph.Graph) { g.Mean(f32(g, "x", 2, 3), 2) }, []string{"reduce_mean", "[2]", "rank 2"}},
		{"reshape", func(g *graph.Graph) { g.Reshape(f32(g, "x", 2, 3), 4, -1) }, []string{"reshape", "[2 3]", "[4 -1]"}},
		{"transpose", func(g *graph.Graph) { g.Transpose(f32(g, "x", 2, 3), 0, 0) }, []string{"transpose", "[0 0]"}},
		{"slice", func(g *graph.Graph) { g.Slice(f32(g, "x", 2, 3), 1, 2, 5, 1) }, []string{"slice", "[2:5]", "[2 3]"}},
		{"pad", func(g *graph.Graph) { g.Pad(f32(g, "x", 2, 3), []int{1}, []int{1}, 0) }, []string{"pad", "[2 3]"}},
		{"concat", func(g *graph.Graph) { g.Concat(0, f32(g, "a", 2, 3), f32(g, "b", 2, 4)) }, []string{"concat", "f32[2 3]", "f32[2 4]"}},
		{"batch norm", func(g *graph.Graph) {
			v := f32(g, "v", 4)
			g.Apply(graph.BatchNorm{}, f32(g, "x", 2, 3, 1, 1), v, v, v, v)
		}, []string{"batch_norm", "operand 1", "[3]", "[4]"}},
		{"labels", func(g *graph.Graph) { g.Apply(graph.CrossEntropy{}, f32(g, "l", 2, 3), f32(g, "y", 2)) }, []string{"cross_entropy", "i32"}},
		{"teacher", func(g *graph.Graph) { g.Apply(graph.KLDivergence{T: 1}, f32(g, "s", 2, 3), f32(g, "t", 2, 4)) }, []string{"kl_divergence", "[2 3]", "[2 4]"}},
		{"dropout", func(g *graph.Graph) { g.Apply(graph.Dropout{Rate: 1}, f32(g, "x", 2), f32(g, "r", 2)) }, []string{"dropout", "rate 1"}},
		{"step per channel", func(g *graph.Graph) {
			g.FakeQuant(f32(g, "w", 8, 3), f32(g, "s", 3), lsq(quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel}))
		}, []string{"fake_quant", "w f32[8 3]", "s f32[3]", "want [8]"}},
		{"bits", func(g *graph.Graph) { g.FakeQuant(f32(g, "w", 8), f32(g, "s", 1), lsq(quant.Spec{Bits: 9})) }, []string{"fake_quant", "bits 9"}},
		{"group", func(g *graph.Graph) {
			g.FakeQuant(f32(g, "w", 8, 6), f32(g, "s", 8, 2), lsq(quant.Spec{Bits: 4, Granularity: quant.PerGroup, Group: 4}))
		}, []string{"fake_quant", "groups of 4"}},
		{"codes", func(g *graph.Graph) {
			g.Apply(graph.QuantCodes{Spec: quant.Spec{Bits: 16, Signed: true}}, f32(g, "w", 8), f32(g, "s", 1))
		}, []string{"quant_codes", "16 bits"}},
		{"operands", func(g *graph.Graph) { g.Apply(graph.Binary{F: graph.Add}, f32(g, "a", 2)) }, []string{"add", "want 2 operands, got 1"}},
		{"type", func(g *graph.Graph) { g.Relu(g.Input("i", tensor.I32, 2)) }, []string{"relu", "want f32", "i32[2]"}},
		{"two inputs", func(g *graph.Graph) { f32(g, "x", 1); f32(g, "x", 1) }, []string{`two inputs named "x"`}},
		{"fixed input", func(g *graph.Graph) { g.FixedInput("r", tensor.I64, 2); g.FixedInput("r", tensor.I64, 3) }, []string{`"r"`, "i64[2]", "i64[3]"}},
		{"two outputs", func(g *graph.Graph) { x := f32(g, "x", 1); g.Output("y", x); g.Output("y", x) }, []string{`"y"`}},
		{"tied params", func(g *graph.Graph) { param(g, "w", graph.Weight, 2); param(g, "w", graph.Weight, 3) }, []string{`"w"`, "[2]", "[3]"}},
		{"update", func(g *graph.Graph) { x := f32(g, "x", 1); g.Update(x, x) }, []string{`"x"`, "no param"}},
		{"update shape", func(g *graph.Graph) { g.Update(param(g, "w", graph.Weight, 2), f32(g, "x", 1)) }, []string{`"w"`, "[2]", "[1]"}},
	} {
		g := graph.New()
		c.make(g)
		if g.Err() == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(g.Err().Error(), w) {
				t.Errorf("%s: error %q, want one with %q", c.name, g.Err(), w)
			}
		}
	}
}

func TestFirstErrorStays(t *testing.T) {
	g := graph.New()
	bad := g.Add(f32(g, "a", 2), f32(g, "b", 3))
	first := g.Err()
	g.Relu(g.MatMul(bad, bad))
	g.Reshape(bad, 7)
	if first == nil || !errors.Is(first, tensor.ErrShape) || g.Err() != first {
		t.Errorf("error %v, then %v", first, g.Err())
	}
	if n := len(g.Nodes()); n != 2 {
		t.Errorf("%d nodes, want the two inputs alone", n)
	}
}

func TestTiedParametersAccumulateTheirGradients(t *testing.T) {
	g := graph.New()
	w := param(g, "w", graph.Weight, 3, 3)
	if param(g, "w", graph.Weight, 3, 3) != w {
		t.Fatal("asking again for a parameter makes another node")
	}
	y := g.Linear(g.Linear(f32(g, "x", 2, 3), w), w)
	grads, err := graph.Gradients(g, g.Sum(y), []*graph.Node{w})
	if err != nil {
		t.Fatal(err)
	}
	if grads[0].Op() != (graph.Binary{F: graph.Add}) {
		t.Errorf("gradient is a %s, want the sum of two", grads[0].Op().Kind())
	}
}

func TestGradientRefusesWhatHasNone(t *testing.T) {
	g := graph.New()
	x := f32(g, "x", 2, 3)
	if _, err := graph.Gradients(g, g.Relu(x), []*graph.Node{x}); err == nil || !strings.Contains(err.Error(), "[2 3]") {
		t.Errorf("of a matrix: error %v, want one with its shape", err)
	}
	m := g.Apply(graph.Moments{}, x)
	if _, err := graph.Gradients(g, g.Sum(m), []*graph.Node{x}); err == nil || !strings.Contains(err.Error(), "moments") {
		t.Errorf("of moments: error %v, want one that names the op", err)
	}
	other := f32(g, "z", 2)
	grads, err := graph.Gradients(g, g.Sum(x), []*graph.Node{other, x})
	if err != nil || grads[0] != nil || grads[1] == nil {
		t.Errorf("of what the loss does not read: %v, %v", grads, err)
	}
}

// quantized returns a small graph with quantizers, a bias, a tied weight.
func quantized(t *testing.T) *graph.Graph {
	t.Helper()
	g := graph.New()
	x := f32(g, "input", 4, 2, 6, 6)
	q := func(bits int, signed bool) graph.FakeQuant {
		return graph.FakeQuant{Spec: quant.Spec{Bits: bits, Signed: signed}, StepGrad: graph.StepLSQ}
	}
	w := g.FakeQuant(param(g, "conv.weight", graph.Weight, 8, 2, 3, 3), param(g, "conv.weight_step", graph.Step, 1), q(3, true))
	xq := g.FakeQuant(x, param(g, "conv.input_step", graph.Step, 1), q(8, false))
	y := g.Conv2D(xq, w, graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}).Named("conv")
	y = g.Add(y, g.Reshape(param(g, "conv.bias", graph.Bias, 8), 8, 1, 1))
	stat := func(n string, r graph.Role) *graph.Node { return param(g, n, r, 8) }
	y = g.Apply(graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, y, stat("bn.weight", graph.Norm), stat("bn.bias", graph.Norm),
		stat("bn.running_mean", graph.Stat), stat("bn.running_var", graph.Stat)).Named("bn")
	y = g.GlobalAvgPool(g.Relu(y))
	fc := param(g, "fc.weight", graph.Weight, 8, 8)
	y = g.Linear(g.Linear(y, fc).Named("fc1"), fc).Named("fc2")
	g.Output("logits", y)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

func TestLayersFindBitsBiasAndCosts(t *testing.T) {
	g := quantized(t)
	layers := graph.Layers(g)
	type row struct {
		name, op             string
		macs, params         int64
		weightBits, actBits  int
		bias, weightQuant    bool
		inputQuant, noWeight bool
	}
	want := []row{
		{"conv", "conv2d", 4 * 4 * 8 * 18, 144 + 8, 3, 8, true, true, true, false},
		{"bn", "batch_norm", 0, 16, 32, 32, false, false, false, true},
		{"fc1", "matmul", 64, 64, 32, 32, false, false, false, false},
		{"fc2", "matmul", 64, 0, 32, 32, false, false, false, false}, // tied
	}
	if len(layers) != len(want) {
		t.Fatalf("%d layers, want %d", len(layers), len(want))
	}
	for i, l := range layers {
		got := row{l.Name, l.Op, l.MACs, l.Params, l.WeightBits, l.ActBits, l.Bias != nil, l.WeightQuant != nil, l.InputQuant != nil, l.Weight == nil}
		if got != want[i] {
			t.Errorf("layer %d: %+v, want %+v", i, got, want[i])
		}
	}
	if s := tensor.Shape(layers[0].OutputShape); !s.Equal(tensor.Shape{8, 4, 4}) {
		t.Errorf("output shape %v, want [8 4 4]", s)
	}
	if n := graph.ParamCount(g); n != 144+8+16+64 {
		t.Errorf("%d parameters, want %d", n, 144+8+16+64)
	}
}

// Ternary weights and spikes have no step, but bits; a shuffle keeps spikes.
func TestLayersKnowTernaryWeightsAndSpikes(t *testing.T) {
	g := graph.New()
	x := g.Input("input", tensor.F32, 1, 4, 2, 2)
	layer := func(name string, x *graph.Node) *graph.Node {
		shadow := g.Param(graph.Param{Name: name + ".shadow", Shape: []int{4, 4, 1, 1}, Role: graph.Weight})
		last := g.Param(graph.Param{Name: name + ".ternary", Shape: []int{4, 4, 1, 1}, Role: graph.Stat})
		w := g.Apply(graph.Ternary{Hysteresis: 0.1}, shadow, last)
		return g.Conv2D(x, w, graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}).Named(name)
	}
	x = g.Spike(layer("one", x))
	x = g.Reshape(g.Transpose(g.Reshape(x, 0, 2, 2, 2, 2), 0, 2, 1, 3, 4), 0, 4, 2, 2)
	g.Output("logits", layer("two", x))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	layers := graph.Layers(g)
	if len(layers) != 2 {
		t.Fatalf("%d layers, want 2", len(layers))
	}
	for i, l := range layers {
		act := []int{graph.FloatBits, 1}[i]
		if l.WeightBits != 2 || l.ActBits != act || l.Ternary == nil || l.WeightQuant != nil || l.Params != 16 {
			t.Errorf("%s: %d/%d bits, %d parameters, want 2/%d bits and 16", l.Name, l.WeightBits, l.ActBits, l.Params, act)
		}
		if l.Weight == nil || l.Weight.Name() != l.Name+".shadow" {
			t.Errorf("%s: weight %v, want its shadow", l.Name, l.Weight)
		}
	}
}

func TestPassesKeepNamesAndInferShapesAgain(t *testing.T) {
	g := quantized(t)
	b, err := graph.WithBatch(g, 9)
	if err != nil {
		t.Fatal(err)
	}
	if s := b.OutputNode("logits").Shape(); !s.Equal(tensor.Shape{9, 8}) {
		t.Errorf("logits %v for batch 9", s)
	}
	train, err := graph.Training(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := train.Find("bn").Op().(graph.BatchNormTrain); !ok || len(train.Updates()) != 2 {
		t.Errorf("bn is %s with %d updates, want batch_norm_train with 2", train.Find("bn").Op().Kind(), len(train.Updates()))
	}
	// 9 images of 4 x 4: the unbiased variance is 144/143 of the biased one.
	if c := train.Updates()[1].Value.Op().(graph.RunningStat).Correction; c != 144.0/143 {
		t.Errorf("correction %g, want 144/143", c)
	}
	kept, err := graph.Training(b, func(n *graph.Node) bool { return n.Name() == "bn" })
	if err != nil || len(kept.Updates()) != 0 {
		t.Errorf("a kept norm has %d updates, error %v", len(kept.Updates()), err)
	}
	unused := g.Relu(g.InputNode("input"))
	p, err := graph.Prune(g)
	if err != nil || len(p.Nodes()) != len(g.Nodes())-1 || g.Nodes()[unused.ID()] != unused {
		t.Errorf("pruned to %d of %d nodes, error %v", len(p.Nodes()), len(g.Nodes()), err)
	}
	if _, err := graph.WithBatch(g, 0); err == nil {
		t.Error("batch 0 was taken")
	}
}
