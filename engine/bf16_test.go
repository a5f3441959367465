package engine

import (
	"math"
	"testing"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/internal/rng"
	"lowbit/tensor"
)

// A rounded plan's results are those of the plan, within the rounding of both
// operands of each layer's products, and other bits only where the row has them.
func TestRoundedPlansAreNear(t *testing.T) {
	g := graph.New()
	x := g.Input("input", tensor.F32, 5, 6, 9, 9)
	param := func(name string, shape ...int) *graph.Node {
		return g.Param(graph.Param{Name: name, Shape: shape, Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 0.3}})
	}
	conv := graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}, Groups: 1}
	h := g.Relu(g.Apply(conv, x, param("conv", 20, 6, 3, 3)))
	g.Output("conv", h)
	h = g.Linear(g.Flatten(h), param("linear", 70, 20*81))
	g.Output("linear", h)
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 3); err != nil {
		t.Fatal(err)
	}
	e := New(2)
	defer e.Close()
	var out [3]map[string][]float32
	for i := range out {
		e.FloatGradients = i == 2
		compile := e.CompileRounded
		if i == 0 {
			compile = e.CompileIn
		}
		p, err := compile(nil, g, store)
		if err != nil {
			t.Fatal(err)
		}
		r := rng.New(1, 2)
		for j := range p.Input("input").Float32s() {
			p.Input("input").Float32s()[j] = float32(2*r.Float64() - 1)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		out[i] = map[string][]float32{"conv": p.Output("conv").Float32s(), "linear": p.Output("linear").Float32s()}
	}
	for name, want := range out[0] {
		var norm, diff float64
		for i, v := range want {
			d := float64(out[1][name][i] - v)
			norm, diff = norm+float64(v)*float64(v), diff+d*d
			if out[2][name][i] != v {
				t.Fatalf("%s[%d] is %g, want %g: FloatGradients rounds nothing", name, i, out[2][name][i], v)
			}
		}
		if d := math.Sqrt(diff / norm); d > 0x1p-7 || (d > 0) != kernel.Active().BF16 {
			t.Errorf("%s is off by %g of its norm", name, d)
		}
	}
}
