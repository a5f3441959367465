package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// fed is a check whose graph has i32 inputs too.
type fed struct {
	check
	ints map[string][]int32
}

func (f fed) run(t *testing.T) {
	g, store := f.prepare(t)
	e := New(2)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range f.ints {
		copy(p.Input(name).Int32s(), v)
	}
	value := func() float64 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return float64(p.Output("loss").Float32s()[0])
	}
	for i := range f.shapes {
		value()
		d := append([]float32{}, p.Output(fmt.Sprintf("d%d", i)).Float32s()...)
		f.compare(t, i, d, store.Get(fmt.Sprintf("x%d", i)).Float32s(), value)
	}
}

// masked is attention over two sequences of that many tokens, with every
// operand of the mask.
func masked(seq int, compose bool) fed {
	a := graph.Attention{Mask: graph.Mask{Seq: seq, Causal: true, Position: true, Lengths: true, Starts: true}, Heads: 4, KVHeads: 2, Scale: 0.7}
	starts := make([]int32, 2*seq)
	for i := seq / 2; i < seq; i++ {
		starts[i] = int32(seq / 3)
	}
	f := fed{ints: map[string][]int32{"position": {1}, "lengths": {int32(seq), int32(seq) - 2}, "starts": starts}}
	f.check = check{
		name: fmt.Sprintf("attention %d composed %v", seq, compose), shapes: [][]int{{2 * seq, 20}, {2 * seq, 10}, {2 * seq, 10}}, tol: 1e-2,
		build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			in := append(x, g.FixedInput("position", tensor.I32, 1), g.Input("lengths", tensor.I32, 2), g.Input("starts", tensor.I32, 2, seq))
			if compose {
				return a.Compose(g, in, nil)
			}
			return g.Apply(a, in...)
		},
	}
	return f
}

func transformerChecks() []fed {
	rope := graph.RoPE{HeadDim: 6, Seq: 4, Context: 40, Theta: 100}
	adjacent := rope
	adjacent.Adjacent = true
	list := []fed{
		{check: check{name: "embedding", shapes: [][]int{{600, 5}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			return g.Embedding(x[0], g.Input("ids", tensor.I32, 2, 4))
		}}, ints: map[string][]int32{"ids": {3, 599, 3, 0, 512, 511, 3, 0}}},
		{check: check{name: "tied embedding", shapes: [][]int{{9, 5}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			return g.Linear(g.Embedding(x[0], g.Input("ids", tensor.I32, 4)), x[0])
		}}, ints: map[string][]int32{"ids": {3, 8, 3, 0}}},
		{check: check{name: "layer norm", shapes: [][]int{{5, 12}, {12}, {12}}, tol: 1e-2, build: apply(graph.RowNorm{F: graph.LayerNorm, Eps: 1e-5})}},
		{check: check{name: "layer norm rank 3", shapes: [][]int{{2, 5, 12}, {12}, {12}}, tol: 1e-2, build: apply(graph.RowNorm{F: graph.LayerNorm, Eps: 1e-5})}},
		{check: check{name: "layer norm of one row", shapes: [][]int{{12}, {12}, {12}}, tol: 1e-2, build: apply(graph.RowNorm{F: graph.LayerNorm, Eps: 1e-5})}},
		{check: check{name: "rms norm", shapes: [][]int{{5, 12}, {12}}, tol: 1e-2, build: apply(graph.RowNorm{F: graph.RMSNorm, Eps: 1e-6})}},
		{check: check{name: "rope", shapes: [][]int{{8, 12}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node {
			return g.Apply(rope, x[0], g.FixedInput("position", tensor.I32, 1))
		}}, ints: map[string][]int32{"position": {33}}},
		{check: check{name: "rope adjacent", shapes: [][]int{{8, 12}}, build: apply(adjacent)}},
		{check: check{name: "swiglu", shapes: [][]int{{7, 30}, {7, 30}}, build: func(g *graph.Graph, x []*graph.Node) *graph.Node { return g.Mul(g.SiLU(x[0]), x[1]) }}},
		masked(6, false), masked(6, true), masked(70, false), masked(20, true),
	}
	for _, f := range []graph.ActivationKind{graph.GELU, graph.GELUTanh, graph.SiLU, graph.ELU} {
		list = append(list, fed{check: check{name: string(f), shapes: [][]int{{40}}, lo: -3, hi: 3, build: apply(graph.Activation{F: f})}})
	}
	return list
}

func TestTransformerGradientsEqualCentralDifferences(t *testing.T) {
	for _, c := range transformerChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

func transformerOp(kind string, attrs json.RawMessage) (graph.Op, error) {
	switch kind {
	case "embedding":
		return decodeOp[graph.Embedding](attrs)
	case "layer_norm", "rms_norm":
		return decodeOp[graph.RowNorm](attrs)
	case "gelu", "gelu_tanh", "silu", "elu":
		return decodeOp[graph.Activation](attrs)
	case "rope":
		return decodeOp[graph.RoPE](attrs)
	case "attention":
		return decodeOp[graph.Attention](attrs)
	case "cross_entropy":
		return decodeOp[graph.CrossEntropy](attrs)
	case "kl_divergence":
		return decodeOp[graph.KLDivergence](attrs)
	case "dynamic_step":
		return decodeOp[graph.DynamicStep](attrs)
	}
	return nil, fmt.Errorf("no op %q", kind)
}

type transformerCase struct {
	goldenCase
	Integers []int
}

func (c transformerCase) build(t *testing.T, compose bool) (*graph.Graph, *tensor.Store) {
	g, store := graph.New(), tensor.NewStore()
	var xs []*graph.Node
	for i, o := range c.Operands {
		name := fmt.Sprintf("x%d", i)
		if c.Integers[i] == 1 {
			xs = append(xs, g.Input(name, tensor.I32, o.Shape...))
			continue
		}
		xs = append(xs, g.Param(graph.Param{Name: name, Shape: o.Shape}))
		_ = store.Put(name, tensor.FromFloat32s(float32s(o.Data), o.Shape...))
	}
	op, err := transformerOp(c.Kind, c.Attrs)
	if err != nil {
		t.Fatal(err)
	}
	y := g.Apply(op, xs...)
	if a, ok := op.(graph.Attention); ok && compose {
		y = a.Compose(g, xs, nil)
	}
	g.Output("y", y)
	loss := g.Sum(g.Mul(y, g.Apply(graph.Const{Shape: c.Dy.Shape, Values: float32s(c.Dy.Data)})))
	grads, err := graph.Gradients(g, loss, xs)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range grads {
		if (d == nil) != (c.Grads[i] == nil) {
			t.Fatalf("operand %d: gradient %v, PyTorch's %v", i, d != nil, c.Grads[i] != nil)
		}
		if d != nil {
			g.Output(fmt.Sprintf("d%d", i), d)
		}
	}
	return g, store
}

func TestTransformerOpsEqualPyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/transformer.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []transformerCase }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 20 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	e := New(2)
	defer e.Close()
	for _, c := range file.Cases {
		for _, compose := range []bool{false, true} {
			if compose && c.Kind != "attention" {
				continue
			}
			t.Run(fmt.Sprintf("%s composed %v", c.Name, compose), func(t *testing.T) {
				g, store := c.build(t, compose)
				p, err := e.Compile(g, store)
				if err != nil {
					t.Fatal(err)
				}
				for i, o := range c.Operands {
					if in := p.Input(fmt.Sprintf("x%d", i)); in != nil {
						for k, v := range o.Data {
							in.Int32s()[k] = int32(v)
						}
					}
				}
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				compareGolden(t, "result", p.Output("y"), c.Result)
				for i, d := range c.Grads {
					if d != nil {
						compareGolden(t, fmt.Sprintf("gradient %d", i), p.Output(fmt.Sprintf("d%d", i)), *d)
					}
				}
			})
		}
	}
}

// decodeStep is one step of attention with a cache of 100 places.
func decodeStep(t *testing.T, e *Engine, seq int) *Plan {
	g := graph.New()
	position := g.FixedInput("position", tensor.I32, 1)
	q, k, v := g.Input("q", tensor.F32, 2*seq, 12), g.Input("k", tensor.F32, 2*seq, 6), g.Input("v", tensor.F32, 2*seq, 6)
	keep := func(name string, x *graph.Node) *graph.Node {
		c := g.Apply(graph.CacheAppend{Seq: seq}, g.Input(name, tensor.F32, 2, 100, 6), x, position)
		return g.Reshape(c, -1, 6)
	}
	a := graph.Attention{Mask: graph.Mask{Seq: seq, Causal: true, Position: true}, Heads: 4, KVHeads: 2}
	g.Output("y", g.Apply(a, q, keep("cache.k", k), keep("cache.v", v), position))
	p, err := e.Compile(g, tensor.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Seventy tokens at once give what seventy steps of one token give.
func TestDecodingWithACacheEqualsPrefill(t *testing.T) {
	const n = 70
	e := New(2)
	defer e.Close()
	all, one := decodeStep(t, e, n), decodeStep(t, e, 1)
	for i, name := range []string{"q", "k", "v"} {
		fill(all.Input(name), uint64(i+1), -1, 1)
	}
	if err := all.Run(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		one.Input("position").Int32s()[0] = int32(i)
		for _, name := range []string{"q", "k", "v"} {
			src, dst := all.Input(name).Float32s(), one.Input(name).Float32s()
			c := len(dst) / 2
			copy(dst[:c], src[i*c:])
			copy(dst[c:], src[(n+i)*c:])
		}
		if err := one.Run(); err != nil {
			t.Fatal(err)
		}
		for s := range 2 {
			for c, got := range one.Output("y").Float32s()[s*12 : (s+1)*12] {
				want := all.Output("y").Float32s()[(s*n+i)*12+c]
				if math.Abs(float64(got-want)) > 1e-6 {
					t.Fatalf("token %d of sequence %d: element %d is %g, prefill %g", i, s, c, got, want)
				}
			}
		}
	}
	one.Input("position").Int32s()[0] = 100
	if err := one.Run(); err == nil || !strings.Contains(err.Error(), "cache of 100") {
		t.Errorf("a full cache: error %v", err)
	}
}

func TestIDsOutsideTheTableAreAnError(t *testing.T) {
	e := New(1)
	defer e.Close()
	g := graph.New()
	table := g.Apply(graph.Const{Shape: []int{3, 2}, Values: make([]float32, 6)})
	g.Output("y", g.Embedding(table, g.Input("ids", tensor.I32, 2)))
	p, err := e.Compile(g, tensor.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int32{-1, 3} {
		p.Input("ids").Int32s()[1] = id
		if err := p.Run(); err == nil || !strings.Contains(err.Error(), "0 to 2") {
			t.Errorf("id %d: error %v", id, err)
		}
	}
}

// Nothing is clipped by a step that comes from the value itself: the gradient
// passes the largest element too.
func TestDynamicQuantizationPassesTheWholeGradient(t *testing.T) {
	e := New(1)
	defer e.Close()
	g, store := graph.New(), tensor.NewStore()
	x := g.Param(graph.Param{Name: "x", Shape: []int{2, 4}})
	_ = store.Put("x", tensor.FromFloat32s([]float32{1, -12.7, 0.04, 0.06, 0, 0, 0, 0}, 2, 4))
	y := g.DynamicQuant(x, quant.Spec{Bits: 8, Signed: true, Granularity: quant.PerToken})
	d, err := graph.Gradients(g, g.Sum(y), []*graph.Node{x})
	if err != nil {
		t.Fatal(err)
	}
	g.Output("y", y)
	g.Output("d", d[0])
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{1, -12.7, 0, 0.1, 0, 0, 0, 0} {
		if got := p.Output("y").Float32s()[i]; math.Abs(float64(got-want)) > 1e-6 {
			t.Errorf("y[%d] = %g, want %g", i, got, want)
		}
		if got := p.Output("d").Float32s()[i]; got != 1 {
			t.Errorf("d[%d] = %g, want 1", i, got)
		}
	}
}
