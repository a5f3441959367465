package engine

import (
	"fmt"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/tensor"
)

// Every way that products over tokens are split gives the exact sums of small
// whole numbers.
func TestLinearLayersOverTokensAreExactInEverySplit(t *testing.T) {
	for _, s := range [][3]int{
		{1, 300, 700},    // weights as they lie, several tasks
		{16, 70, 1030},   // as many rows as that takes
		{17, 300, 1100},  // packed in three blocks
		{1300, 100, 700}, // several blocks of tokens and tiles of the weight gradient
		{200, 600, 1030},
	} {
		t.Run(fmt.Sprint(s), func(t *testing.T) { checkLinear(t, s[0], s[1], s[2]) })
	}
}

func checkLinear(t *testing.T, m, in, out int) {
	g, store := graph.New(), tensor.NewStore()
	x, dy := g.Input("x", tensor.F32, m, in), g.Input("dy", tensor.F32, m, out)
	w := g.Param(graph.Param{Name: "w", Shape: []int{out, in}})
	_ = store.Put("w", tensor.New(tensor.F32, out, in))
	g.Output("y", g.Linear(x, w))
	g.Output("dx", g.MatMul(dy, w))
	g.Output("dw", g.Apply(graph.MatMul{TransA: true}, dy, x))
	e := New(3)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	a, d, b := p.Input("x").Float32s(), p.Input("dy").Float32s(), store.Get("w").Float32s()
	r := rng.New(5)
	for _, v := range [][]float32{a, d, b} {
		for i := range v {
			v[i] = float32(int(9*r.Float32()) - 4)
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	at := func(name string, i, j, cols int) float32 { return p.Output(name).Float32s()[i*cols+j] }
	for range 3000 { // places at random, and the last of each
		i, j, k := int(float32(m)*r.Float32()), int(float32(in)*r.Float32()), int(float32(out)*r.Float32())
		if r.Float32() < 0.1 {
			i, j, k = m-1, in-1, out-1
		}
		var y, dx, dw float32
		for q := range in {
			y += a[i*in+q] * b[k*in+q]
		}
		for q := range out {
			dx += d[i*out+q] * b[q*in+j]
		}
		for q := range m {
			dw += d[q*out+k] * a[q*in+j]
		}
		if y != at("y", i, k, out) || dx != at("dx", i, j, in) || dw != at("dw", k, j, in) {
			t.Fatalf("row %d, in %d, out %d: %g %g %g, want %g %g %g", i, j, k, at("y", i, k, out), at("dx", i, j, in), at("dw", k, j, in), y, dx, dw)
		}
	}
}
