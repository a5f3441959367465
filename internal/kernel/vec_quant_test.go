package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Golden vectors of the LSQ specification, section 2: step 0.8, two bits; the
// mathematics of the paper (arXiv 1902.08153v3), worked by hand.
var lsqGolden = struct {
	step                     float32
	v                        []float32
	signed, unsigned         []float32 // codes
	signedGrad, unsignedGrad []float32 // d(vhat)/ds
	signedPass, unsignedPass []float32 // d(vhat)/dv
}{
	step:         0.8,
	v:            []float32{-3, -1.6, -1.0, -0.5, 0, 0.3, 0.5, 0.8, 1.1, 2.9},
	signed:       []float32{-2, -2, -1, -1, 0, 0, 1, 1, 1, 1},
	signedGrad:   []float32{-2, -2, .25, -.375, 0, -.375, .375, 1, 1, 1},
	signedPass:   []float32{0, 0, 1, 1, 1, 1, 1, 0, 0, 0},
	unsigned:     []float32{0, 0, 0, 0, 0, 0, 1, 1, 1, 3},
	unsignedGrad: []float32{0, 0, 0, 0, 0, -.375, .375, 0, -.375, 3},
	unsignedPass: []float32{0, 0, 0, 0, 0, 1, 1, 1, 1, 0},
}

// repeat writes a, over and over, into n floats, so that vectors and tails of
// every row see the golden values.
func repeat(a []float32, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = a[i%len(a)]
	}
	return out
}

func TestFakeQuantGolden(t *testing.T) {
	const n = 163
	// goldenTol is the float32 rounding of v/s, which the table leaves out.
	const goldenTol = 2e-7
	gold := &lsqGolden
	v, s, g := repeat(gold.v, n), repeat([]float32{gold.step}, n), repeat([]float32{1}, n)
	out, dv, ds := make([]float32, n), make([]float32, n), make([]float32, n)
	eachVecRow(t, func(t *testing.T, row *Table) {
		for _, c := range []struct {
			name              string
			lo, hi            float32
			codes, grad, pass []float32
		}{
			{"signed", -2, 1, gold.signed, gold.signedGrad, gold.signedPass},
			{"unsigned", 0, 3, gold.unsigned, gold.unsignedGrad, gold.unsignedPass},
		} {
			row.FakeQuant(out, v, s, c.lo, c.hi)
			row.FakeQuantGrad(dv, ds, v, s, g, c.lo, c.hi)
			for i := range out {
				j := i % len(gold.v)
				if want := c.codes[j] * gold.step; out[i] != want {
					t.Errorf("%s [%d] v=%g: got %g, want %g", c.name, i, v[i], out[i], want)
				}
				if math.Abs(float64(ds[i]-c.grad[j])) > goldenTol {
					t.Errorf("%s [%d] v=%g: ds %g, want %g", c.name, i, v[i], ds[i], c.grad[j])
				}
				if dv[i] != c.pass[j] {
					t.Errorf("%s [%d] v=%g: dv %g, want %g", c.name, i, v[i], dv[i], c.pass[j])
				}
			}
		}
	})
}

func TestFakeQuantRoundsHalfToEven(t *testing.T) {
	const n = 37
	v := repeat([]float32{-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5}, n)
	want := repeat([]float32{-2, -2, 0, 0, 2, 2, 4}, n)
	s, out := repeat([]float32{1}, n), make([]float32, n)
	eachVecRow(t, func(t *testing.T, row *Table) {
		row.FakeQuant(out, v, s, -8, 7)
		for i := range out {
			if out[i] != want[i] {
				t.Errorf("%g rounds to %g, want %g", v[i], out[i], want[i])
			}
		}
	})
}

func TestFakeQuantOfNaNIsNaN(t *testing.T) {
	const n = 29
	nan := float32(math.NaN())
	v, s, g := repeat([]float32{nan}, n), repeat([]float32{1}, n), repeat([]float32{2}, n)
	out, dv, ds := make([]float32, n), make([]float32, n), make([]float32, n)
	eachVecRow(t, func(t *testing.T, row *Table) {
		row.FakeQuant(out, v, s, 0, 3)
		row.FakeQuantGrad(dv, ds, v, s, g, 0, 3)
		for i := range out {
			if out[i] == out[i] || ds[i] == ds[i] || dv[i] != 0 {
				t.Fatalf("[%d]: value %g, ds %g, dv %g", i, out[i], ds[i], dv[i])
			}
		}
	})
}

func TestFakeQuantIsIdempotentAndOnTheGrid(t *testing.T) {
	const n = 1031
	eachVecRow(t, func(t *testing.T, row *Table) {
		rng := rand.New(rand.NewPCG(5, 6))
		v, s := make([]float32, n), make([]float32, n)
		once, twice := make([]float32, n), make([]float32, n)
		for _, b := range [][2]float32{{-2, 1}, {0, 3}, {-4, 3}, {-8, 7}, {0, 15}, {-128, 127}, {0, 255}, {-32768, 32767}} {
			lo, hi := b[0], b[1]
			for i := range v {
				v[i] = float32(rng.NormFloat64())
				s[i] = float32(math.Exp(rng.NormFloat64())) / max(hi, 1)
			}
			row.FakeQuant(once, v, s, lo, hi)
			row.FakeQuant(twice, once, s, lo, hi)
			for i, q := range once {
				if twice[i] != q {
					t.Fatalf("[%g, %g]: Q(%g) = %g, Q(Q) = %g, step %g", lo, hi, v[i], q, twice[i], s[i])
				}
				code := math.RoundToEven(float64(q / s[i]))
				if code < float64(lo) || code > float64(hi) || float32(code)*s[i] != q {
					t.Fatalf("[%g, %g]: Q(%g) = %g is not on the grid of step %g", lo, hi, v[i], q, s[i])
				}
				// Half a step, and the rounding of v/s and of the product.
				if z := v[i] / s[i]; z > lo && z < hi {
					bound := float64(s[i])/2 + 2e-7*math.Abs(float64(v[i]))
					if math.Abs(float64(q)-float64(v[i])) > bound {
						t.Fatalf("Q(%g) = %g is more than half a step of %g away", v[i], q, s[i])
					}
				}
			}
		}
	})
}

func TestFakeQuantGradSplitsPassAndStep(t *testing.T) {
	// For every element either dv = g (inside) or dv = 0 and ds = g*bound, and
	// inside |ds| <= |g|/2.
	const n = 517
	eachVecRow(t, func(t *testing.T, row *Table) {
		rng := rand.New(rand.NewPCG(7, 8))
		v, s, g := make([]float32, n), make([]float32, n), make([]float32, n)
		dv, ds := make([]float32, n), make([]float32, n)
		for i := range v {
			v[i], s[i], g[i] = float32(rng.NormFloat64()), 0.3+rng.Float32(), float32(rng.NormFloat64())
		}
		v[0], s[0], v[1], s[1] = -2, 1, 1, 1 // the borders themselves
		row.FakeQuantGrad(dv, ds, v, s, g, -2, 1)
		for i := range v {
			z := v[i] / s[i]
			switch {
			case z <= -2 && (dv[i] != 0 || ds[i] != g[i]*-2),
				z >= 1 && (dv[i] != 0 || ds[i] != g[i]),
				z > -2 && z < 1 && (dv[i] != g[i] || math.Abs(float64(ds[i])) > math.Abs(float64(g[i]))/2):
				t.Errorf("z=%g g=%g: dv %g ds %g", z, g[i], dv[i], ds[i])
			}
		}
	})
}

// codeInputs draws values, steps and guarded code bytes.
func codeInputs(n, off int, rng *rand.Rand) (v, s []float32, guard []uint8) {
	v, s = make([]float32, n), make([]float32, n)
	for i := range v {
		v[i], s[i] = float32(rng.NormFloat64())*3, 0.01+rng.Float32()/8
		if rng.IntN(4) == 0 { // ties
			v[i], s[i] = float32(rng.IntN(20))-9.5, 1
		}
	}
	guard = make([]uint8, n+off+64)
	for i := range guard {
		guard[i] = 0xa5
	}
	return v, s, guard
}

func TestCodesAgreeWithFakeQuant(t *testing.T) {
	eachVecRow(t, func(t *testing.T, row *Table) {
		rng := rand.New(rand.NewPCG(9, 10))
		for n := 0; n <= 300; n++ {
			off := n % 4
			v, s, guard := codeInputs(n, off, rng)
			u8 := guard[32+off : 32+off+n : 32+off+n]
			want, got := make([]float32, n), make([]float32, n)

			row.QuantU8(u8, v, s, -100, 110, 120)
			row.DequantU8(got, u8, s, 120)
			Rows()[0].FakeQuant(want, v, s, -100, 110)
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("u8 n=%d [%d]: %g/%g: code %d gives %g, want %g", n, i, v[i], s[i], u8[i], got[i], want[i])
				}
			}
			for i, b := range guard {
				if (i < 32+off || i >= 32+off+n) && b != 0xa5 {
					t.Fatalf("u8 n=%d: byte %d outside dst was written", n, i-32-off)
				}
			}

			s8 := make([]int8, n+off)[off:]
			row.QuantS8(s8, v, s, -128, 127)
			row.DequantS8(got, s8, s)
			Rows()[0].FakeQuant(want, v, s, -128, 127)
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("s8 n=%d [%d]: %g/%g: code %d gives %g, want %g", n, i, v[i], s[i], s8[i], got[i], want[i])
				}
			}
		}
	})
}

func TestCodesAtTheExtremes(t *testing.T) {
	const n = 45
	inf := float32(math.Inf(1))
	v := repeat([]float32{-inf, inf, -1e30, 1e30, 0}, n)
	one := repeat([]float32{1}, n)
	u, s := make([]uint8, n), make([]int8, n)
	f := make([]float32, n)
	eachVecRow(t, func(t *testing.T, row *Table) {
		row.QuantU8(u, v, one, 0, 255, 0)
		row.QuantS8(s, v, one, -128, 127)
		for i := range v {
			wantU, wantS := []uint8{0, 255, 0, 255, 0}[i%5], []int8{-128, 127, -128, 127, 0}[i%5]
			if u[i] != wantU || s[i] != wantS {
				t.Fatalf("%g: codes %d, %d, want %d, %d", v[i], u[i], s[i], wantU, wantS)
			}
		}
		all := make([]uint8, 256)
		for i := range all {
			all[i] = uint8(i)
		}
		f, one := append(f[:0], make([]float32, 256)...), repeat([]float32{0.5}, 256)
		row.DequantU8(f, all, one, 7)
		for i, x := range f {
			if x != (float32(i)-7)*0.5 {
				t.Fatalf("DequantU8(%d) = %g", i, x)
			}
		}
	})
}
