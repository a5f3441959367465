package infer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// quantizeGraph puts quantizers on every layer of g, as the methods do: one on
// the weights, one on each layer's input, and with residual also on the
// operands and the result of adds of activations. width gives the bits of each
// layer.
func quantizeGraph(t testing.TB, g *graph.Graph, perChannel, residual bool, width func(layer string) (w, a int)) *graph.Graph {
	t.Helper()
	param := func(to *graph.Graph, name string, n int) *graph.Node {
		return to.Param(graph.Param{Name: name, Shape: []int{n}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst}})
	}
	fresh := func(to *graph.Graph, x *graph.Node, name string, bits int) *graph.Node {
		spec := quant.Spec{Bits: bits, Signed: !positive(x)}
		return to.FakeQuant(x, param(to, name+"_step", 1), graph.FakeQuant{Spec: spec, StepGrad: graph.StepLSQ}).Named(name + "_quant")
	}
	type site struct {
		x    *graph.Node
		bits int
	}
	made := map[site]*graph.Node{}
	act := func(to *graph.Graph, x *graph.Node, name string, bits int) *graph.Node {
		if o, ok := x.Op().(graph.FakeQuant); ok && o.Spec.Bits == bits {
			return x
		}
		if made[site{x, bits}] == nil {
			made[site{x, bits}] = fresh(to, x, name, bits)
		}
		return made[site{x, bits}]
	}
	uses := g.Uses()
	isResidual := func(n *graph.Node) bool {
		o, ok := n.Op().(graph.Binary)
		return residual && ok && o.F == graph.Add && len(n.Shape()) == 4 && len(n.In()[1].Shape()) == 4
	}
	isRelu := func(n *graph.Node) bool {
		o, ok := n.Op().(graph.Unary)
		return ok && isRelu(o)
	}
	out, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		switch n.Op().(type) {
		case graph.Conv2D, graph.MatMul:
			wb, ab := width(n.Name())
			spec := quant.Spec{Bits: wb, Signed: true}
			steps := 1
			if perChannel {
				spec.Granularity, steps = quant.PerChannel, in[1].Shape()[0]
			}
			w := to.FakeQuant(in[1], param(to, n.Name()+".weight_step", steps), graph.FakeQuant{Spec: spec, StepGrad: graph.StepLSQ})
			return to.Copy(n, []*graph.Node{act(to, in[0], n.Name()+".input", ab), w.Named(n.Name() + ".weight_quant")})
		}
		switch {
		case isResidual(n):
			sum := to.Copy(n, []*graph.Node{act(to, in[0], n.Name()+".left", 8), act(to, in[1], n.Name()+".right", 8)})
			if u := uses[n.ID()]; len(u) == 1 && isRelu(u[0]) {
				return sum
			}
			return act(to, sum, n.Name()+".output", 8)
		case isRelu(n) && isResidual(n.In()[0]) && len(uses[n.In()[0].ID()]) == 1:
			return act(to, to.Copy(n, in), n.In()[0].Name()+".output", 8)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// positive reports whether x ends in a relu.
func positive(x *graph.Node) bool {
	switch o := x.Op().(type) {
	case graph.Unary:
		return isRelu(o)
	case graph.FakeQuant:
		return !o.Spec.Signed
	case graph.Pool, graph.Reduce, graph.Reshape, graph.Slice, graph.Pad:
		return positive(x.In()[0])
	}
	return false
}

// randomStore fills a graph's parameters: weights as initialised, norms with
// factors of both signs and some of 0, steps that use the grids.
func randomStore(t testing.TB, g *graph.Graph, seed uint64) *tensor.Store {
	t.Helper()
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, seed); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 5))
	for _, n := range g.Params() {
		p := n.Op().(graph.Param)
		v := store.Get(p.Name).Float32s()
		switch {
		case p.Role == graph.Norm || p.Role == graph.Bias:
			for i := range v {
				v[i] = float32(r.NormFloat64())
			}
			if len(v) > 2 && p.Role == graph.Norm {
				v[0], v[1] = 0, 1e-30 // constant channels
			}
		case p.Role == graph.Stat:
			for i := range v {
				v[i] = float32(0.2 + r.Float64())
			}
		}
	}
	for _, n := range g.Nodes() {
		if o, ok := n.Op().(graph.FakeQuant); ok {
			setSteps(store, n, o, r)
		}
	}
	return store
}

func setSteps(store *tensor.Store, n *graph.Node, o graph.FakeQuant, r *rand.Rand) {
	steps := store.Get(n.In()[1].Op().(graph.Param).Name).Float32s()
	most := 3.0
	if p, ok := n.In()[0].Op().(graph.Param); ok {
		most = 0
		for _, v := range store.Get(p.Name).Float32s() {
			most = max(most, math.Abs(float64(v)))
		}
	}
	for i := range steps {
		steps[i] = float32(most * (0.6 + 0.5*r.Float64()) / float64(max(o.Spec.Qp(), 1)))
	}
}

func randomInput(shape []int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 9))
	v := make([]float32, tensor.Shape(shape).Size())
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// randomNet builds a small network of a seed: convolutions of all kinds with
// norms and biases, pools, residual adds, an option-A shortcut, concatenation
// and a linear layer.
func randomNet(r *rand.Rand) *graph.Graph {
	g := graph.New()
	size := 5 + r.IntN(8)
	x := nn.Input(g, 1, 1+r.IntN(4), size, size+r.IntN(3))
	acts := []nn.Act{g.Relu, g.Relu6, nil}
	channels := func() int { return 1 + r.IntN(40) }
	norm := func(name string, c nn.Conv) *graph.Node {
		if r.IntN(4) == 0 {
			c.Bias = true
			y := nn.Conv2d(g, name, x, c)
			if a := acts[r.IntN(3)]; a != nil {
				y = a(y)
			}
			return y
		}
		return nn.ConvNorm(g, name, name+"_bn", x, c, nn.Norm{}, acts[r.IntN(3)])
	}
	for i := range 2 + r.IntN(4) {
		name := fmt.Sprintf("l%d", i)
		h, w := x.Shape()[2], x.Shape()[3]
		k := []int{1, 3, 3, 5, 7}[r.IntN(5)]
		if k > min(h, w) {
			k = 1
		}
		c := nn.Conv{Out: channels(), Kernel: k, Pad: r.IntN(k/2 + 1), Stride: 1 + r.IntN(2)}
		switch r.IntN(9) {
		case 0: // depthwise
			c.Groups, c.Out = x.Shape()[1], x.Shape()[1]
			x = norm(name, c)
		case 1: // grouped
			if in := x.Shape()[1]; in%2 == 0 {
				c.Groups, c.Out = 2, 2*(1+r.IntN(10))
			}
			x = norm(name, c)
		case 2:
			x = nn.ResidualBlock(g, name, x, nn.Residual{Out: channels(), Stride: c.Stride})
		case 3: // option A
			out := x.Shape()[1] + r.IntN(9)
			x = nn.ResidualBlock(g, name, x, nn.Residual{Out: out, Stride: c.Stride, Shortcut: func(y *graph.Node) *graph.Node {
				return nn.SubsampleShortcut(g, name+".short", y, out, c.Stride)
			}})
		case 4:
			if x = norm(name, c); min(x.Shape()[2], x.Shape()[3]) > 2 {
				x = g.MaxPool2D(x, 2+r.IntN(2), 2, r.IntN(2))
			}
		case 5:
			a := norm(name+"a", nn.Conv{Out: channels(), Kernel: 1})
			b := norm(name+"b", nn.Conv{Out: channels(), Kernel: 3, Pad: 1})
			x = g.Apply(graph.Concat{Axis: 1}, a, b)
		case 6:
			x = nn.PreResidualBlock(g, name, x, nn.Residual{Out: channels(), Stride: c.Stride})
		case 7:
			if min(h, w) > 2 {
				x = g.AvgPool2D(x, 2, 1+r.IntN(2), r.IntN(2))
			}
		default:
			x = norm(name, c)
		}
	}
	if r.IntN(2) == 0 {
		x = g.GlobalAvgPool(x)
	} else {
		x = g.Flatten(x)
	}
	x = nn.Linear(g, "fc", x, nn.Dense{Out: 1 + r.IntN(12)})
	if r.IntN(3) == 0 {
		x = g.Apply(graph.Softmax{}, x)
	}
	nn.Logits(g, x)
	return g
}
