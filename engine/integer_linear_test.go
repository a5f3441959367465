package engine

import (
	"math"
	"slices"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// A linear layer between quantizers, on codes and on rounded floats: results and,
// with a reader behind each row's chunk, gradients.
func TestIntegerLinearEqualsTheRoundedFloats(t *testing.T) {
	s8, u4 := quant.Spec{Bits: 8, Signed: true}, quant.Spec{Bits: 4}
	token := quant.Spec{Bits: 8, Signed: true, Granularity: quant.PerToken}
	channel := quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel}
	for i, c := range []struct {
		x, w  quant.Spec
		shape []int
		cols  int
	}{
		{s8, s8, []int{40, 32}, 24},
		{u4, channel, []int{300, 65}, 700},
		{token, channel, []int{210, 96}, 1100},
		{token, s8, []int{3, 25, 31}, 40},
		{token, channel, []int{1, 40, 32}, 33},
		{quant.Spec{Bits: 8, Zero: 90}, channel, []int{64, 16}, 5},
	} {
		var got, grad [2][]float32
		for f := range 2 {
			e := New(1 + i%2)
			e.FloatProducts, e.FloatGradients = f == 1, true
			got[f], grad[f] = quantizedLinear(t, e, c.x, c.w, c.shape, c.cols)
			e.Close()
		}
		k := float64(c.shape[len(c.shape)-1])
		for j := range got[0] {
			if d := math.Abs(float64(got[0][j] - got[1][j])); d > 1e-7*k*k {
				t.Fatalf("case %d: [%d] %g from codes, %g from floats", i, j, got[0][j], got[1][j])
			}
		}
		most := 0.0
		for _, v := range grad[1] {
			most = max(most, math.Abs(float64(v)))
		}
		for j := range grad[0] {
			if d := math.Abs(float64(grad[0][j] - grad[1][j])); !(d <= 1e-6*most) {
				t.Fatalf("case %d: gradient %d is %g from codes, %g from floats", i, j, grad[0][j], grad[1][j])
			}
		}
	}
}

// A frozen plan gives a plan's results for one input after the other, from codes that
// its first run made.
func TestFrozenPlansKeepTheirCodes(t *testing.T) {
	const tokens, inner, hidden = 40, 48, 600
	g := graph.New()
	store := tensor.NewStore()
	layer := func(x *graph.Node, name string, cols, inner int) *graph.Node {
		w := g.Param(graph.Param{Name: name, Shape: []int{cols, inner}, Role: graph.Weight})
		step := g.Param(graph.Param{Name: name + "_step", Shape: []int{cols}, Role: graph.Step})
		_ = store.Put(name, tensor.FromFloat32s(ramp(cols*inner, 0.7), cols, inner))
		_ = store.Put(name+"_step", tensor.FromFloat32s(filled(cols, 0.11), cols))
		xq := g.DynamicQuant(x, quant.Spec{Bits: 8, Signed: true, Granularity: quant.PerToken})
		return g.Linear(xq, g.FakeQuant(w, step, graph.FakeQuant{Spec: quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel}, StepGrad: graph.StepLSQ}))
	}
	h := g.Relu(layer(g.Input("input", tensor.F32, tokens, inner), "a", hidden, inner))
	g.Output("y", layer(h, "b", inner, hidden))
	e := New(2)
	defer e.Close()
	plain, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := e.CompileFrozen(g, store)
	if err != nil {
		t.Fatal(err)
	}
	run := func(p *Plan, seed float64) []float32 {
		copy(p.Input("input").Float32s(), ramp(tokens*inner, seed))
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(p.Output("y").Float32s())
	}
	for _, seed := range []float64{1.3, 2.9, 0.4} {
		if !slices.Equal(run(plain, seed), run(frozen, seed)) {
			t.Fatalf("input %g: a frozen plan differs", seed)
		}
	}
	before := run(frozen, 1.3)
	store.Get("a").Float32s()[0] += 1
	if slices.Equal(run(plain, 1.3), before) {
		t.Error("a changed weight changes nothing")
	}
	if !slices.Equal(run(frozen, 1.3), before) {
		t.Error("a frozen plan made its codes again")
	}
	step := g.Param(graph.Param{Name: "a_step", Shape: []int{hidden}, Role: graph.Step})
	g.Update(step, g.Mul(step, step))
	if _, err := e.CompileFrozen(g, store); err == nil {
		t.Error("a frozen plan of a graph that changes its parameters was accepted")
	}
}

// ramp is n numbers between -1 and 1; filled n times v.
func ramp(n int, seed float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.Sin(seed * float64(i+1)))
	}
	return out
}

func filled(n int, v float32) []float32 { return slices.Repeat([]float32{v}, n) }

// quantizedLinear runs one layer between quantizers and returns its result and the
// gradient of the sum of squares to the weights.
func quantizedLinear(t *testing.T, e *Engine, x, w quant.Spec, shape []int, cols int) (y, dw []float32) {
	t.Helper()
	g := graph.New()
	inner := shape[len(shape)-1]
	in := g.Input("input", tensor.F32, shape...)
	wn := g.Param(graph.Param{Name: "w", Shape: []int{cols, inner}, Role: graph.Weight})
	steps := 1
	if w.Granularity == quant.PerChannel {
		steps = cols
	}
	sw := g.Param(graph.Param{Name: "sw", Shape: []int{steps}, Role: graph.Step})
	store := tensor.NewStore()
	var xq *graph.Node
	if x.Granularity == quant.PerToken {
		xq = g.DynamicQuant(in, x)
	} else {
		sx := g.Param(graph.Param{Name: "sx", Shape: []int{1}, Role: graph.Step})
		xq = g.FakeQuant(in, sx, graph.FakeQuant{Spec: x, StepGrad: graph.StepLSQ})
		_ = store.Put("sx", tensor.FromFloat32s([]float32{1.1 / float32(x.Qp()+1)}, 1))
	}
	out := g.Linear(xq, g.FakeQuant(wn, sw, graph.FakeQuant{Spec: w, StepGrad: graph.StepLSQ}))
	g.Output("y", out)
	loss := g.Sum(g.Mul(out, out))
	grads, err := graph.Gradients(g, loss, []*graph.Node{wn})
	if err != nil {
		t.Fatal(err)
	}
	g.Output("dw", grads[0])
	wt, st := tensor.New(tensor.F32, cols, inner), tensor.New(tensor.F32, steps)
	fill(wt, 5, -1, 1)
	fill(st, 6, 0.8/float32(w.Qp()+1), 1.2/float32(w.Qp()+1))
	_ = store.Put("w", wt)
	_ = store.Put("sw", st)
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	fill(p.Input("input"), 9, -1.5, 1.5)
	for range 2 { // the second run finds what the first left in memory
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
	}
	return append([]float32{}, p.Output("y").Float32s()...), append([]float32{}, p.Output("dw").Float32s()...)
}

// A training step's linear layer forward: 1024 tokens of SmolLM2's widest.
func BenchmarkForwardLinear(b *testing.B) {
	for name, float := range map[string]bool{"codes": false, "floats": true} {
		b.Run(name, func(b *testing.B) {
			e := New(1)
			defer e.Close()
			e.FloatProducts = float
			g, store := graph.New(), tensor.NewStore()
			x := g.Input("input", tensor.F32, 1024, 576)
			w := g.Param(graph.Param{Name: "w", Shape: []int{1536, 576}, Role: graph.Weight})
			s := g.Param(graph.Param{Name: "s", Shape: []int{1536}, Role: graph.Step})
			wq := g.FakeQuant(w, s, graph.FakeQuant{Spec: quant.Spec{Bits: 4, Signed: true, Granularity: quant.PerChannel}, StepGrad: graph.StepLSQ})
			g.Output("y", g.Linear(g.DynamicQuant(x, quant.Spec{Bits: 8, Signed: true, Granularity: quant.PerToken}), wq))
			wt, st := tensor.New(tensor.F32, 1536, 576), tensor.New(tensor.F32, 1536)
			fill(wt, 5, -1, 1)
			fill(st, 6, 0.1, 0.2)
			_ = store.Put("w", wt)
			_ = store.Put("s", st)
			p, err := e.Compile(g, store)
			if err != nil {
				b.Fatal(err)
			}
			fill(p.Input("input"), 9, -1.5, 1.5)
			for b.Loop() {
				if err := p.Run(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(2*1024*576*1536*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
