package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// intCase is a convolution of the integer network with random operands. The
// image is padded by hand and followed by what kernels may read beyond it.
type intCase struct {
	s     ConvShape
	shift int
	zero  uint8
	x     []uint8
	pitch int
	w     []int8
	bias  []int32
}

func newIntCase(r *rand.Rand, s ConvShape, zero uint8, bits, shift int) *intCase {
	c := &intCase{s: s, shift: shift, zero: zero, pitch: (s.W + s.PL + s.PR) * s.C}
	c.x = make([]uint8, (s.H+s.PT+s.PB)*c.pitch+IntOverread(s.C))
	for i := range c.x {
		c.x[i] = uint8(r.UintN(256))
	}
	c.w = make([]int8, convWeights(&s))
	for i := range c.w {
		c.w[i] = int8((r.IntN(1<<bits) - 1<<(bits-1)) << shift)
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
	{H: 9, W: 12, C: 40, O: 40, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 40},
	{H: 10, W: 23, C: 24, O: 24, KH: 3, KW: 3, SH: 2, SW: 2, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 24},
	{H: 7, W: 7, C: 33, O: 33, KH: 5, KW: 5, SH: 1, SW: 1, DH: 1, DW: 1, PT: 2, PL: 2, PB: 2, PR: 2, Groups: 33},
	{H: 11, W: 14, C: 16, O: 16, KH: 5, KW: 5, SH: 2, SW: 2, DH: 1, DW: 1, PT: 2, PL: 2, PB: 2, PR: 2, Groups: 16},
	{H: 5, W: 6, C: 64, O: 96, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1},
	{H: 9, W: 9, C: 128, O: 72, KH: 3, KW: 3, SH: 2, SW: 2, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1},
	{H: 3, W: 40, C: 200, O: 41, KH: 1, KW: 1, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 1},
	{H: 7, W: 7, C: 32, O: 48, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 2},
	{H: 8, W: 9, C: 1100, O: 65, KH: 1, KW: 1, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 1},
	{H: 5, W: 5, C: 300, O: 33, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1},
	{H: 7, W: 7, C: 520, O: 64, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1},
	{H: 1, W: 1, C: 600, O: 100, KH: 1, KW: 1, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 1},
}

// extreme makes all operands as large as can be.
func (c *intCase) extreme(bits int) {
	for i := range c.x {
		c.x[i] = 255
	}
	for i := range c.w {
		c.w[i] = -1 << (bits - 1 + c.shift)
	}
}

// layer packs the case for a row.
func (c *intCase) layer(row *IntOps, bits int) *IntLayer {
	l := &IntLayer{ConvShape: c.s, Bits: bits, Shift: c.shift, Zero: c.zero}
	l.Packed = make([]int8, row.IntPackSize(l))
	row.IntPack(l, c.w, c.bias)
	return l
}

func (c *intCase) scratch(row *IntOps, l *IntLayer) []uint8 {
	return make([]uint8, row.IntScratch(l, c.pitch, c.s.OH()))
}

// parts divide a result by rows and, where the layer allows it, by channels.
func (c *intCase) parts() []IntPart {
	rows, o, mid := c.s.OH(), c.s.O, c.s.OH()/2
	list := []IntPart{{mid, rows, 0, o}, {0, mid, 0, o}}
	if c.s.Groups == 1 && o > IntPanel {
		list = []IntPart{{0, rows, IntPanel, o}, {0, mid, 0, IntPanel}, {mid, rows, 0, IntPanel}}
	}
	return list
}

func TestIntConvolutionsEqualGeneric(t *testing.T) {
	g := genericInt()
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(71, 1))
		for i, s := range intShapes {
			for k, zero := range []uint8{0, 128, 7} {
				bits := []int{8, 4, 3, 2, 7}[(i+k)%5]
				shift := (i + k) % (9 - bits)
				c := newIntCase(r, s, zero, bits, shift)
				if i%4 == 3 { // the most that sums of products can be
					c.extreme(bits)
				}
				n := s.OW() * s.O
				want := make([]int32, s.OH()*n)
				g.IntConv(c.layer(&g, bits), want, c.x, c.pitch, IntPart{0, s.OH(), 0, s.O}, nil)

				l := c.layer(&row.IntOps, bits)
				got := make([]int32, len(want))
				for _, p := range c.parts() {
					row.IntConv(l, got[p.R0*n:p.R1*n], c.x, c.pitch, p, c.scratch(&row.IntOps, l))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%+v zero %d, %d bits times 2^%d: sums differ", s, zero, bits, shift)
				}
				for _, gap := range []int{0, 5, 2 * s.O} {
					testIntCodes(t, r, &row.IntOps, c, l, want, gap)
				}
			}
		}
	})
}

// Layers whose weights may stay packed, in every number of bits and at every shift.
func TestShiftedWeightsEqualGeneric(t *testing.T) {
	s := ConvShape{H: 5, W: 6, C: 64, O: 72, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1}
	g := genericInt()
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(77, 1))
		for bits := 2; bits <= 8; bits++ {
			for shift := 0; bits+shift <= 8; shift++ {
				c := newIntCase(r, s, 128, bits, shift)
				want := make([]int32, s.OH()*s.OW()*s.O)
				part := IntPart{0, s.OH(), 0, s.O}
				g.IntConv(c.layer(&g, bits), want, c.x, c.pitch, part, nil)
				l := c.layer(&row.IntOps, bits)
				got := make([]int32, len(want))
				row.IntConv(l, got, c.x, c.pitch, part, c.scratch(&row.IntOps, l))
				if !slices.Equal(got, want) {
					t.Fatalf("%d bits times 2^%d: sums differ", bits, shift)
				}
				testIntCodes(t, r, &row.IntOps, c, l, want, 5)
			}
		}
	})
}

// Tiles of every number of pixels unpack the weights for those behind them; channels
// end with whole panels, within a vector and with one vector, and runs also where
// no four words do.
func TestTilesOfPackedWeightsEqualGeneric(t *testing.T) {
	g := genericInt()
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(78, 1))
		for w := 1; w <= 14; w++ {
			c, o := []int{64, 100, 80}[w%3], []int{64, 56, 40}[w/3%3]
			s := ConvShape{H: 3, W: w, C: c, O: o, KH: 3, KW: 3, SH: 1, SW: 1, DH: 1, DW: 1, PT: 1, PL: 1, PB: 1, PR: 1, Groups: 1}
			for bits := 2; bits <= 4; bits++ {
				c := newIntCase(r, s, 3, bits, r.IntN(9-bits))
				n := s.OH() * s.OW() * s.O
				want, got := make([]int32, n), make([]int32, n+32)
				part := IntPart{0, s.OH(), 0, s.O}
				g.IntConv(c.layer(&g, bits), want, c.x, c.pitch, part, nil)
				l := c.layer(&row.IntOps, bits)
				row.IntConv(l, got[:n], c.x, c.pitch, part, c.scratch(&row.IntOps, l))
				if !slices.Equal(got[:n], want) {
					t.Fatalf("%d pixels, %d bits times 2^%d: sums differ", w, bits, c.shift)
				}
				if !slices.Equal(got[n:], make([]int32, 32)) {
					t.Fatalf("%d pixels, %d bits: sums behind the last are written", w, bits)
				}
				testIntCodes(t, r, &row.IntOps, c, l, want, 5)
			}
		}
	})
}

// testIntCodes compares IntConvU8 with the generic codes of sums, with guard
// bytes between the rows of the result.
func testIntCodes(t *testing.T, r *rand.Rand, row *IntOps, c *intCase, l *IntLayer, sums []int32, gap int) {
	s := &c.s
	n := s.OW() * s.O
	m := make([]float32, s.O)
	for i := range m {
		m[i] = float32(r.NormFloat64() * 1e-7)
	}
	q := Clamp{Lo: -120, Hi: 100, Zero: 128}
	if gap == 0 {
		q = Clamp{Hi: 255}
	}
	want := make([]uint8, len(sums))
	requantU8Generic(want, sums, m, &q)
	got := make([]uint8, s.OH()*(n+gap))
	for i := range got {
		got[i] = 0xa5
	}
	for _, p := range c.parts() {
		row.IntConvU8(l, got, n+gap, c.x, c.pitch, m, &q, p, c.scratch(row, l))
	}
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
			var table [256]uint8
			for i := range table {
				table[i] = uint8(r.UintN(256))
			}
			mapU8Generic(want[:n], a, &table)
			row.MapU8(got[:n], a, &table)
			if !slices.Equal(got[:n], want[:n]) {
				t.Fatalf("table of %d", n)
			}
			maxU8Generic(want[:n], a, b)
			row.MaxU8(got[:n], a, b)
			if !slices.Equal(got[:n], want[:n]) {
				t.Fatalf("maximum of %d", n)
			}
		}
	})
}

// Every sum of two codes on random grids, and steps at which quotients are ties.
func TestSumsOfAllCodesEqualGeneric(t *testing.T) {
	a, b := make([]uint8, 1<<16), make([]uint8, 1<<16)
	for i := range a {
		a[i], b[i] = uint8(i), uint8(i>>8)
	}
	want, got := make([]uint8, len(a)), make([]uint8, len(a))
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(75, 1))
		for i := range 12 {
			step := func() float32 { return float32(math.Exp(4 * r.NormFloat64())) }
			p := Addition{StepA: step(), StepB: step(), Step: step(), Lo: -128, Hi: 127, ZeroA: 128, Zero: 128}
			switch i % 4 {
			case 1:
				p = Addition{StepA: 1.5, StepB: 0.75, Step: 3, Hi: 255}
			case 2:
				p.Step, p.StepB = p.StepA, p.StepA
			case 3:
				p.Lo, p.Hi, p.Zero, p.Step = -3, 7, 5, 1e-30*p.Step
			}
			if i%3 == 0 {
				p.ZeroB = 0
			}
			addU8Generic(want, a, b, &p)
			for range 2 {
				row.AddU8(got, a, b, &p)
				if !slices.Equal(got, want) {
					t.Fatalf("%+v: codes differ", p)
				}
				row.AddPrepare(&p)
			}
		}
	})
}

func TestQuantStepAndInterleaveEqualGeneric(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(76, 1))
		inf := float32(math.Inf(1))
		for n := range 70 {
			v, step := make([]float32, n), float32(math.Exp(3*r.NormFloat64()))
			for i := range v {
				v[i] = []float32{step * float32(r.NormFloat64()*60), step * (float32(r.IntN(300)) - 150.5), inf, -inf, float32(math.NaN()), 1e38, 0}[r.IntN(7)]
			}
			q := Clamp{Lo: -128, Hi: 127, Zero: 128}
			want, got := make([]uint8, n), make([]uint8, n+1)
			quantStepU8Generic(want, v, step, &q)
			row.QuantStepU8(got[:n], v, step, &q)
			if !slices.Equal(got[:n], want) || got[n] != 0 {
				t.Fatalf("%v by %g: %v, want %v", v, step, got, want)
			}
			src := make([]uint8, 3*n)
			for i := range src {
				src[i] = uint8(r.UintN(256))
			}
			want, got = make([]uint8, 3*n), make([]uint8, 3*n+1)
			interleaveU8Generic(want, src)
			row.InterleaveU8(got[:3*n], src)
			if !slices.Equal(got[:3*n], want) || got[3*n] != 0 {
				t.Fatalf("interleaved %d: %v, want %v", n, got, want)
			}
		}
	})
}

func TestAdditionsEqualGeneric(t *testing.T) {
	eachRow(t, func(t *testing.T, row Table) {
		r := rand.New(rand.NewPCG(74, 1))
		for n := range 200 {
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
	for _, v := range []struct{ hw, c, o, k, bits int }{
		{56, 64, 64, 3, 8}, {14, 256, 256, 3, 8}, {7, 512, 512, 3, 8}, {7, 512, 512, 3, 4}, {7, 512, 512, 3, 3}, {7, 512, 512, 3, 2},
		{56, 64, 256, 1, 8}, {56, 256, 64, 1, 8}, {14, 1024, 256, 1, 8},
	} {
		p := v.k / 2
		s := ConvShape{H: v.hw, W: v.hw, C: v.c, O: v.o, KH: v.k, KW: v.k, SH: 1, SW: 1, DH: 1, DW: 1, PT: p, PL: p, PB: p, PR: p, Groups: 1}
		b.Run(fmt.Sprintf("hw=%d/c=%d/o=%d/k=%d/bits=%d", v.hw, v.c, v.o, v.k, v.bits), func(b *testing.B) {
			row := Active()
			c := newIntCase(rand.New(rand.NewPCG(73, 1)), s, 0, v.bits, max(0, 7-v.bits))
			l := c.layer(&row.IntOps, v.bits)
			dst, m := make([]uint8, s.H*s.W*s.O), make([]float32, s.O)
			scratch := c.scratch(&row.IntOps, l)
			for b.Loop() {
				row.IntConvU8(l, dst, s.W*s.O, c.x, c.pitch, m, &Clamp{Hi: 255}, IntPart{0, s.H, 0, s.O}, scratch)
			}
			b.ReportMetric(2*float64(convWeights(&s)*s.H*s.W)/1e9/(b.Elapsed().Seconds()/float64(b.N)), "GOP/s")
		})
	}
}
