package silq

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/tensor"
)

// random fills a matrix.
func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// turned rotates two columns of a matrix [out, in] by an angle.
func turned(v []float32, in, i, j int, angle float64) []float32 {
	out := append([]float32(nil), v...)
	c, s := math.Cos(angle), math.Sin(angle)
	for k := 0; k < len(v); k += in {
		x, y := float64(v[k+i]), float64(v[k+j])
		out[k+i], out[k+j] = float32(c*x-s*y), float32(s*x+c*y)
	}
	return out
}

func TestProcrustesFindsARotation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{12, 5}, {5, 12}, {8, 8}} {
		out, in := shape[0], shape[1]
		before := random(r, out*in)
		got, err := Procrustes(before, turned(before, in, 1, 3, 0.4), out, in)
		if err != nil {
			t.Fatal(err)
		}
		if got.Input < 0.999 || got.Change <= 0 {
			t.Errorf("%v: a rotation of inputs: %+v", shape, got)
		}
		if out > in && got.Output > 0.9 { // no rotation of outputs does it
			t.Errorf("%v: %+v", shape, got)
		}
	}
}

// The least distance is no larger than that of any rotation tried, and it is
// reached by the best of two dimensions, found by search.
func TestProcrustesIsTheLeastDistance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	before, after := random(r, 14), random(r, 14)
	got, err := Procrustes(before, after, 7, 2)
	if err != nil {
		t.Fatal(err)
	}
	distance := func(a []float32) (d float64) {
		for i, v := range a {
			d += math.Pow(float64(after[i]-v), 2)
		}
		return d
	}
	mirrored := append([]float32(nil), before...)
	for i := 0; i < len(mirrored); i += 2 {
		mirrored[i] = -mirrored[i]
	}
	best := math.Inf(1)
	for k := range 20000 {
		angle := 2 * math.Pi * float64(k) / 20000
		best = min(best, distance(turned(before, 2, 0, 1, angle)), distance(turned(mirrored, 2, 0, 1, angle)))
	}
	if want := 1 - best/distance(before); math.Abs(got.Input-want) > 1e-5 {
		t.Errorf("share %g, by search %g", got.Input, want)
	}
}

// A change at random is hardly a rotation; none is no change.
func TestProcrustesOfNoiseAndNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const out, in = 64, 16
	before, noise := random(r, out*in), random(r, out*in)
	after := append([]float32(nil), before...)
	for i, v := range noise {
		after[i] += 0.01 * v
	}
	got, err := Procrustes(before, after, out, in)
	if err != nil {
		t.Fatal(err)
	}
	// A rotation of n inputs has n(n-1)/2 of the n*out directions: .117 here.
	if math.Abs(got.InputChance-7.5/64) > 1e-12 || math.Abs(got.Change-0.01) > 0.001 {
		t.Errorf("%+v", got)
	}
	// What is by chance is what is measured, of inputs and outputs: the outputs are
	// more than the inputs, so that most rotations of them leave the rows alone.
	if math.Abs(got.Input-got.InputChance) > 0.03 || math.Abs(got.Output-got.OutputChance) > 0.03 {
		t.Errorf("%+v", got)
	}
	if same, err := Procrustes(before, before, out, in); err != nil || same != (Rotation{}) {
		t.Errorf("%+v, %v", same, err)
	}
	if _, err := Procrustes(before, noise[1:], out, in); err == nil {
		t.Error("no error for matrices of two sizes")
	}
	noise[3] = float32(math.NaN())
	if _, err := Procrustes(before, noise, out, in); err == nil {
		t.Error("no error for NaN")
	}
}

// layersOf is a decoder of two linear layers of one kind and one of another.
func layersOf(t *testing.T) (*graph.Graph, *tensor.Store) {
	t.Helper()
	g := graph.New()
	x := g.Input("x", tensor.F32, 4, 8)
	for _, name := range []string{"layers.0.up", "layers.1.up", "layers.1.down"} {
		w := g.Param(graph.Param{Name: name + ".weight", Shape: []int{8, 8}, Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 1}})
		x = g.Linear(x, w).Named(name)
	}
	g.Output("y", x)
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
	s := tensor.NewStore()
	if err := graph.InitParams(g, s, 1); err != nil {
		t.Fatal(err)
	}
	return g, s
}

func TestRotationsOfKinds(t *testing.T) {
	g, before := layersOf(t)
	after := before.Clone()
	for name, angle := range map[string]float64{"layers.0.up": 0.2, "layers.1.up": 0.4} {
		v := after.Get(name + ".weight").Float32s()
		copy(v, turned(v, 8, 0, 5, angle))
	}
	var calls int
	all, err := Rotations(context.Background(), g, before, after, func(done, of int) { calls = done })
	if err != nil || len(all) != 3 || calls != 3 {
		t.Fatalf("%v, %v, %d calls", all, err, calls)
	}
	kinds := Kinds([]string{"layers.0.up", "layers.1.up", "layers.1.down", "other"}, all)
	if len(kinds) != 1 || kinds[0].Kind != "up" || kinds[0].Layers != 2 || kinds[0].Input < 0.999 {
		t.Fatalf("%+v", kinds)
	}
	if want := (all["layers.0.up"].Change + all["layers.1.up"].Change) / 2; math.Abs(kinds[0].Change-want) > 1e-12 {
		t.Errorf("change %g, want the mean %g", kinds[0].Change, want)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Rotations(ctx, g, before, after, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of an ended context", err)
	}
	after.Delete("layers.1.down.weight")
	if _, err := Rotations(context.Background(), g, before, after, nil); err == nil || !strings.Contains(err.Error(), "layers.1.down") {
		t.Errorf("error %v without a weight", err)
	}
}
