package graph_test

import (
	"math"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/tensor"
)

func paramsGraph(names ...string) *graph.Graph {
	g := graph.New()
	for _, n := range names {
		g.Param(graph.Param{Name: n, Shape: []int{100, 101}, Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 0.5}})
	}
	return g
}

func initialised(t *testing.T, g *graph.Graph, seed uint64) *tensor.Store {
	t.Helper()
	s := tensor.NewStore()
	if err := graph.InitParams(g, s, seed); err != nil {
		t.Fatal(err)
	}
	return s
}

func equal(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestInitDependsOnSeedAndNameAlone(t *testing.T) {
	s := initialised(t, paramsGraph("a", "b"), 7)
	again := initialised(t, paramsGraph("c", "b"), 7)
	other := initialised(t, paramsGraph("b"), 8)
	b := s.Get("b").Float32s()
	if !equal(b, again.Get("b").Float32s()) {
		t.Error("the same seed and name give different values beside other parameters")
	}
	if equal(b, other.Get("b").Float32s()) || equal(b, s.Get("a").Float32s()) {
		t.Error("another seed or another name gives the same values")
	}
}

func TestInitHasTheMomentsOfItsKind(t *testing.T) {
	const n, value = 300_001, 0.3
	for kind, want := range map[graph.InitKind]struct{ sd, fourth, limit float64 }{
		graph.InitNormal:  {value, 3, 6.7 * value},
		graph.InitUniform: {value / math.Sqrt(3), 9.0 / 5, value},
	} {
		g := graph.New()
		g.Param(graph.Param{Name: "w", Shape: []int{n}, Init: graph.Init{Kind: kind, Value: value}})
		v := initialised(t, g, 3).Get("w").Float32s()
		var sum, sum2, sum4 float64
		for _, f := range v {
			x := float64(f)
			if math.Abs(x) > want.limit {
				t.Fatalf("%s: %g beyond %g", kind, x, want.limit)
			}
			sum, sum2, sum4 = sum+x, sum2+x*x, sum4+x*x*x*x
		}
		variance := sum2 / n
		if m := sum / n; math.Abs(m) > 6*want.sd/math.Sqrt(n) {
			t.Errorf("%s: mean %g, want 0", kind, m)
		}
		if math.Abs(math.Sqrt(variance)/want.sd-1) > 0.01 {
			t.Errorf("%s: standard deviation %g, want %g", kind, math.Sqrt(variance), want.sd)
		}
		if k := sum4 / n / variance / variance; math.Abs(k/want.fourth-1) > 0.05 {
			t.Errorf("%s: kurtosis %g, want %g", kind, k, want.fourth)
		}
	}
}

func TestInitKeepsWhatTheStoreHolds(t *testing.T) {
	g := paramsGraph("a", "b")
	s := tensor.NewStore()
	held := tensor.New(tensor.F32, 100, 101)
	held.Float32s()[5] = 42
	if err := s.Put("a", held); err != nil {
		t.Fatal(err)
	}
	if err := graph.InitParams(g, s, 1); err != nil {
		t.Fatal(err)
	}
	if v := s.Get("a").Float32s(); v[5] != 42 || v[6] != 0 {
		t.Errorf("a held parameter changed: %v", v[:8])
	}
	if s.Get("b") == nil {
		t.Error("a missing parameter was not made")
	}
}

func TestInitRefusesWrongShapeAndUnknownKind(t *testing.T) {
	s := tensor.NewStore()
	if err := s.Put("b", tensor.New(tensor.F32, 3)); err != nil {
		t.Fatal(err)
	}
	err := graph.InitParams(paramsGraph("a", "b"), s, 1)
	if err == nil || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), "[100 101]") {
		t.Errorf("error %v, want one that names b and [100 101]", err)
	}
	if s.Get("a") != nil {
		t.Error("the store changed in spite of the error")
	}
	for _, i := range []graph.Init{{Kind: "xavier"}, {Kind: graph.InitConst, Value: math.NaN()}, {}} {
		g := graph.New()
		g.Param(graph.Param{Name: "p", Shape: []int{2}, Init: i})
		if err := graph.InitParams(g, tensor.NewStore(), 1); err == nil || !strings.Contains(err.Error(), `"p"`) {
			t.Errorf("%+v: error %v, want one that names p", i, err)
		}
	}
}

func BenchmarkInitNormal(b *testing.B) {
	g := graph.New()
	g.Param(graph.Param{Name: "w", Shape: []int{1 << 20}, Init: graph.Init{Kind: graph.InitNormal, Value: 1}})
	for b.Loop() {
		if err := graph.InitParams(g, tensor.NewStore(), 1); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(4 << 20)
}
