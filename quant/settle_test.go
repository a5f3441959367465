package quant

import (
	"math"
	"testing"
)

// Every sum that can occur, and the codes of the unrounded values in float64. Around
// 0 no multiplier helps, so that signed codes need a finer grain.
func TestSettledFormsGiveTheCodesOfUnroundedBiases(t *testing.T) {
	r := newRand(t, 25)
	for _, c := range []struct {
		lo, hi int32
		grain  int64
		share  float64 // of sums that may have another code, at most
	}{{0, 3, 1, 1e-5}, {0, 1, 1, 0}, {-2, 1, 1, 2e-4}, {0, 7, 1, 1e-3}, {0, 15, 8, 1e-4}, {-8, 7, 16, 1e-4}, {0, 3, 32, 0}} {
		var all, plain, settled int
		for range 400 {
			accMax := int64(1000+r.IntN(3000)) * c.grain
			sx, sw := float32(r.ExpFloat64()*.1+1e-3), float32((r.ExpFloat64()*.1+1e-3)/float64(c.grain))
			post := Affine{r.NormFloat64(), 0}
			sy := float32(float64(sx) * float64(sw) * math.Abs(post.Scale) * float64(accMax) / (1 + 40*r.Float64()))
			post.Shift = r.NormFloat64() * 2 * float64(sy)
			f, err := Fold(post, sx, sw, sy, accMax)
			if err != nil || f.Constant {
				continue
			}
			g := f.Settle(post, sx, sw, sy, accMax, Codes{c.lo, c.hi, c.grain})
			if g.M != float32(sx*g.Weight)/sy || max(int64(g.Bias), -int64(g.Bias))+accMax > math.MaxInt32 {
				t.Fatalf("%+v: not a function of steps", g)
			}
			unit, shift := float64(sx)*float64(sw)*post.Scale/float64(sy), post.Shift/float64(sy)
			for a := -accMax / c.grain * c.grain; a <= accMax; a += c.grain {
				want := int32(math.Max(float64(c.lo), math.Min(float64(c.hi), math.RoundToEven(float64(a)*unit+shift))))
				all++
				if f.Code(int32(a), 0, c.lo, c.hi) != want {
					plain++
				}
				if g.Code(int32(a), 0, c.lo, c.hi) != want {
					settled++
				}
			}
		}
		t.Logf("%+v: of %d sums %d have another code, %d without Settle", c, all, settled, plain)
		if float64(settled) > c.share*float64(all) || settled > plain {
			t.Errorf("%+v: %d of %d sums have another code, %d without Settle", c, settled, all, plain)
		}
	}
}

// What a file of steps says of a settled form settles to the same.
func TestSettleAgainChangesNothing(t *testing.T) {
	r := newRand(t, 26)
	moved := 0
	for range 2000 {
		const accMax = 1 << 16
		sx, sw, sy := float32(r.ExpFloat64()*.1+1e-3), float32(r.ExpFloat64()*.1+1e-3), float32(r.ExpFloat64()*3+1)
		post := Affine{r.NormFloat64(), 3 * r.NormFloat64()}
		f, err := Fold(post, sx, sw, sy, accMax)
		if err != nil || f.Constant {
			continue
		}
		codes := Codes{0, 3, 1}
		g := f.Settle(post, sx, sw, sy, accMax, codes)
		if g != f {
			moved++
		}
		post = Affine{math.Copysign(1, float64(g.Weight)), float64(float32(float64(g.Bias) * float64(sx) * float64(g.Weight)))}
		sw = float32(math.Abs(float64(g.Weight)))
		again, err := Fold(post, sx, sw, sy, accMax)
		if err != nil {
			t.Fatal(err)
		}
		if again = again.Settle(post, sx, sw, sy, accMax, codes); again != g {
			t.Fatalf("%+v becomes %+v", g, again)
		}
	}
	if moved < 100 {
		t.Errorf("%d forms moved: the test says little", moved)
	}
}

func TestSettleLeavesWhatItNeedNotChange(t *testing.T) {
	constant := Requant{M: 1, Bias: 1, Constant: true}
	if got := constant.Settle(Affine{1, 1}, 1, 1, 1, 10, Codes{0, 3, 1}); got != constant {
		t.Errorf("a constant channel: %+v", got)
	}
	f, _ := Fold(Affine{1, 0.4}, 0.5, 0.25, 3, 1000)
	if got := f.Settle(Affine{1, 0.4}, 0.5, 0.25, 3, 1000, Codes{0, 255, 1}); got != f {
		t.Errorf("8 bits: %+v", got)
	}
	if got := f.Settle(Affine{1, 3 * 0.125}, 0.5, 0.25, 3, 1000, Codes{0, 3, 1}); got != f {
		t.Errorf("a whole bias: %+v", got)
	}
}

func TestFoldReal(t *testing.T) {
	f, err := FoldReal(Affine{-2, 0.3}, 0.5, 0.25)
	if want := (Requant{M: -0.25, Shift: 0.3, Weight: -0.5}); err != nil || f != want {
		t.Errorf("%+v, %v, want %+v", f, err, want)
	}
	if got := f.Real(3); got != float32(-0.75)+float32(0.3) {
		t.Errorf("3 is %g", got)
	}
	for _, post := range []Affine{{0, 3}, {1e-300, 3}} {
		if f, err := FoldReal(post, 0.1, 0.01); err != nil || f.Real(1<<20) != 3 {
			t.Errorf("%v: %+v, %v, want 3 for every sum", post, f, err)
		}
	}
	if _, err := FoldReal(Affine{math.NaN(), 0}, 1, 1); err == nil {
		t.Error("NaN folded")
	}
	if _, err := FoldReal(Affine{1, 0}, -1, 1); err == nil {
		t.Error("a negative step folded")
	}
}
