package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// intCase is a convolution of the integer network with random operands. The
// image is padded by hand and followed by what kernels may read beyond it.
type intCase struct {
	s     ConvShape
	zero  uint8
	x     []uint8
	pitch int
	w     []int8
	bias  []int32
}

func newIntCase(r *rand.Rand, s ConvShape, zero uint8) *intCase {
	c := &intCase{s: s, zero: zero, pitch: (s.W + s.PL + s.PR) * s.C}
	c.x = make([]uint8, (s.H+s.PT+s.PB)*c.pitch+IntOverread)
	for i := range c.x {
		c.x[i] = uint8(r.UintN(256))
	}
	c.w = make([]int8, convWeights(&s))
	for i := range c.w {
		c.w[i] = int8(r.IntN(256) - 128)
	}
	c.bias = make([]int32, s.O)
	for i := range c.bias {
		c.bias[i] = r.Int32() - 1<<30
	}
	return c
}

var intShapes = []ConvShape{
	{H: 8, W: 8, C: 16, O: 16, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1},
	{H: 9, W: 31, C: 3, O: 40, KH: 7, KW: 7, SH: 2, SW: 2, DH: 1, DW: 1, PT: 3, PL: 3, PB: 3, PR: 3, Groups: 1},
	{H: 5, W: 7, C: 65, O: 33, KH: 1, KW: 1, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 1},
	{H: 6, W: 7, C: 12, O: 18, KH: 3, KW: 2, SH: 2, SW: 1, DH: 1, DW: 2, PR: 2, Groups: 3},
	{H: 7, W: 9, C: 21, O: 21, KH: 3, KW: 3, SH: 1, SW: 2, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 21},
	{H: 1, W: 1, C: 70, O: 10, KH: 1, KW: 1, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 1},
	{H: 4, W: 4, C: 2, O: 1, KH: 3, KW: 3, SH: 1, SW: 1, DH: 2, DW: 2, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1},
	{H: 4, W: 4, C: 48, O: 48, KH: 4, KW: 4, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 48},
}

func TestIntConvolutionsEqualGeneric(t *testing.T) {
	g := genericInt()
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(71, 1))
		for _, s := range intShapes {
			for _, zero := range []uint8{0, 128, 7} {
				c := newIntCase(r, s, zero)
				n := s.OW() * s.O
				want := make([]int32, s.OH()*n)
				pack := make([]int8, g.IntPackSize(&s))
				g.IntPack(&s, pack, c.w, c.bias, zero)
				g.IntConv(&s, want, c.x, c.pitch, zero, pack, 0, s.OH(), nil)

				pack = make([]int8, row.IntPackSize(&s))
				row.IntPack(&s, pack, c.w, c.bias, zero)
				scratch := make([]uint8, row.IntScratch(&s, c.pitch, s.OH()))
				got := make([]int32, len(want))
				mid := s.OH() / 2
				row.IntConv(&s, got, c.x, c.pitch, zero, pack, 0, mid, scratch)
				row.IntConv(&s, got[mid*n:], c.x, c.pitch, zero, pack, mid, s.OH(), scratch)
				if !slices.Equal(got, want) {
					t.Fatalf("%+v zero %d: sums differ", s, zero)
				}
				for _, gap := range []int{0, 5} {
					testIntCodes(t, r, &row, c, want, pack, scratch, gap)
				}
			}
		}
	})
}

// testIntCodes compares IntConvU8 with the generic codes of sums, with guard
// bytes between the rows of the result.
func testIntCodes(t *testing.T, r *rand.Rand, row *Table, c *intCase, sums []int32, pack []int8, scratch []uint8, gap int) {
	s := &c.s
	n := s.OW() * s.O
	m := make([]float32, s.O)
	for i := range m {
		m[i] = float32(r.NormFloat64() * 1e-7)
	}
	q := Clamp{Lo: -120, Hi: 100, Zero: 128}
	want := make([]uint8, len(sums))
	requantU8Generic(want, sums, m, &q)
	got := make([]uint8, s.OH()*(n+gap))
	for i := range got {
		got[i] = 0xa5
	}
	mid := (s.OH() + 1) / 2
	row.IntConvU8(s, got, n+gap, c.x, c.pitch, c.zero, pack, m, &q, mid, s.OH(), scratch)
	row.IntConvU8(s, got, n+gap, c.x, c.pitch, c.zero, pack, m, &q, 0, mid, scratch)
	for i := range s.OH() {
		line := got[i*(n+gap):][:n+gap]
		if !slices.Equal(line[:n], want[i*n:][:n]) {
			t.Fatalf("%+v zero %d: codes of row %d differ", *s, c.zero, i)
		}
		for _, b := range line[n:] {
			if b != 0xa5 {
				t.Fatalf("%+v: bytes behind row %d are written", *s, i)
			}
		}
	}
}

func TestRequantAndMaxEqualGeneric(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(72, 1))
		for n := 1; n < 70; n++ {
			m, acc := make([]float32, n), make([]int32, 3*n)
			for i := range m {
				m[i] = float32(r.IntN(9)-4) / 8
			}
			for i := range acc {
				acc[i] = int32(r.IntN(600) - 300)
			}
			q := Clamp{Lo: 0, Hi: 15}
			want, got := make([]uint8, 3*n), make([]uint8, 3*n+3)
			requantU8Generic(want, acc, m, &q)
			row.RequantU8(got[:3*n], acc, m, &q)
			if !slices.Equal(got[:3*n], want) || got[3*n] != 0 {
				t.Fatalf("requant of %d channels: %v, want %v", n, got, want)
			}
			a, b := make([]uint8, n), make([]uint8, n)
			for i := range a {
				a[i], b[i] = uint8(r.UintN(256)), uint8(r.UintN(256))
			}
			maxU8Generic(want[:n], a, b)
			row.MaxU8(got[:n], a, b)
			if !slices.Equal(got[:n], want[:n]) {
				t.Fatalf("maximum of %d", n)
			}
		}
	})
}

func TestAdditionsEqualGeneric(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(74, 1))
		for n := range 100 {
			p := Addition{StepA: 0.25, StepB: 0.125, Step: 0.5, Lo: -128, Hi: 127, ZeroA: 128, Zero: 128, Floor: float32(r.IntN(2) - 1)}
			a, b := make([]uint8, n), make([]uint8, n)
			x, y := make([]float32, n), make([]float32, n)
			for i := range a {
				a[i], b[i] = uint8(r.UintN(256)), uint8(r.UintN(256))
				x[i], y[i] = float32(r.IntN(400)-200)/4, float32(r.NormFloat64())
			}
			want, got := make([]uint8, n), make([]uint8, n+1)
			addU8Generic(want, a, b, &p)
			row.AddU8(got[:n], a, b, &p)
			if !slices.Equal(got[:n], want) || got[n] != 0 {
				t.Fatalf("codes of %d: %v, want %v", n, got, want)
			}
			wantSum, gotSum := make([]float32, n), make([]float32, n+1)
			addF32Generic(want, wantSum, x, y, &p)
			row.AddF32(got[:n], gotSum[:n], x, y, &p)
			if !slices.Equal(got[:n], want) || !slices.Equal(gotSum[:n], wantSum) || got[n] != 0 || gotSum[n] != 0 {
				t.Fatalf("floats of %d: %v %v, want %v %v", n, got, gotSum, want, wantSum)
			}
		}
	})
}

func BenchmarkIntConv(b *testing.B) {
	s := ConvShape{H: 56, W: 56, C: 64, O: 64, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1}
	c := newIntCase(rand.New(rand.NewPCG(73, 1)), s, 0)
	row := Active()
	pack := make([]int8, row.IntPackSize(&s))
	row.IntPack(&s, pack, c.w, c.bias, 0)
	dst, m := make([]uint8, s.H*s.W*s.O), make([]float32, s.O)
	scratch := make([]uint8, row.IntScratch(&s, c.pitch, s.OH()))
	for b.Loop() {
		row.IntConvU8(&s, dst, s.W*s.O, c.x, c.pitch, 0, pack, m, &Clamp{Hi: 255}, 0, s.H, scratch)
	}
	b.ReportMetric(2*float64(convWeights(&s)*s.H*s.W)/1e9/(b.Elapsed().Seconds()/float64(b.N)), "GOP/s")
}
