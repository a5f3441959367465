package engine

import (
	"fmt"
	"hash/fnv"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/quant"
	"lowbit/tensor"
)

// net builds training graphs of CIFAR ResNets for tests and benchmarks, with
// LSQ at a number of bits (8 in the first and last layer) if bits is not 0.
type net struct {
	g    *graph.Graph
	bits int
}

func (n *net) quantize(x *graph.Node, name string, spec quant.Spec) *graph.Node {
	if n.bits == 0 {
		return x
	}
	s := n.g.Param(graph.Param{Name: name, Shape: []int{1}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst, Value: 0.05}})
	return n.g.FakeQuant(x, s, graph.FakeQuant{Spec: spec, StepGrad: graph.StepLSQ, GradScale: 1e-3})
}

func (n *net) conv(x *graph.Node, name string, out, k, stride int) *graph.Node {
	bits, signed := n.bits, false
	if name == "conv1" {
		bits, signed = 8, true
	}
	w := n.g.Param(graph.Param{Name: name + ".weight", Shape: []int{out, x.Shape()[1], k, k}, Role: graph.Weight,
		Init: graph.Init{Kind: graph.InitNormal, Value: 0.1}})
	x = n.quantize(x, name+".input_step", quant.Spec{Bits: bits, Signed: signed})
	return n.g.Conv2D(x, n.quantize(w, name+".weight_step", quant.Spec{Bits: bits, Signed: true}), square(stride, k/2, 1))
}

func (n *net) norm(x *graph.Node, name string) *graph.Node {
	v := func(s string, role graph.Role, init float64) *graph.Node {
		return n.g.Param(graph.Param{Name: name + s, Shape: []int{x.Shape()[1]}, Role: role, Init: graph.Init{Kind: graph.InitConst, Value: init}})
	}
	return n.g.Apply(graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, x, v(".weight", graph.Norm, 1), v(".bias", graph.Norm, 0),
		v(".running_mean", graph.Stat, 0), v(".running_var", graph.Stat, 1))
}

func (n *net) block(x *graph.Node, name string, out, stride int) *graph.Node {
	g := n.g
	y := g.Relu(n.norm(n.conv(x, name+".conv1", out, 3, stride), name+".bn1"))
	y = n.norm(n.conv(y, name+".conv2", out, 3, 1), name+".bn2")
	if in := x.Shape()[1]; in != out {
		x = g.Slice(g.Slice(x, 2, 0, 0, 2), 3, 0, 0, 2)
		p := (out - in) / 2
		x = g.Pad(x, []int{0, p, 0, 0}, []int{0, p, 0, 0}, 0)
	}
	return g.Relu(g.Add(y, x))
}

// trainingStep returns the graph of one SGD step and a filled store.
func trainingStep(tb testing.TB, batch, size, width, blocks, bits int) (*graph.Graph, *tensor.Store) {
	n := &net{graph.New(), bits}
	g := n.g
	x := g.Input("input", tensor.F32, batch, 3, size, size)
	y := g.Relu(n.norm(n.conv(x, "conv1", width, 3, 1), "bn1"))
	for stage := range 3 {
		for b := range blocks {
			stride := 1
			if stage > 0 && b == 0 {
				stride = 2
			}
			y = n.block(y, fmt.Sprintf("layer%d.%d", stage+1, b), width<<stage, stride)
		}
	}
	y = n.quantize(g.GlobalAvgPool(y), "linear.input_step", quant.Spec{Bits: 8})
	w := g.Param(graph.Param{Name: "linear.weight", Shape: []int{10, width << 2}, Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 0.1}})
	bias := g.Param(graph.Param{Name: "linear.bias", Shape: []int{10}, Role: graph.Bias, Init: graph.Init{Kind: graph.InitConst}})
	logits := g.Add(g.Linear(y, n.quantize(w, "linear.weight_step", quant.Spec{Bits: 8, Signed: true})), bias)
	g.Output("logits", logits)
	t, err := graph.Training(g, nil)
	if err != nil {
		tb.Fatal(err)
	}
	loss := t.Mean(t.Apply(graph.CrossEntropy{}, t.OutputNode("logits"), t.Input("labels", tensor.I32, batch)))
	t.Output("loss", loss)
	var train []*graph.Node
	for _, p := range t.Params() {
		if p.Op().(graph.Param).Role != graph.Stat {
			train = append(train, p)
		}
	}
	grads, err := graph.Gradients(t, loss, train)
	if err != nil {
		tb.Fatal(err)
	}
	lr, mu, wd := t.Scalar(0.01), t.Scalar(0.9), t.Scalar(1e-4)
	for i, p := range train {
		name := p.Name()
		t.Output("grad:"+name, grads[i])
		m := t.Param(graph.Param{Name: "momentum." + name, Shape: p.Shape(), Role: graph.Stat})
		next := t.Add(t.Mul(m, mu), t.Add(grads[i], t.Mul(p, wd)))
		t.Update(m, next)
		t.Update(p, t.Sub(p, t.Mul(next, lr)))
	}
	if t.Err() != nil {
		tb.Fatal(t.Err())
	}
	store := tensor.NewStore()
	for i, p := range t.Params() {
		v := tensor.New(tensor.F32, p.Shape()...)
		switch o := p.Op().(graph.Param); o.Init.Kind {
		case graph.InitNormal:
			fill(v, uint64(i), -0.2, 0.2)
		case graph.InitConst:
			for j := range v.Float32s() {
				v.Float32s()[j] = float32(o.Init.Value)
			}
		}
		if err := store.Put(p.Name(), v); err != nil {
			tb.Fatal(err)
		}
	}
	return t, store
}

// feed fills a plan's inputs with fixed numbers.
func feed(p *Plan, seed uint64) {
	fill(p.Input("input"), seed, -1, 1)
	r := rng.New(seed, 1)
	for i := range p.Input("labels").Int32s() {
		p.Input("labels").Int32s()[i] = int32(r.Intn(10))
	}
}

func digest(s *tensor.Store) uint64 {
	h := fnv.New64a()
	for _, n := range s.Names() {
		h.Write(s.Get(n).Bytes())
	}
	return h.Sum64()
}

func TestTrainingIsBitIdenticalForAnyThreadCount(t *testing.T) {
	for _, bits := range []int{0, 4} {
		var want uint64
		for _, threads := range []int{1, 2, 3, 7} {
			g, store := trainingStep(t, 13, 16, 16, 1, bits)
			e := New(threads)
			p, err := e.Compile(g, store)
			if err != nil {
				t.Fatal(err)
			}
			feed(p, 3)
			for range 3 {
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
			}
			e.Close()
			if d := digest(store); want == 0 {
				want = d
			} else if d != want {
				t.Errorf("bits %d: %d threads give other parameters after three steps", bits, threads)
			}
		}
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	g, store := trainingStep(t, 8, 16, 16, 1, 4)
	e := New(2)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	feed(p, 1)
	if n := testing.AllocsPerRun(5, func() {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a step", n)
	}
}

func TestLossFalls(t *testing.T) {
	g, store := trainingStep(t, 16, 16, 16, 1, 4)
	e := New(2)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	feed(p, 1)
	var first, last float32
	for i := range 60 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		last = p.Output("loss").Float32s()[0]
		if i == 0 {
			first = last
		}
	}
	if !(last < first/2) {
		t.Errorf("loss went from %g to %g in 60 steps on one batch", first, last)
	}
}

func BenchmarkResNet20Step(b *testing.B) {
	for _, bits := range []int{0, 4} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("bits=%d/threads=%d", bits, threads), func(b *testing.B) {
				g, store := trainingStep(b, 128, 32, 16, 3, bits)
				e := New(threads)
				defer e.Close()
				p, err := e.Compile(g, store)
				if err != nil {
					b.Fatal(err)
				}
				feed(p, 1)
				if err := p.Run(); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					_ = p.Run()
				}
				b.ReportMetric(float64(p.MemoryBytes())/(1<<20), "MiB")
			})
		}
	}
}

func BenchmarkCompileResNet20(b *testing.B) {
	g, store := trainingStep(b, 128, 32, 16, 3, 4)
	e := New(0)
	defer e.Close()
	for b.Loop() {
		if _, err := e.Compile(g, store); err != nil {
			b.Fatal(err)
		}
	}
}
