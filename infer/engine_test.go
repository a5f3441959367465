package infer

import (
	"math"
	"math/rand/v2"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
)

// The float engine rounds each batch norm on its own, so that a code beside a
// tie may be its neighbour, and what follows moves by a step. Over networks of
// 8 bits nearly all results agree closely, and all of them roughly.
func TestResultsAreThoseOfTheFloatGraph(t *testing.T) {
	var close, all int
	e := engine.New(1)
	defer e.Close()
	for seed := uint64(1000); seed < 1060; seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		residual := r.IntN(2) == 0
		g := quantizeGraph(t, randomNet(r), true, residual, func(string) (int, int) { return 8, 8 })
		store := randomStore(t, g, seed)
		m, err := Lower(g, store)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Compile(g, store)
		if err != nil {
			t.Fatal(err)
		}
		in := randomInput(m.InputShape(), seed)
		copy(p.Input("input").Float32s(), in)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		want := p.Output("logits").Float32s()
		got := make([]float32, len(want))
		if err := m.NewSession(Options{Threads: 1}).Run(in, got); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			d := math.Abs(float64(got[i]-want[i])) / (1 + math.Abs(float64(want[i])))
			if d > 0.2 {
				t.Errorf("seed %d: result %d: %g, the float graph gives %g", seed, i, got[i], want[i])
			}
			all++
			if d < 0.01 {
				close++
			}
		}
	}
	t.Logf("%d of %d results within 1 %%", close, all)
	if close < all*9/10 {
		t.Errorf("%d of %d results within 1 %% of the float graph's, want 9 of 10", close, all)
	}
}

// What the random networks compute must not be trivial, or equality says
// little.
func TestRandomNetworksUseTheirGrids(t *testing.T) {
	used, grids := 0, 0
	for seed := uint64(1); seed <= 40; seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		g := quantizeGraph(t, randomNet(r), true, true, func(string) (int, int) { return 4, 4 })
		store := randomStore(t, g, seed)
		ref, err := NewReference(g, store)
		if err != nil {
			t.Fatal(err)
		}
		in := ref.rules.g.Inputs()[0]
		if _, err := ref.Run(randomInput(in.Shape(), seed)); err != nil {
			t.Fatal(err)
		}
		for d, v := range ref.done {
			if _, ok := d.node.Op().(graph.FakeQuant); ok || !d.to.codes || len(v.codes) < 100 {
				continue
			}
			seen := map[int32]bool{}
			for _, c := range v.codes {
				seen[c] = true
			}
			grids++
			if len(seen) > int(d.to.hi-d.to.lo)/2 {
				used++
			}
		}
	}
	if used < grids*2/3 {
		t.Errorf("%d of %d values use half of their codes", used, grids)
	}
	t.Logf("%d of %d values use half of their codes", used, grids)
}
