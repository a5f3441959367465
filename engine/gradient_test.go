package engine

import (
	"fmt"
	"math"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/quant"
	"lowbit/tensor"
)

// check is one op under the central-difference test: build makes a value from
// parameters of the given shapes; the loss is its product with fixed numbers.
type check struct {
	name   string
	shapes [][]int
	build  func(g *graph.Graph, x []*graph.Node) *graph.Node
	// lo and hi bound the parameters' values; 0, 0 means [-1, 1].
	lo, hi float32
	// still lists parameters that get no gradient.
	still map[int]bool
	tol   float64 // 0 means defaultTol
}

// defaultTol bounds |analytic - numeric| relative to the largest gradient:
// float32 losses of some hundred terms, differenced at 1e-2.
const defaultTol = 5e-3

func fill(t *tensor.Tensor, seed uint64, lo, hi float32) {
	r := rng.New(seed)
	for i := range t.Float32s() {
		t.Float32s()[i] = lo + (hi-lo)*r.Float32()
	}
}

// prepare builds loss and gradients and fills a store.
func (c check) prepare(t *testing.T) (*graph.Graph, *tensor.Store) {
	g := graph.New()
	store := tensor.NewStore()
	var xs []*graph.Node
	lo, hi := c.lo, c.hi
	if lo == 0 && hi == 0 {
		lo, hi = -1, 1
	}
	for i, s := range c.shapes {
		name := fmt.Sprintf("x%d", i)
		xs = append(xs, g.Param(graph.Param{Name: name, Shape: s, Role: graph.Weight}))
		p := tensor.New(tensor.F32, s...)
		fill(p, uint64(i+1), lo, hi)
		if err := store.Put(name, p); err != nil {
			t.Fatal(err)
		}
	}
	y := c.build(g, xs)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	w := make([]float32, y.Shape().Size())
	r := rng.New(77)
	for i := range w {
		w[i] = 2*r.Float32() - 1
	}
	loss := g.Sum(g.Mul(y, g.Apply(graph.Const{Shape: y.Shape(), Values: w})))
	g.Output("loss", loss)
	grads, err := graph.Gradients(g, loss, xs)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range grads {
		switch {
		case d != nil:
			g.Output(fmt.Sprintf("d%d", i), d)
		case !c.still[i]:
			t.Fatalf("no gradient for x%d", i)
		}
	}
	return g, store
}

func (c check) run(t *testing.T) {
	g, store := c.prepare(t)
	e := New(2)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	value := func() float64 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return float64(p.Output("loss").Float32s()[0])
	}
	for i := range c.shapes {
		if !c.still[i] {
			value()
			d := append([]float32{}, p.Output(fmt.Sprintf("d%d", i)).Float32s()...)
			c.compare(t, i, d, store.Get(fmt.Sprintf("x%d", i)).Float32s(), value)
		}
	}
}

func (c check) compare(t *testing.T, i int, d, x []float32, value func() float64) {
	const h = 2e-3
	tol := c.tol
	if tol == 0 {
		tol = defaultTol
	}
	scale := 1e-3
	for _, v := range d {
		scale = math.Max(scale, math.Abs(float64(v)))
	}
	stride := max(1, len(x)/23)
	for k := 0; k < len(x); k += stride {
		old := x[k]
		x[k] = old + h
		up := value()
		x[k] = old - h
		down := value()
		x[k] = old
		want := (up - down) / (float64(old+h) - float64(old-h))
		if math.Abs(want-float64(d[k])) > tol*scale {
			t.Errorf("x%d[%d]: gradient %g, central difference %g (largest %g)", i, k, d[k], want, scale)
		}
	}
}

type buildFunc = func(g *graph.Graph, x []*graph.Node) *graph.Node

func square(stride, pad, groups int) graph.Conv2D {
	return graph.Conv2D{Stride: [2]int{stride, stride}, Pad: [4]int{pad, pad, pad, pad}, Dilation: [2]int{1, 1}, Groups: groups}
}

func binary(f graph.BinaryKind) buildFunc {
	return func(g *graph.Graph, x []*graph.Node) *graph.Node { return g.Apply(graph.Binary{F: f}, x[0], x[1]) }
}

func unary(f graph.UnaryKind) buildFunc {
	return func(g *graph.Graph, x []*graph.Node) *graph.Node { return g.Apply(graph.Unary{F: f}, x[0]) }
}

func apply(op graph.Op) buildFunc {
	return func(g *graph.Graph, x []*graph.Node) *graph.Node { return g.Apply(op, x...) }
}

func batchNorm(g *graph.Graph, x []*graph.Node) *graph.Node {
	return g.Apply(graph.BatchNormTrain{Eps: 1e-5}, x[0], x[1], x[2], g.Apply(graph.Moments{}, x[0]))
}

func residualBlock(g *graph.Graph, x []*graph.Node) *graph.Node {
	y := batchNorm(g, []*graph.Node{g.Conv2D(x[0], x[1], square(1, 1, 1)), x[2], x[3]})
	y = g.Sigmoid(g.Add(y, x[0]))
	z := batchNorm(g, []*graph.Node{g.Conv2D(y, x[1], square(1, 1, 1)), x[2], x[3]})
	return g.Tanh(g.Add(z, y))
}

func elementwiseChecks() []check {
	return []check{
		{name: "add", shapes: [][]int{{3, 4}, {3, 4}}, build: binary(graph.Add)},
		{name: "add channel", shapes: [][]int{{2, 3, 4, 5}, {3, 1, 1}}, build: binary(graph.Add)},
		{name: "sub row", shapes: [][]int{{3, 4}, {3, 1}}, build: binary(graph.Sub)},
		{name: "mul scalar", shapes: [][]int{{3, 4}, {}}, build: binary(graph.Mul)},
		{name: "mul wide channel", shapes: [][]int{{3, 700}, {700}}, build: binary(graph.Mul)},
		{name: "mul outer", shapes: [][]int{{3, 1, 4}, {1, 5, 1}}, build: binary(graph.Mul)},
		{name: "mul middle", shapes: [][]int{{2, 5, 4}, {5, 1}}, build: binary(graph.Mul)},
		{name: "mul batch", shapes: [][]int{{4, 3, 2, 2}, {4, 3, 1, 1}}, build: binary(graph.Mul)},
		{name: "div", shapes: [][]int{{3, 4}, {4}}, build: binary(graph.Div), lo: 1, hi: 2},
		{name: "max", shapes: [][]int{{30}, {30}}, build: binary(graph.Max)},
		{name: "min", shapes: [][]int{{30}, {30}}, build: binary(graph.Min)},
		{name: "neg", shapes: [][]int{{7}}, build: unary(graph.Neg)},
		{name: "abs", shapes: [][]int{{40}}, build: unary(graph.Abs), lo: 0.1, hi: 1},
		{name: "sqrt", shapes: [][]int{{9}}, build: unary(graph.Sqrt), lo: 1, hi: 2},
		{name: "exp", shapes: [][]int{{9}}, build: unary(graph.Exp)},
		{name: "log", shapes: [][]int{{9}}, build: unary(graph.Log), lo: 1, hi: 2},
		{name: "relu", shapes: [][]int{{5, 5}}, build: unary(graph.Relu), lo: 0.1, hi: 1},
		{name: "relu6", shapes: [][]int{{5, 5}}, build: unary(graph.Relu6), lo: 1, hi: 5},
		{name: "sigmoid", shapes: [][]int{{9}}, build: unary(graph.Sigmoid)},
		{name: "tanh", shapes: [][]int{{9}}, build: unary(graph.Tanh)},
		{name: "erf", shapes: [][]int{{9}}, build: unary(graph.Erf)},
		{name: "softmax", shapes: [][]int{{4, 7}}, build: apply(graph.Softmax{})},
		{name: "log softmax", shapes: [][]int{{4, 7}}, build: apply(graph.Softmax{Log: true})},
		{name: "kl", shapes: [][]int{{4, 7}, {4, 7}}, still: map[int]bool{1: true}, build: apply(graph.KLDivergence{T: 2})},
		{name: "mean axis", shapes: [][]int{{2, 3, 4}}, build: apply(graph.Reduce{F: graph.Mean, Axes: []int{1}})},
		{name: "sum outer axes", shapes: [][]int{{2, 3, 4}}, build: apply(graph.Reduce{F: graph.Sum, Axes: []int{0, 2}})},
		{name: "sum first", shapes: [][]int{{9, 3, 4}}, build: apply(graph.Reduce{F: graph.Sum, Axes: []int{0}})},
		{name: "broadcast", shapes: [][]int{{3, 1}}, build: apply(graph.BroadcastTo{Shape: []int{2, 3, 4}})},
	}
}

func movingChecks() []check {
	return []check{
		{name: "slice", shapes: [][]int{{2, 5, 6}}, build: apply(graph.Slice{Axis: 2, Start: 1, End: 6, Step: 2})},
		{name: "slice rows", shapes: [][]int{{5, 6}}, build: apply(graph.Slice{Axis: 0, Start: 1, End: 4})},
		{name: "pad", shapes: [][]int{{2, 3, 4}}, build: apply(graph.Pad{Before: []int{0, 1, 2}, After: []int{1, 0, 3}, Value: .5})},
		{name: "concat", shapes: [][]int{{2, 3, 4}, {2, 2, 4}}, build: apply(graph.Concat{Axis: 1})},
		{name: "transpose", shapes: [][]int{{2, 3, 4}}, build: apply(graph.Transpose{Perm: []int{2, 0, 1}})},
		{name: "transpose rows", shapes: [][]int{{2, 3, 4, 5}}, build: apply(graph.Transpose{Perm: []int{0, 2, 1, 3}})},
		{name: "reshape", shapes: [][]int{{2, 3, 4}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			return g.Mul(g.Flatten(x[0]), g.Flatten(x[0]))
		}},
		{name: "option A shortcut", shapes: [][]int{{2, 4, 6, 6}, {4, 4, 1, 1}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			y := g.Conv2D(x[0], x[1], square(1, 0, 1))
			y = g.Slice(g.Slice(y, 2, 0, 0, 2), 3, 0, 0, 2)
			return g.Pad(y, []int{0, 2, 0, 0}, []int{0, 2, 0, 0}, 0)
		}},
		{name: "flatten images", shapes: [][]int{{2, 4, 3, 3}, {4, 4, 1, 1}, {5, 36}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			return g.Linear(g.Flatten(g.Conv2D(x[0], x[1], square(1, 0, 1))), x[2])
		}},
	}
}

func productChecks() []check {
	return []check{
		{name: "matmul", shapes: [][]int{{5, 4}, {4, 6}}, build: apply(graph.MatMul{})},
		{name: "linear", shapes: [][]int{{2, 5, 4}, {6, 4}}, build: apply(graph.MatMul{TransB: true})},
		{name: "matmul batched", shapes: [][]int{{2, 3, 5, 4}, {2, 3, 4, 6}}, build: apply(graph.MatMul{})},
		{name: "matmul transposed", shapes: [][]int{{2, 4, 5}, {2, 6, 4}}, build: apply(graph.MatMul{TransA: true, TransB: true})},
		{name: "conv 3x3", shapes: [][]int{{2, 3, 6, 5}, {4, 3, 3, 3}}, build: apply(square(1, 1, 1))},
		{name: "conv 3x3 wide", shapes: [][]int{{3, 16, 8, 8}, {32, 16, 3, 3}}, build: apply(square(1, 1, 1)), tol: 1e-2},
		{name: "conv stride 2", shapes: [][]int{{2, 4, 7, 8}, {6, 4, 3, 3}}, build: apply(square(2, 1, 1))},
		{name: "conv uneven", shapes: [][]int{{2, 4, 7, 8}, {6, 2, 3, 2}}, build: apply(graph.Conv2D{Stride: [2]int{2, 1}, Pad: [4]int{0, 1, 2, 0}, Dilation: [2]int{1, 2}, Groups: 2})},
		{name: "conv depthwise", shapes: [][]int{{2, 4, 6, 6}, {4, 1, 3, 3}}, build: apply(square(1, 1, 4))},
		{name: "max pool", shapes: [][]int{{2, 3, 6, 6}}, tol: 1e-1, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			return g.MaxPool2D(g.Mul(x[0], g.Scalar(100)), 3, 2, 1)
		}},
		{name: "avg pool", shapes: [][]int{{2, 3, 6, 6}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node { return g.AvgPool2D(x[0], 3, 2, 1) }},
		{name: "global pool", shapes: [][]int{{2, 3, 6, 6}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node { return g.GlobalAvgPool(x[0]) }},
		{name: "batch norm", shapes: [][]int{{4, 3, 5, 5}, {3}, {3}}, build: batchNorm, tol: 2e-2},
		{name: "batch norm vectors", shapes: [][]int{{16, 5}, {5}, {5}}, build: batchNorm, tol: 2e-2},
		{name: "batch norm wide", shapes: [][]int{{16, 600}, {600}, {600}}, build: batchNorm, tol: 2e-2},
		{name: "batch norm plain rank 3", shapes: [][]int{{8, 3, 7}, {3}, {3}}, build: batchNorm, tol: 2e-2},
		{name: "batch norm frozen", shapes: [][]int{{4, 3, 5, 5}, {3}, {3}, {3}, {3}}, lo: 0.5, hi: 1.5,
			still: map[int]bool{3: true, 4: true}, build: apply(graph.BatchNorm{Eps: 1e-5, Momentum: 0.1})},
		{name: "residual block", shapes: [][]int{{3, 16, 8, 8}, {16, 16, 3, 3}, {16}, {16}}, tol: 2e-2, build: residualBlock},
	}
}

func TestGradientsEqualCentralDifferences(t *testing.T) {
	for _, list := range [][]check{elementwiseChecks(), movingChecks(), productChecks()} {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) { c.run(t) })
		}
	}
}

func TestFakeQuantGradientsFollowThePaper(t *testing.T) {
	// specs/lsq.md, golden vectors at s = 0.8.
	v := []float32{-3, -1.6, -1, -.5, 0, .3, .5, .8, 1.1, 2.9}
	for _, c := range []struct {
		spec quant.Spec
		dx   []float32
		ds   float64
	}{
		{quant.Spec{Bits: 2, Signed: true}, []float32{0, 0, 1, 1, 1, 1, 1, 0, 0, 0}, -2 - 2 + .25 - .375 - .375 + .375 + 1 + 1 + 1},
		{quant.Spec{Bits: 2}, []float32{0, 0, 0, 0, 0, 1, 1, 1, 1, 0}, -.375 + .375 - .375 + 3},
	} {
		g := graph.New()
		x := g.Param(graph.Param{Name: "x", Shape: []int{10}})
		s := g.Param(graph.Param{Name: "s", Shape: []int{1}})
		loss := g.Sum(g.FakeQuant(x, s, graph.FakeQuant{Spec: c.spec, StepGrad: graph.StepLSQ}))
		d, err := graph.Gradients(g, loss, []*graph.Node{x, s})
		if err != nil {
			t.Fatal(err)
		}
		g.Output("dx", d[0])
		g.Output("ds", d[1])
		store := tensor.NewStore()
		_ = store.Put("x", tensor.FromFloat32s(v, 10))
		_ = store.Put("s", tensor.FromFloat32s([]float32{.8}, 1))
		e := New(1)
		defer e.Close()
		p, err := e.Compile(g, store)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		for i, w := range c.dx {
			if g := p.Output("dx").Float32s()[i]; g != w {
				t.Errorf("%v: dx[%d] = %g, want %g", c.spec, i, g, w)
			}
		}
		if g := float64(p.Output("ds").Float32s()[0]); math.Abs(g-c.ds) > 1e-5 {
			t.Errorf("%v: ds = %g, want %g", c.spec, g, c.ds)
		}
	}
}
