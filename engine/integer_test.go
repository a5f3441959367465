package engine

import (
	"fmt"
	"math"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// quantizedConv builds one convolution between two quantizers.
func quantizedConv(t *testing.T, x, w quant.Spec, o graph.Conv2D, shape []int, weights []int) (*graph.Graph, *tensor.Store) {
	g := graph.New()
	in := g.Input("input", tensor.F32, shape...)
	wn := g.Param(graph.Param{Name: "w", Shape: weights, Role: graph.Weight})
	sx := g.Param(graph.Param{Name: "sx", Shape: []int{1}, Role: graph.Step})
	n := 1
	if w.Granularity == quant.PerChannel {
		n = weights[0]
	}
	sw := g.Param(graph.Param{Name: "sw", Shape: []int{n}, Role: graph.Step})
	xq := g.FakeQuant(in, sx, graph.FakeQuant{Spec: x, StepGrad: graph.StepLSQ})
	wq := g.FakeQuant(wn, sw, graph.FakeQuant{Spec: w, StepGrad: graph.StepLSQ})
	g.Output("y", g.Conv2D(xq, wq, o))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	store := tensor.NewStore()
	wt := tensor.New(tensor.F32, weights...)
	fill(wt, 5, -1, 1)
	st := tensor.New(tensor.F32, n)
	fill(st, 6, 0.8/float32(w.Qp()+1), 1.2/float32(w.Qp()+1))
	_ = store.Put("w", wt)
	_ = store.Put("sw", st)
	_ = store.Put("sx", tensor.FromFloat32s([]float32{1.1 / float32(x.Qp()+1)}, 1))
	return g, store
}

func TestIntegerConvolutionEqualsTheRoundedFloats(t *testing.T) {
	s8, u4 := quant.Spec{Bits: 8, Signed: true}, quant.Spec{Bits: 4}
	channel := quant.Spec{Bits: 3, Signed: true, Granularity: quant.PerChannel}
	for i, c := range []struct {
		x, w    quant.Spec
		o       graph.Conv2D
		shape   []int
		weights []int
	}{
		{s8, s8, square(1, 1, 1), []int{3, 3, 9, 8}, []int{16, 3, 3, 3}},
		{u4, channel, square(1, 1, 1), []int{5, 16, 8, 8}, []int{32, 16, 3, 3}},
		{u4, s8, square(2, 1, 1), []int{2, 16, 9, 9}, []int{20, 16, 3, 3}},
		{quant.Spec{Bits: 2, Signed: true}, channel, square(1, 1, 16), []int{2, 16, 7, 7}, []int{16, 1, 3, 3}},
		{quant.Spec{Bits: 8}, quant.Spec{Bits: 2, Signed: true}, square(1, 0, 1), []int{2, 64, 5, 5}, []int{24, 64, 1, 1}},
	} {
		var got [2][]float32
		for f := range 2 {
			g, store := quantizedConv(t, c.x, c.w, c.o, c.shape, c.weights)
			e := New(2)
			e.FloatProducts = f == 1
			p, err := e.Compile(g, store)
			if err != nil {
				t.Fatal(err)
			}
			fill(p.Input("input"), 9, -1.5, 1.5)
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			got[f] = append([]float32{}, p.Output("y").Float32s()...)
			e.Close()
		}
		// Each float32 sum of k products of values up to about 1 is off by
		// at most k/2 roundings of the largest partial sum, about k itself.
		k := float64(c.weights[1] * c.weights[2] * c.weights[3])
		bound := 1e-7 * k * k
		for j := range got[0] {
			if d := math.Abs(float64(got[0][j] - got[1][j])); d > bound {
				t.Fatalf("case %d: [%d] %g from codes, %g from floats", i, j, got[0][j], got[1][j])
			}
		}
	}
}

func BenchmarkForwardConvolutions(b *testing.B) {
	for _, float := range []bool{false, true} {
		b.Run(fmt.Sprintf("float=%v", float), func(b *testing.B) {
			g, store := trainingStep(b, 128, 32, 16, 3, 4)
			e := New(1)
			defer e.Close()
			e.FloatProducts = float
			p, err := e.Compile(g, store)
			if err != nil {
				b.Fatal(err)
			}
			feed(p, 1)
			for b.Loop() {
				_ = p.Run()
			}
		})
	}
}
