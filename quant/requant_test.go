package quant

import (
	"math"
	"testing"
)

func TestBatchNormAffine(t *testing.T) {
	a, err := BatchNormAffine([]float32{2, -1}, []float32{1, 0.5}, []float32{3, -4}, []float32{4, 0.25}, 0)
	if err != nil {
		t.Fatal(err)
	}
	// 2*(x-3)/2+1 = x-2; -(x+4)/0.5+0.5 = -2x-7.5
	if a[0] != (Affine{1, -2}) || a[1] != (Affine{-2, -7.5}) {
		t.Errorf("got %v", a)
	}
	if got := (Affine{2, 1}).Then(Affine{3, -1}); got != (Affine{6, 2}) {
		t.Errorf("composition %v", got)
	}
	if _, err := BatchNormAffine([]float32{1}, []float32{0}, []float32{0}, []float32{-1}, 1e-5); err == nil {
		t.Error("negative variance accepted")
	}
	if _, err := BatchNormAffine([]float32{1}, nil, []float32{0}, []float32{1}, 1e-5); err == nil {
		t.Error("missing beta accepted")
	}
}

// The integer form must give the code that float64 arithmetic gives, but where
// the value is close to a tie: the bias is rounded to half a unit of acc, M and
// the product to 24 bits.
func TestRequantAgreesWithFloat64(t *testing.T) {
	r := newRand(t, 23)
	near := 0
	const trials = 20000
	for range trials {
		const accMax = 1 << 20
		post := Affine{r.NormFloat64(), r.NormFloat64() * 4}
		sx, sw := float32(r.ExpFloat64()*.1+1e-3), float32(r.ExpFloat64()*.1+1e-3)
		sy := float32(r.ExpFloat64()*.3 + 1e-2)
		f, err := Fold(post, sx, sw, sy, accMax)
		if err != nil {
			t.Fatal(err)
		}
		if f.Constant {
			continue
		}
		acc := int32(r.IntN(2*accMax) - accMax)
		unit := float64(sx) * float64(sw) * post.Scale
		want := (unit*float64(acc) + post.Shift) / float64(sy)
		bound := 0.5*math.Abs(unit)/float64(sy) + 4e-7*math.Abs(want) + 1e-6*math.Abs(unit*float64(f.Bias))/float64(sy)
		if d := math.Abs(float64(f.Real(acc)) - want); d > bound {
			t.Fatalf("%v acc %d: %g, want %g within %g", f, acc, f.Real(acc), want, bound)
		}
		code := f.Code(acc, 0, 0, 255)
		ideal := int32(math.RoundToEven(min(max(want, 0), 255)))
		if code != ideal {
			if tie := math.Abs(want - math.Floor(want) - 0.5); tie > bound {
				t.Fatalf("%v acc %d: code %d, want %d (%g)", f, acc, code, ideal, want)
			}
			near++
		}
	}
	if near > trials/5 {
		t.Errorf("%d of %d codes stood near a tie", near, trials)
	}
}

func TestRequantClampsAndRoundsToEven(t *testing.T) {
	f := Requant{M: 0.5}
	for _, c := range []struct{ acc, zero, lo, hi, want int32 }{
		{1, 0, 0, 15, 0}, {3, 0, 0, 15, 2}, {5, 0, 0, 15, 2}, {-5, 0, 0, 15, 0}, {100, 0, 0, 15, 15},
		{-5, 128, 0, 255, 126}, {-1000, 128, 0, 255, 0}, {1000, 128, 0, 255, 255},
		{math.MaxInt32, 0, -8, 7, 7}, {math.MinInt32, 0, -8, 7, -8},
	} {
		if got := f.Code(c.acc, c.zero, c.lo, c.hi); got != c.want {
			t.Errorf("acc %d zero %d in [%d, %d]: %d, want %d", c.acc, c.zero, c.lo, c.hi, got, c.want)
		}
	}
	if got := (Requant{M: -1, Bias: 3}).Code(1, 0, -8, 7); got != -4 {
		t.Errorf("negative multiplier: %d, want -4", got)
	}
}

func TestBiasThatOverflowsMakesAChannelConstant(t *testing.T) {
	const accMax = 1 << 20
	for _, post := range []Affine{{0, 3}, {1e-12, 3}, {-1e-12, 3}, {1e-300, 3}} {
		f, err := Fold(post, 0.1, 0.01, 0.5, accMax)
		if err != nil {
			t.Fatal(err)
		}
		// 3/0.5: what the channel is, its codes being zero.
		if !f.Constant || f.Code(0, 0, 0, 15) != 6 {
			t.Errorf("%v: %+v, code %d, want the constant 6", post, f, f.Code(0, 0, 0, 15))
		}
	}
	// The largest bias that fits, and the next.
	unit := float64(float32(0.5)) * float64(float32(0.25))
	fits := float64(math.MaxInt32 - accMax)
	if f, _ := Fold(Affine{1, fits * unit}, 0.5, 0.25, 1, accMax); f.Constant || float64(f.Bias) != fits {
		t.Errorf("bias at the limit: %+v", f)
	}
	if f, _ := Fold(Affine{1, (fits + 1) * unit}, 0.5, 0.25, 1, accMax); !f.Constant {
		t.Errorf("bias above the limit: %+v", f)
	}
}

func TestFoldRefusesWhatCannotBeFolded(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		post       Affine
		in, w, out float32
		accMax     int64
	}{
		{Affine{1, 0}, 0, 1, 1, 1}, {Affine{1, 0}, 1, -1, 1, 1}, {Affine{1, 0}, 1, 1, float32(inf), 1},
		{Affine{inf, 0}, 1, 1, 1, 1}, {Affine{1, math.NaN()}, 1, 1, 1, 1}, {Affine{1, 0}, 1, 1, 1, 1 << 31}, {Affine{1, 0}, 1, 1, 1, -1},
	} {
		if f, err := Fold(c.post, c.in, c.w, c.out, c.accMax); err == nil {
			t.Errorf("%+v: folded to %+v", c, f)
		}
	}
}

// The multiplier is what ONNX Runtime makes of the three steps, so that a file
// of steps gives the same codes.
func TestFoldIsAFunctionOfSteps(t *testing.T) {
	r := newRand(t, 24)
	for range 1000 {
		sx, sw, sy := float32(r.ExpFloat64()*.1+1e-3), float32(r.ExpFloat64()*.1+1e-3), float32(r.ExpFloat64()*.3+1e-2)
		f, err := Fold(Affine{r.NormFloat64(), r.NormFloat64()}, sx, sw, sy, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if f.Constant {
			continue
		}
		// Folding the folded step again changes nothing.
		again, err := Fold(Affine{Scale: math.Copysign(1, float64(f.Weight)), Shift: float64(float32(float64(f.Bias) * float64(sx) * float64(f.Weight)))},
			sx, float32(math.Abs(float64(f.Weight))), sy, 1<<20)
		if err != nil || again != f || f.M != float32(sx*f.Weight)/sy {
			t.Fatalf("%+v becomes %+v, %v", f, again, err)
		}
	}
}

func TestSpecWithZeroPoint(t *testing.T) {
	s := Spec{Bits: 8, Zero: 114}
	if s.Qn() != 114 || s.Qp() != 141 || s.String() != "u8-114" || s.Validate() != nil {
		t.Errorf("%v: codes -%d..%d, %v", s, s.Qn(), s.Qp(), s.Validate())
	}
	if got := s.Code(-200, 1); got != -114 {
		t.Errorf("code %d, want -114", got)
	}
	for _, bad := range []Spec{{Bits: 8, Zero: 256}, {Bits: 8, Zero: -1}, {Bits: 8, Signed: true, Zero: 3}} {
		if bad.Validate() == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
}
