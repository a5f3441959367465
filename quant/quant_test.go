package quant

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"lowbit/tensor"
)

// newRand returns a seeded generator and prints the seed if the test fails.
func newRand(t testing.TB, seed uint64) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

func normals(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// The table of LSQ section 2 for step 0.8, worked out by hand from eq. 1, 3, 5.
func TestPaperVectors(t *testing.T) {
	v := []float32{-3, -1.6, -1.0, -0.5, 0, 0.3, 0.5, 0.8, 1.1, 2.9}
	for _, c := range []struct {
		spec   Spec
		code   []int32
		ds, dv []float32
	}{
		{
			Spec{Bits: 2, Signed: true}, []int32{-2, -2, -1, -1, 0, 0, 1, 1, 1, 1},
			[]float32{-2, -2, .25, -.375, 0, -.375, .375, 1, 1, 1},
			[]float32{0, 0, 1, 1, 1, 1, 1, 0, 0, 0},
		},
		{
			Spec{Bits: 2}, []int32{0, 0, 0, 0, 0, 0, 1, 1, 1, 3},
			[]float32{0, 0, 0, 0, 0, -.375, .375, 0, -.375, 3},
			[]float32{0, 0, 0, 0, 0, 1, 1, 1, 1, 0},
		},
	} {
		for i, x := range v {
			if got := c.spec.Code(x, 0.8); got != c.code[i] {
				t.Errorf("%v code(%g) = %d, want %d", c.spec, x, got, c.code[i])
			}
			// 0.8 is no float32: z is off by at most 2^-23 of its value.
			if got := c.spec.GradStep(x, 0.8); math.Abs(float64(got-c.ds[i])) > 3e-7 {
				t.Errorf("%v dstep(%g) = %g, want %g", c.spec, x, got, c.ds[i])
			}
			if got := c.spec.GradInput(x, 0.8); got != c.dv[i] {
				t.Errorf("%v dv(%g) = %g, want %g", c.spec, x, got, c.dv[i])
			}
		}
	}
}

func TestQuantizeRoundsHalfToEven(t *testing.T) {
	s := Spec{Bits: 4, Signed: true}
	for x, want := range map[float32]int32{0.5: 0, 1.5: 2, 2.5: 2, -0.5: 0, -1.5: -2, -2.5: -2, 6.5: 6, 7.5: 7} {
		if got := s.Code(x, 1); got != want {
			t.Errorf("code(%g) = %d, want %d", x, got, want)
		}
	}
}

func allSpecs() []Spec {
	var s []Spec
	for b := 1; b <= 8; b++ {
		s = append(s, Spec{Bits: b})
		if b > 1 {
			s = append(s, Spec{Bits: b, Signed: true}, Spec{Bits: b, Signed: true, Granularity: PerChannel, Axis: 1})
		}
	}
	return append(s, Spec{Bits: 16, Signed: true}, Spec{Bits: 4, Signed: true, Granularity: PerGroup, Group: 4}, Spec{Bits: 8, Granularity: PerToken})
}

func TestGridLaws(t *testing.T) {
	r := newRand(t, 3)
	shape := tensor.Shape{6, 5, 8}
	for _, s := range allSpecs() {
		v := normals(r, shape.Size())
		steps, err := Steps(v, shape, s, StepLSQ)
		if err != nil {
			t.Fatal(err)
		}
		q, q2 := make([]float32, len(v)), make([]float32, len(v))
		codes := make([]int32, len(v))
		if err := errors.Join(FakeQuant(q, v, steps, shape, s), FakeQuant(q2, q, steps, shape, s), Quantize(codes, v, steps, shape, s)); err != nil {
			t.Fatal(err)
		}
		_, run, _ := s.Layout(shape)
		for i := range v {
			st := steps[i/run%len(steps)]
			if codes[i] < -int32(s.Qn()) || codes[i] > int32(s.Qp()) {
				t.Fatalf("%v: code %d of %g/%g", s, codes[i], v[i], st)
			}
			if q2[i] != q[i] {
				t.Fatalf("%v: Q(Q(x)) = %g, Q(x) = %g", s, q2[i], q[i])
			}
			z := v[i] / st
			if z > -float32(s.Qn()) && z < float32(s.Qp()) && math.Abs(float64(v[i]-q[i])) > 0.5000003*float64(st)+1e-6 {
				t.Fatalf("%v: |%g - %g| above half of %g", s, v[i], q[i], st)
			}
		}
		if err := Dequantize(q2, codes, steps, shape, s); err != nil {
			t.Fatal(err)
		}
		for i := range q {
			if q[i] != q2[i] {
				t.Fatalf("%v: dequantized %g, fake-quantized %g", s, q2[i], q[i])
			}
		}
	}
}

// Inside the clip range FakeQuant minus the straight-through part is linear in
// the step for a fixed code, so differences of it give the code, and outside
// they give the whole gradient.
func TestStepGradientOfClippedValuesByDifferences(t *testing.T) {
	s := Spec{Bits: 3, Signed: true}
	for _, v := range []float32{-9, 7} {
		const h = 1.0 / 64
		d := (float32(s.Code(v, 1+h))*(1+h) - float32(s.Code(v, 1-h))*(1-h)) / (2 * h)
		if d != s.GradStep(v, 1) {
			t.Errorf("difference %g, gradient %g at %g", d, s.GradStep(v, 1), v)
		}
	}
}

func TestLayout(t *testing.T) {
	shape := tensor.Shape{4, 3, 2, 8}
	for _, c := range []struct {
		s          Spec
		count, run int
	}{
		{Spec{Bits: 4}, 1, 192},
		{Spec{Bits: 4, Granularity: PerChannel}, 4, 48},
		{Spec{Bits: 4, Granularity: PerChannel, Axis: 1}, 3, 16},
		{Spec{Bits: 4, Granularity: PerGroup, Group: 4}, 48, 4},
		{Spec{Bits: 4, Granularity: PerToken}, 24, 8},
	} {
		n, run, err := c.s.Layout(shape)
		if err != nil || n != c.count || run != c.run {
			t.Errorf("%v: %d steps of runs %d (%v), want %d, %d", c.s, n, run, err, c.count, c.run)
		}
	}
	for _, s := range []Spec{{Bits: 4, Granularity: PerChannel, Axis: 4}, {Bits: 4, Granularity: PerGroup, Group: 3}} {
		if _, _, err := s.Layout(shape); !errors.Is(err, tensor.ErrShape) {
			t.Errorf("%v: %v, want ErrShape", s, err)
		}
	}
}

func TestWrongLengthsAreErrors(t *testing.T) {
	s, shape := Spec{Bits: 4}, tensor.Shape{4}
	v := make([]float32, 4)
	for name, err := range map[string]error{
		"short":     Quantize(make([]int32, 4), v[:3], []float32{1}, shape, s),
		"steps":     Quantize(make([]int32, 4), v, []float32{1, 1}, shape, s),
		"gradient":  Gradients(v, nil, v, v, []float32{1}, shape, s, 1),
		"dst":       FakeQuant(v[:1], v, []float32{1}, shape, s),
		"no values": func() error { _, err := Steps(nil, shape, s, StepMax); return err }(),
	} {
		if !errors.Is(err, tensor.ErrShape) {
			t.Errorf("%s: %v, want ErrShape", name, err)
		}
	}
}

func TestEntropy(t *testing.T) {
	if h := Entropy([]int64{5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5}); h != 4 {
		t.Errorf("16 equal codes: %g bits, want 4", h)
	}
	if h := Entropy([]int64{0, 7, 0, 0}); h != 0 {
		t.Errorf("one code: %g bits, want 0", h)
	}
	if h := Entropy([]int64{1, 1, 2, 0}); math.Abs(h-1.5) > 1e-15 {
		t.Errorf("1/4, 1/4, 1/2: %g bits, want 1.5", h)
	}
	if h := Entropy(nil); h != 0 {
		t.Errorf("nothing: %g", h)
	}
	r := newRand(t, 5)
	for range 50 {
		v := normals(r, 300)
		s := Spec{Bits: 2 + r.IntN(7), Signed: true}
		c, err := CodeCounts(v, []float32{float32(r.ExpFloat64()) + .001}, tensor.Shape{300}, s)
		if err != nil {
			t.Fatal(err)
		}
		if h := Entropy(c); h < 0 || h > float64(s.Bits) {
			t.Errorf("%v: %g bits", s, h)
		}
	}
}

func TestClipRateAndCosine(t *testing.T) {
	r, err := ClipRate([]float32{-2, -1, 0, 1, 2, 3, 3.01, 4}, []float32{1}, tensor.Shape{8}, Spec{Bits: 2})
	if err != nil || r != 0.5 {
		t.Errorf("clip rate %g (%v), want 4 of 8", r, err)
	}
	if c := Cosine([]float32{1, 2}, []float32{2, 4}); math.Abs(c-1) > 1e-15 {
		t.Errorf("parallel: %g", c)
	}
	if c := Cosine([]float32{1, 0}, []float32{0, 3}); c != 0 {
		t.Errorf("orthogonal: %g", c)
	}
}
