package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// sumBound: in float32 a sum of k products, in any order and with or without
// fused multiply-add, is within (k+1)*2^-24/(1-...) of the sum of their
// magnitudes (Higham, gamma_n); the second unit covers the divisor.
func sumBound(k int, magnitude float64) float64 {
	return float64(k+2) * 0x1p-24 * magnitude
}

// guard is written around every destination and must survive.
const guard = 24

const guardF32, guardI32 = float32(12345.5), int32(-123456)

// guarded returns a slice of n values between guards, and a check.
func guarded[T comparable](n int, mark, fill T) (s []T, check func(t *testing.T, what string)) {
	all := make([]T, n+2*guard)
	for i := range all {
		all[i] = mark
	}
	s = all[guard : guard+n : guard+n]
	for i := range s {
		s[i] = fill
	}
	return s, func(t *testing.T, what string) {
		t.Helper()
		for i := 0; i < guard; i++ {
			if all[i] != mark || all[guard+n+i] != mark {
				t.Fatalf("%s: guard %d was overwritten", what, i)
			}
		}
	}
}

func randF32(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s[:n:n]
}

func randU8(r *rand.Rand, n int) []uint8 {
	s := make([]uint8, n)
	for i := range s {
		if s[i] = uint8(r.Uint32()); r.IntN(8) == 0 {
			s[i] = 255
		}
	}
	return s
}

func randS8(r *rand.Rand, n int) []int8 {
	s := make([]int8, n)
	for i := range s {
		if s[i] = int8(r.Uint32()); r.IntN(8) == 0 {
			s[i] = []int8{-128, 127}[r.IntN(2)]
		}
	}
	return s
}

func eachRow(t *testing.T, f func(t *testing.T, row Table)) {
	for _, row := range Rows() {
		t.Run("row="+row.Name, func(t *testing.T) { f(t, row) })
	}
}

type gemmCase struct {
	m, n, k     int
	transA, acc bool
	transB      bool
	pad         int // extra elements per row of a, b and c
	bf16        bool
}

// wholeBF16 makes values whole numbers of bfloat16, whose products are exact.
func wholeBF16(all ...[]float32) {
	for _, s := range all {
		for i, v := range s {
			s[i] = math.Float32frombits(math.Float32bits(v) &^ 0xffff)
		}
	}
}

func gemmCases() []gemmCase {
	r := rand.New(rand.NewPCG(11, 1))
	var all []gemmCase
	for i := 0; i < 220; i++ {
		all = append(all, gemmCase{
			m: 1 + r.IntN(40), n: 1 + r.IntN(80), k: 1 + r.IntN(70),
			transA: i&1 != 0, acc: i&2 != 0, transB: i&4 != 0, pad: r.IntN(3) * 5,
		})
	}
	for i, d := range [][3]int{{128, 10, 64}, {67, 130, 700}, {300, 97, 1100}, {12, 32, 512}, {13, 33, 1025}, {1, 1000, 512}, {256, 16, 144}, {5, 64, 2000}} {
		all = append(all, gemmCase{m: d[0], n: d[1], k: d[2], transA: i&1 != 0, acc: i&2 != 0, transB: i&4 == 0})
		all = append(all, gemmCase{m: d[0], n: d[1], k: d[2], transA: i&1 == 0, acc: i&2 == 0, transB: i&4 != 0, pad: 3})
	}
	return all
}

func TestGemmIsTheProduct(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(2, 3))
		for _, g := range gemmCases() {
			checkGemm(t, row, g, r)
			g.bf16 = true
			checkGemm(t, row, g, r)
		}
	})
}

func checkGemm(t *testing.T, row Table, g gemmCase, r *rand.Rand) {
	t.Helper()
	name := fmt.Sprintf("%+v", g)
	lda, ldb, ldc := g.k+g.pad, g.n+g.pad, g.n+g.pad
	aLen, bLen := (g.m-1)*lda+g.k, (g.k-1)*ldb+g.n
	if g.transA {
		lda = g.m + g.pad
		aLen = (g.k-1)*lda + g.m
	}
	if g.transB {
		ldb = g.k + g.pad
		bLen = (g.n-1)*ldb + g.k
	}
	a, b := randF32(r, aLen), randF32(r, bLen)
	if g.bf16 {
		wholeBF16(a, b)
		row.PackB, row.Gemm = row.PackBBF16, row.GemmBF16
	}
	at := func(i, p int) float64 {
		if g.transA {
			return float64(a[p*lda+i])
		}
		return float64(a[i*lda+p])
	}
	bt := func(p, j int) float64 {
		if g.transB {
			return float64(b[j*ldb+p])
		}
		return float64(b[p*ldb+j])
	}
	packed, checkPacked := guarded(row.PackBSize(g.k, g.n), guardF32, 0)
	row.PackB(packed, b, ldb, g.k, g.n, g.transB)
	checkPacked(t, name+" PackB")
	scratch, checkScratch := guarded(row.GemmScratch(g.k, g.n), guardF32, float32(math.NaN()))
	c, checkC := guarded((g.m-1)*ldc+g.n, guardF32, 7)
	row.Gemm(c, a, packed, g.m, g.n, g.k, lda, ldc, g.transA, g.acc, scratch)
	checkC(t, name)
	checkScratch(t, name+" scratch")
	for i := 0; i < g.m; i++ {
		for j := 0; j < g.n; j++ {
			var sum, mag float64
			if g.acc {
				sum, mag = 7, 7
			}
			for p := 0; p < g.k; p++ {
				v := at(i, p) * bt(p, j)
				sum, mag = sum+v, mag+math.Abs(v)
			}
			if got := float64(c[i*ldc+j]); !(math.Abs(got-sum) <= sumBound(g.k+1, mag)) {
				t.Fatalf("%s: c[%d,%d] = %v, want %v", name, i, j, got, sum)
			}
		}
		for j := g.n; j < ldc && i*ldc+j < len(c); j++ {
			if c[i*ldc+j] != 7 {
				t.Fatalf("%s: c[%d,%d], outside the product, was written", name, i, j)
			}
		}
	}
}

func TestGemmRowsDoNotDependOnTheSplit(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(4, 5))
		for _, d := range [][3]int{{61, 70, 33}, {200, 40, 900}, {97, 10, 64}, {150, 33, 1300}} {
			m, n, k := d[0], d[1], d[2]
			for _, transA := range []bool{false, true} {
				a, b := randF32(r, m*k), randF32(r, k*n)
				packed, scratch := make([]float32, row.PackBSize(k, n)), make([]float32, row.GemmScratch(k, n))
				row.PackB(packed, b, n, k, n, false)
				lda := k
				if transA {
					lda = m
				}
				whole, parts := make([]float32, m*n), make([]float32, m*n)
				row.Gemm(whole, a, packed, m, n, k, lda, n, transA, false, scratch)
				for lo := 0; lo < m; {
					hi := min(m, lo+1+r.IntN(50))
					first := lo * lda
					if transA {
						first = lo
					}
					row.Gemm(parts[lo*n:], a[first:], packed, hi-lo, n, k, lda, n, transA, false, scratch)
					lo = hi
				}
				for i := range whole {
					if whole[i] != parts[i] {
						t.Fatalf("%v transA=%v: element %d is %v whole and %v in parts", d, transA, i, whole[i], parts[i])
					}
				}
			}
		}
	})
}

func TestGemmU8S8IsExact(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(6, 7))
		for i := 0; i < 200; i++ {
			m, n, k := 1+r.IntN(40), 1+r.IntN(70), 1+r.IntN(90)
			if i%20 == 0 {
				m, n, k = 70, 100, 1300
			}
			lda, ldc := k+r.IntN(2)*3, n+r.IntN(2)*5
			zero := []uint8{0, 128, 255, 7}[i%4]
			a, b := randU8(r, (m-1)*lda+k), randS8(r, n*k)
			packed, checkPacked := guarded(row.PackS8Size(n, k), int8(99), 0)
			row.PackS8(packed, b, n, k)
			checkPacked(t, "PackS8")
			c, checkC := guarded((m-1)*ldc+n, guardI32, 5)
			row.GemmU8S8(c, a, zero, packed, m, n, k, lda, ldc, nil)
			checkC(t, "GemmU8S8")
			for y := 0; y < m; y++ {
				for x := 0; x < n; x++ {
					var want int32
					for p := 0; p < k; p++ {
						want += (int32(a[y*lda+p]) - int32(zero)) * int32(b[x*k+p])
					}
					if got := c[y*ldc+x]; got != want {
						t.Fatalf("m=%d n=%d k=%d zero=%d: c[%d,%d] = %d, want %d", m, n, k, zero, y, x, got, want)
					}
				}
				for x := n; x < ldc && y*ldc+x < len(c); x++ {
					if c[y*ldc+x] != 5 {
						t.Fatalf("m=%d n=%d k=%d: c[%d,%d], outside the product, was written", m, n, k, y, x)
					}
				}
			}
		}
	})
}

func TestScaleI32(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(8, 9))
		for n := 0; n < 300; n++ {
			a, s := make([]int32, n), randF32(r, n)
			for i := range a {
				a[i] = int32(r.Uint32())
			}
			dst, check := guarded(n, guardF32, 0)
			row.ScaleI32(dst, a, s)
			check(t, "ScaleI32")
			for i := range dst {
				if want := float32(a[i]) * s[i]; dst[i] != want {
					t.Fatalf("n=%d: dst[%d] = %v, want %v", n, i, dst[i], want)
				}
			}
		}
	})
}

func TestRealI32(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(8, 10))
		for n := 0; n < 100; n++ {
			a, b, s, c := make([]int32, n), make([]int32, n), randF32(r, n), randF32(r, n)
			for i := range a {
				a[i], b[i] = int32(r.Uint32()), int32(r.Uint32())
			}
			dst, check := guarded(n, guardF32, 0)
			row.RealI32(dst, a, b, s, c)
			check(t, "RealI32")
			for i := range dst {
				if want := float32(float32(a[i]-b[i])*s[i]) + c[i]; dst[i] != want {
					t.Fatalf("n=%d: dst[%d] = %v, want %v", n, i, dst[i], want)
				}
			}
		}
	})
}

func TestNoMatrixEntryIsNil(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		v := reflect.ValueOf(row.MatOps)
		for i := 0; i < v.NumField(); i++ {
			if f := v.Field(i); f.Kind() == reflect.Func && f.IsNil() {
				t.Errorf("%s is nil", v.Type().Field(i).Name)
			}
		}
	})
}
