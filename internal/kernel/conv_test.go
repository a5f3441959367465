package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// convShapes returns fixed shapes of known networks and seeded odd ones.
func convShapes() []ConvShape {
	sq := func(h, c, o, k, stride, pad int) ConvShape {
		return ConvShape{H: h, W: h, C: c, O: o, KH: k, KW: k, SH: stride, SW: stride, DH: 1, DW: 1, PT: pad, PL: pad, PB: pad, PR: pad, Groups: 1}
	}
	all := []ConvShape{
		sq(32, 16, 16, 3, 1, 1), sq(16, 32, 32, 3, 1, 1), sq(8, 64, 64, 3, 1, 1), sq(32, 3, 16, 3, 1, 1),
		sq(32, 16, 32, 3, 2, 1), sq(16, 32, 64, 3, 2, 1), sq(32, 16, 32, 1, 2, 0), sq(16, 32, 64, 1, 1, 0),
		sq(14, 3, 64, 7, 2, 3), sq(9, 20, 20, 5, 1, 2), sq(7, 1, 1, 3, 1, 1), sq(4, 128, 96, 3, 1, 1),
		sq(2, 64, 64, 3, 1, 1), sq(1, 32, 48, 1, 1, 0), sq(10, 4, 16, 3, 1, 0), sq(5, 16, 16, 3, 3, 1),
		sq(17, 16, 16, 3, 1, 1), sq(84, 4, 4, 8, 4, 0), sq(9, 16, 32, 4, 2, 1), sq(6, 8, 16, 2, 3, 0),
	}
	for _, k := range []int{3, 5} {
		for _, stride := range []int{1, 2} {
			for _, c := range []int{1 + 1, 16, 20, 32, 67} {
				s := sq(11, c, c, k, stride, k/2)
				s.Groups = c
				all = append(all, s)
			}
		}
	}
	r := rand.New(rand.NewPCG(21, 22))
	channels := []int{1, 2, 3, 5, 8, 16, 20, 32, 33, 64}
	for len(all) < 260 {
		groups := []int{1, 1, 1, 2, 4}[r.IntN(5)]
		s := ConvShape{
			H: 1 + r.IntN(18), W: 1 + r.IntN(34),
			C: channels[r.IntN(len(channels))] * groups, O: channels[r.IntN(len(channels))] * groups,
			KH: 1 + r.IntN(5), KW: 1 + r.IntN(5), SH: 1 + r.IntN(3), SW: 1 + r.IntN(3),
			DH: 1 + r.IntN(2), DW: 1 + r.IntN(2),
			PT: r.IntN(4), PL: r.IntN(4), PB: r.IntN(4), PR: r.IntN(4), Groups: groups,
		}
		if r.IntN(2) == 0 {
			s.DH, s.DW, s.KW, s.SW = 1, 1, s.KH, s.SH
		}
		fits := s.DH*(s.KH-1)+1 <= s.H+s.PT+s.PB && s.DW*(s.KW-1)+1 <= s.W+s.PL+s.PR
		if fits && s.C*s.O*s.KH*s.KW*s.H*s.W < 6e6 {
			all = append(all, s)
		}
	}
	return all
}

// eachProduct calls f for every product of the convolution of n images with
// the indices into x, w [O, C/Groups, KH, KW] and y.
func eachProduct(s *ConvShape, n int, f func(xi, wi, yi int)) {
	oh, ow, cg, og := s.OH(), s.OW(), s.C/s.Groups, s.O/s.Groups
	for b := 0; b < n; b++ {
		for y := 0; y < oh; y++ {
			for x := 0; x < ow; x++ {
				for o := 0; o < s.O; o++ {
					yi := ((b*oh+y)*ow+x)*s.O + o
					for c := 0; c < cg; c++ {
						for kh := 0; kh < s.KH; kh++ {
							for kw := 0; kw < s.KW; kw++ {
								iy, ix := y*s.SH-s.PT+kh*s.DH, x*s.SW-s.PL+kw*s.DW
								if iy < 0 || iy >= s.H || ix < 0 || ix >= s.W {
									continue
								}
								f(((b*s.H+iy)*s.W+ix)*s.C+o/og*cg+c, ((o*cg+c)*s.KH+kh)*s.KW+kw, yi)
							}
						}
					}
				}
			}
		}
	}
}

// near fails unless got is within the bound of a float32 sum of count
// products with the given magnitude.
func near(t *testing.T, what string, got []float32, want, magnitude []float64, count int) {
	t.Helper()
	for i := range got {
		if !(math.Abs(float64(got[i])-want[i]) <= sumBound(count, magnitude[i])) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestConvolutionsAreTheSums(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(31, 32))
		for i, s := range convShapes() {
			checkConv(t, row, s, 1+r.IntN(2), r)
			if s.BF16 = true; row.BF16 || i%10 == 0 {
				checkConv(t, row, s, 1+r.IntN(2), r)
			}
		}
	})
}

func checkConv(t *testing.T, row Table, s ConvShape, n int, r *rand.Rand) {
	t.Helper()
	name := fmt.Sprintf("%+v n=%d", s, n)
	nx, ny, nw := n*s.H*s.W*s.C, n*s.OH()*s.OW()*s.O, s.O*s.C/s.Groups*s.KH*s.KW
	x, dy, w := randF32(r, nx), randF32(r, ny), randF32(r, nw)
	if s.BF16 {
		wholeBF16(x, dy, w)
	}
	wantY, wantX, wantW := make([]float64, ny), make([]float64, nx), make([]float64, nw)
	magY, magX, magW := make([]float64, ny), make([]float64, nx), make([]float64, nw)
	eachProduct(&s, n, func(xi, wi, yi int) {
		a, b, c := float64(x[xi])*float64(w[wi]), float64(dy[yi])*float64(w[wi]), float64(dy[yi])*float64(x[xi])
		wantY[yi], magY[yi] = wantY[yi]+a, magY[yi]+math.Abs(a)
		wantX[xi], magX[xi] = wantX[xi]+b, magX[xi]+math.Abs(b)
		wantW[wi], magW[wi] = wantW[wi]+c, magW[wi]+math.Abs(c)
	})
	nan := float32(math.NaN())
	scratch, checkScratch := guarded(row.ConvScratch(&s), guardF32, nan)

	packed, check := guarded(row.ConvPackSize(&s), guardF32, nan)
	row.ConvPack(&s, packed, w)
	check(t, name+" ConvPack")
	y, check := guarded(ny, guardF32, nan)
	row.ConvForward(&s, y, x, packed, n, scratch)
	check(t, name+" ConvForward")
	near(t, name+" ConvForward", y, wantY, magY, s.KH*s.KW*s.C/s.Groups)

	packed, check = guarded(row.ConvPackGradSize(&s), guardF32, nan)
	row.ConvPackGrad(&s, packed, w)
	check(t, name+" ConvPackGrad")
	dx, check := guarded(nx, guardF32, nan)
	row.ConvGradInput(&s, dx, dy, packed, n, scratch)
	check(t, name+" ConvGradInput")
	near(t, name+" ConvGradInput", dx, wantX, magX, s.KH*s.KW*s.O/s.Groups)

	dw, check := guarded(row.ConvGradWeightSize(&s), guardF32, 0)
	row.ConvGradWeight(&s, dw, x, dy, n, scratch)
	check(t, name+" ConvGradWeight")
	plain, check := guarded(nw, guardF32, nan)
	row.ConvUnpackGradWeight(&s, plain, dw)
	check(t, name+" ConvUnpackGradWeight")
	near(t, name+" ConvGradWeight", plain, wantW, magW, n*s.OH()*s.OW())

	row.ConvGradWeight(&s, dw, x, dy, n, scratch) // adds: now twice the sum
	row.ConvUnpackGradWeight(&s, plain, dw)
	for i := range wantW {
		wantW[i], magW[i] = 2*wantW[i], 2*magW[i]
	}
	near(t, name+" ConvGradWeight twice", plain, wantW, magW, 2*n*s.OH()*s.OW())
	checkScratch(t, name+" scratch")
}

func TestConvImagesDoNotDependOnTheSplit(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(33, 34))
		for _, s := range convShapes()[:60] {
			const n = 3
			in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
			x, dy, w := randF32(r, n*in), randF32(r, n*out), randF32(r, s.O*s.C/s.Groups*s.KH*s.KW)
			scratch := make([]float32, row.ConvScratch(&s))
			packed, packedGrad := make([]float32, row.ConvPackSize(&s)), make([]float32, row.ConvPackGradSize(&s))
			row.ConvPack(&s, packed, w)
			row.ConvPackGrad(&s, packedGrad, w)
			y, dx := make([]float32, n*out), make([]float32, n*in)
			row.ConvForward(&s, y, x, packed, n, scratch)
			row.ConvGradInput(&s, dx, dy, packedGrad, n, scratch)
			y1, dx1 := make([]float32, out), make([]float32, in)
			for i := 0; i < n; i++ {
				row.ConvForward(&s, y1, x[i*in:], packed, 1, scratch)
				row.ConvGradInput(&s, dx1, dy[i*out:], packedGrad, 1, scratch)
				for j := range y1 {
					if y1[j] != y[i*out+j] {
						t.Fatalf("%+v: y[%d][%d] is %v alone, %v among %d", s, i, j, y1[j], y[i*out+j], n)
					}
				}
				for j := range dx1 {
					if dx1[j] != dx[i*in+j] {
						t.Fatalf("%+v: dx[%d][%d] is %v alone, %v among %d", s, i, j, dx1[j], dx[i*in+j], n)
					}
				}
			}
		}
	})
}

func TestConvU8S8IsExact(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(35, 36))
		for i, s := range convShapes() {
			n := 1 + r.IntN(2)
			x, w := randU8(r, n*s.H*s.W*s.C), randS8(r, s.O*s.C/s.Groups*s.KH*s.KW)
			zero := []uint8{0, 128, 3, 255}[i%4]
			want := make([]int32, n*s.OH()*s.OW()*s.O)
			eachProduct(&s, n, func(xi, wi, yi int) {
				want[yi] += (int32(x[xi]) - int32(zero)) * int32(w[wi])
			})
			name := fmt.Sprintf("%+v n=%d zero=%d", s, n, zero)
			packed, check := guarded(row.ConvPackS8Size(&s), int8(77), 1)
			row.ConvPackS8(&s, packed, w)
			check(t, name+" ConvPackS8")
			scratch, checkScratch := guarded(row.ConvS8Scratch(&s), uint8(201), 55)
			got, check := guarded(len(want), guardI32, -7)
			row.ConvForwardU8S8(&s, got, x, zero, packed, n, scratch)
			check(t, name)
			checkScratch(t, name+" scratch")
			for j := range want {
				if got[j] != want[j] {
					t.Fatalf("%s: element %d is %d, want %d", name, j, got[j], want[j])
				}
			}
		}
	})
}

func TestMatrixKernelsDoNotAllocate(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(37, 38))
		for _, s := range convShapes()[:40] {
			nx, ny, nw := s.H*s.W*s.C, s.OH()*s.OW()*s.O, s.O*s.C/s.Groups*s.KH*s.KW
			x, y, w, dw := randF32(r, nx), randF32(r, ny), randF32(r, nw), make([]float32, row.ConvGradWeightSize(&s))
			packed := make([]float32, max(row.ConvPackSize(&s), row.ConvPackGradSize(&s)))
			scratch := make([]float32, row.ConvScratch(&s))
			q, qw, acc := randU8(r, nx), randS8(r, nw), make([]int32, ny)
			qPacked, qScratch := make([]int8, row.ConvPackS8Size(&s)), make([]uint8, row.ConvS8Scratch(&s))
			got := testing.AllocsPerRun(3, func() {
				row.ConvPack(&s, packed, w)
				row.ConvForward(&s, y, x, packed, 1, scratch)
				row.ConvPackGrad(&s, packed, w)
				row.ConvGradInput(&s, x, y, packed, 1, scratch)
				row.ConvGradWeight(&s, dw, x, y, 1, scratch)
				row.ConvUnpackGradWeight(&s, w, dw)
				row.ConvPackS8(&s, qPacked, qw)
				row.ConvForwardU8S8(&s, acc, q, 3, qPacked, 1, qScratch)
			})
			if got != 0 {
				t.Fatalf("%+v: %v allocations", s, got)
			}
		}
		m, n, k := 50, 40, 70
		a, b, c := randF32(r, m*k), randF32(r, k*n), make([]float32, m*n)
		packed, scratch := make([]float32, row.PackBSize(k, n)), make([]float32, row.GemmScratch(k, n))
		qa, qb, acc, qPacked := randU8(r, m*k), randS8(r, n*k), make([]int32, m*n), make([]int8, row.PackS8Size(n, k))
		got := testing.AllocsPerRun(3, func() {
			row.PackB(packed, b, n, k, n, false)
			row.Gemm(c, a, packed, m, n, k, k, n, false, true, scratch)
			row.Gemm(c, a, packed, m, n, k, m, n, true, false, scratch)
			row.PackS8(qPacked, qb, n, k)
			row.GemmU8S8(acc, qa, 3, qPacked, m, n, k, k, n, nil)
			row.ScaleI32(c, acc, a)
		})
		if got != 0 {
			t.Fatalf("products: %v allocations", got)
		}
	})
}
