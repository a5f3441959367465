package silq

import (
	"math"
	"math/rand/v2"
	"testing"
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
	if math.Abs(got.Input-7.5/64) > 0.05 || math.Abs(got.Change-0.01) > 0.001 {
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
