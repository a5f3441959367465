package engine

import (
	"math"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/tensor"
)

// spikeValues are borders of the three ops and random numbers, in more than one
// block.
func spikeValues(n int) []float32 {
	v := []float32{0, float32(math.Copysign(0, -1)), 1, -1, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32,
		0.4, -0.4, 0.6, -0.6, 0.5, -0.5, float32(math.Nextafter32(0.6, 1)), float32(math.Nextafter32(0.4, 0)), 3, -3}
	r := rng.New(5)
	for len(v) < n {
		v = append(v, 4*r.Float32()-2)
	}
	return v
}

func TestSpikeFollowsStepAndTriangle(t *testing.T) {
	const n = 5000
	g := graph.New()
	x := g.Param(graph.Param{Name: "r", Shape: []int{n}, Role: graph.Weight})
	dy := g.FixedInput("dy", tensor.F32, n)
	y := g.Spike(x)
	g.Output("y", y)
	g.Output("loss", g.Sum(g.Mul(y, dy)))
	grads, err := graph.Gradients(g, g.OutputNode("loss"), []*graph.Node{x})
	if err != nil {
		t.Fatal(err)
	}
	g.Output("dx", grads[0])
	store := tensor.NewStore()
	v := spikeValues(n)
	if err := store.Put("r", tensor.FromFloat32s(v, n)); err != nil {
		t.Fatal(err)
	}
	e := New(2)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	fill(p.Input("dy"), 9, -1, 1)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	d := p.Input("dy").Float32s()
	for i, r := range v {
		want := float32(0)
		if r >= 0 {
			want = 1
		}
		if got := p.Output("y").Float32s()[i]; got != want {
			t.Fatalf("spike(%g) = %g, want %g", r, got, want)
		}
		slope := float32(max(0, 1-math.Abs(float64(r))))
		if got := p.Output("dx").Float32s()[i]; math.Abs(float64(got-d[i]*slope)) > 1e-7 {
			t.Fatalf("gradient at %g = %g, want %g", r, got, d[i]*slope)
		}
	}
}

// ternaryOf is the definition of graph.Ternary.
func ternaryOf(v, last, h float64) float64 {
	switch a := math.Abs(v); {
	case a > 0.5+h:
		return math.Copysign(1, v)
	case a < 0.5-h:
		return 0
	case last*v < 0:
		return 0
	}
	return last
}

func TestTernaryKeepsItsValueInsideTheBand(t *testing.T) {
	const n, h = 4099, 0.1
	g := graph.New()
	v := g.Param(graph.Param{Name: "v", Shape: []int{n}, Role: graph.Weight})
	last := g.Param(graph.Param{Name: "last", Shape: []int{n}, Role: graph.Stat})
	w := g.Apply(graph.Ternary{Hysteresis: h}, v, last)
	g.Output("w", w)
	again, err := graph.TrackTernary(g)
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	state, shadow := tensor.New(tensor.F32, n), tensor.New(tensor.F32, n)
	for name, x := range map[string]*tensor.Tensor{"v": shadow, "last": state} {
		if err := store.Put(name, x); err != nil {
			t.Fatal(err)
		}
	}
	e := New(1)
	defer e.Close()
	keep, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	track, err := e.Compile(again, store)
	if err != nil {
		t.Fatal(err)
	}
	r := rng.New(3)
	want := make([]float64, n)
	kept := 0
	for step := range 30 {
		for i := range n {
			shadow.Float32s()[i] = max(-1, min(1, shadow.Float32s()[i]+0.4*(r.Float32()-0.5)))
			x := float64(shadow.Float32s()[i])
			if a := math.Abs(x); a > 0.4 && a < 0.6 && want[i] != 0 {
				kept++
			}
			want[i] = ternaryOf(x, want[i], h)
		}
		// A plan that does not track gives the same before and after one that does.
		for _, p := range []*Plan{keep, keep, track, keep, track} {
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			for i, got := range p.Output("w").Float32s() {
				if float64(got) != want[i] {
					t.Fatalf("step %d: ternary(%g) = %g, want %g", step, shadow.Float32s()[i], got, want[i])
				}
			}
		}
	}
	if kept < n {
		t.Errorf("%d values in the band, want many", kept)
	}
}
