package kernel

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// eachVecRow runs body on every row of this CPU.
func eachVecRow(t *testing.T, body func(t *testing.T, row *Table)) {
	rows := Rows()
	for i := range rows {
		t.Run(rows[i].Name, func(t *testing.T) { body(t, &rows[i]) })
	}
}

// vecCase is an operation on float slices. out holds random numbers before the
// call, so operands that are read and written stand there.
type vecCase struct {
	name    string
	out, in int
	run     func(k *Table, out, in [][]float32)
}

func unary(name string, f func(k *Table) func(dst, a []float32)) vecCase {
	return vecCase{name, 1, 1, func(k *Table, out, in [][]float32) { f(k)(out[0], in[0]) }}
}

func binary(name string, f func(k *Table) func(dst, a, b []float32)) vecCase {
	return vecCase{name, 1, 2, func(k *Table, out, in [][]float32) { f(k)(out[0], in[0], in[1]) }}
}

var vecCases = []vecCase{
	binary("Add", func(k *Table) func(d, a, b []float32) { return k.Add }),
	binary("Sub", func(k *Table) func(d, a, b []float32) { return k.Sub }),
	binary("Mul", func(k *Table) func(d, a, b []float32) { return k.Mul }),
	binary("Div", func(k *Table) func(d, a, b []float32) { return k.Div }),
	binary("Max", func(k *Table) func(d, a, b []float32) { return k.Max }),
	binary("Min", func(k *Table) func(d, a, b []float32) { return k.Min }),
	binary("AccMul", func(k *Table) func(d, a, b []float32) { return k.AccMul }),
	binary("ReluGrad", func(k *Table) func(d, a, b []float32) { return k.ReluGrad }),
	binary("Relu6Grad", func(k *Table) func(d, a, b []float32) { return k.Relu6Grad }),
	unary("Acc", func(k *Table) func(d, a []float32) { return k.Acc }),
	unary("Relu", func(k *Table) func(d, a []float32) { return k.Relu }),
	unary("Relu6", func(k *Table) func(d, a []float32) { return k.Relu6 }),
	unary("Sqrt", func(k *Table) func(d, a []float32) { return k.Sqrt }),
	unary("Exp", func(k *Table) func(d, a []float32) { return k.Exp }),
	unary("Log", func(k *Table) func(d, a []float32) { return k.Log }),
	unary("Tanh", func(k *Table) func(d, a []float32) { return k.Tanh }),
	unary("Sigmoid", func(k *Table) func(d, a []float32) { return k.Sigmoid }),
	unary("Erf", func(k *Table) func(d, a []float32) { return k.Erf }),
	{"MulAdd", 1, 3, func(k *Table, o, in [][]float32) { k.MulAdd(o[0], in[0], in[1], in[2]) }},
	{"FakeQuant", 1, 2, func(k *Table, o, in [][]float32) { k.FakeQuant(o[0], in[0], in[1], -2, 1) }},
	{"FakeQuantUnsigned", 1, 2, func(k *Table, o, in [][]float32) { k.FakeQuant(o[0], in[0], in[1], 0, 255) }},
	{"FakeQuantGrad", 2, 3, func(k *Table, o, in [][]float32) {
		k.FakeQuantGrad(o[0], o[1], in[0], in[1], in[2], -8, 7)
	}},
	{"FakeQuantGradInPlace", 2, 2, func(k *Table, o, in [][]float32) {
		k.FakeQuantGrad(o[0], o[1], in[0], in[1], o[0], 0, 3)
	}},
}

var vecSpecials = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3, 6, 7, -8,
	1e-45, -1e-45, 1e-39, -1e-39, 0x1p-126, -0x1p-126, 1e-20, math.MaxFloat32, -math.MaxFloat32,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	88.72, 88.73, 89, -87.33, -103.9, -104, -110, 0.99999994, 4, -4, 9.1, -9.1, 20,
}

// guardedVec is a slice of n floats at a float offset inside a larger array whose
// other words hold a pattern.
type guardedVec struct{ all, v []float32 }

const vecGuardBits = 0xdeadbeef

func newGuardedVec(n, off int, rng *rand.Rand) guardedVec {
	g := guardedVec{all: make([]float32, n+off+40)}
	for i := range g.all {
		g.all[i] = math.Float32frombits(vecGuardBits)
	}
	g.v = g.all[16+off : 16+off+n : 16+off+n]
	for i := range g.v {
		switch rng.IntN(4) {
		case 0:
			g.v[i] = vecSpecials[rng.IntN(len(vecSpecials))]
		case 1:
			g.v[i] = math.Float32frombits(rng.Uint32())
		default:
			g.v[i] = float32(rng.NormFloat64()) * 4
		}
	}
	return g
}

func (g guardedVec) check(t *testing.T, off int) {
	t.Helper()
	for i, x := range g.all {
		if (i < 16+off || i >= 16+off+len(g.v)) && math.Float32bits(x) != vecGuardBits {
			t.Fatalf("word %d outside [%d, %d) was written", i, 16+off, 16+off+len(g.v))
		}
	}
}

func sameVecFloat(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func TestEveryEntryIsSet(t *testing.T) {
	eachVecRow(t, func(t *testing.T, row *Table) {
		v := reflect.ValueOf(row.VecOps)
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Func && f.IsNil() {
				t.Errorf("%s is nil", v.Type().Field(i).Name)
			}
		}
	})
}

func TestVecRowsAgreeBitForBit(t *testing.T) {
	base := Rows()[0]
	eachVecRow(t, func(t *testing.T, row *Table) {
		for _, c := range vecCases {
			rng := rand.New(rand.NewPCG(1, 2))
			for n := 0; n <= 300; n++ {
				off := n % 4
				checkCase(t, &c, &base, row, n, off, rng)
			}
		}
	})
}

func checkCase(t *testing.T, c *vecCase, base, row *Table, n, off int, rng *rand.Rand) {
	t.Helper()
	var in, want, got [][]float32
	var guards []guardedVec
	for range c.in {
		in = append(in, newGuardedVec(n, (off+1)%4, rng).v)
	}
	for range c.out {
		g := newGuardedVec(n, off, rng)
		guards = append(guards, g)
		got = append(got, g.v)
		want = append(want, append([]float32(nil), g.v...))
	}
	inPlace := append([]float32(nil), in[0]...)
	c.run(base, want, in)
	c.run(row, got, in)
	for j := range want {
		guards[j].check(t, off)
		for i := range want[j] {
			if !sameVecFloat(want[j][i], got[j][i]) {
				t.Fatalf("%s n=%d off=%d out %d [%d]: got %g (%#x), generic %g (%#x); inputs %v",
					c.name, n, off, j, i, got[j][i], math.Float32bits(got[j][i]),
					want[j][i], math.Float32bits(want[j][i]), column(in, i))
			}
		}
	}
	if c.out == 1 && c.name[:3] != "Acc" { // dst may be the first operand
		c.run(row, [][]float32{inPlace}, append([][]float32{inPlace}, in[1:]...))
		for i := range inPlace {
			if !sameVecFloat(inPlace[i], want[0][i]) {
				t.Fatalf("%s n=%d in place [%d]: got %g, want %g", c.name, n, i, inPlace[i], want[0][i])
			}
		}
	}
}

func column(in [][]float32, i int) (c []float32) {
	for _, s := range in {
		c = append(c, s[i])
	}
	return c
}

func TestReductionsAgreeBitForBit(t *testing.T) {
	base := Rows()[0]
	eachVecRow(t, func(t *testing.T, row *Table) {
		rng := rand.New(rand.NewPCG(3, 4))
		for n := 0; n <= 300; n++ {
			a := newGuardedVec(n, n%4, rng).v
			if got, want := row.MaxAbs(a), base.MaxAbs(a); !sameVecFloat(got, want) {
				t.Fatalf("MaxAbs n=%d: got %g, want %g", n, got, want)
			}
			for i := range a {
				a[i] = float32(rng.NormFloat64())
			}
			if got, want := row.Sum(a), base.Sum(a); !sameVecFloat(got, want) {
				t.Fatalf("Sum n=%d: got %g, want %g", n, got, want)
			}
			exact := 0.0
			for _, x := range a {
				exact += float64(x)
			}
			if got := float64(row.Sum(a)); math.Abs(got-exact) > 1e-5*float64(n+1) {
				t.Fatalf("Sum n=%d: got %g, float64 %g", n, got, exact)
			}
			m := float32(0)
			for _, x := range a {
				m = max(m, float32(math.Abs(float64(x))))
			}
			if got := row.MaxAbs(a); got != m {
				t.Fatalf("MaxAbs n=%d: got %g, want %g", n, got, m)
			}
		}
		if got := row.MaxAbs([]float32{1, float32(math.NaN()), 2}); got == got {
			t.Errorf("MaxAbs with a NaN: got %g", got)
		}
	})
}

// maxUlp bounds the distance of a transcendental result from the float64
// function rounded to float32, in units of the last place of the latter: 4 by
// contract, 2 measured.
const maxUlp = 2

// ulpIndex maps floats to integers so that neighbours differ by one.
func ulpIndex(x float32) int64 {
	b := int64(math.Float32bits(x))
	if b >= 1<<31 {
		return 1<<31 - b
	}
	return b
}

func TestTranscendentalsWithinUlps(t *testing.T) {
	fns := []struct {
		name string
		ref  func(float64) float64
		get  func(k *Table) func(dst, a []float32)
	}{
		{"Exp", math.Exp, func(k *Table) func(d, a []float32) { return k.Exp }},
		{"Log", math.Log, func(k *Table) func(d, a []float32) { return k.Log }},
		{"Tanh", math.Tanh, func(k *Table) func(d, a []float32) { return k.Tanh }},
		{"Sigmoid", func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
			func(k *Table) func(d, a []float32) { return k.Sigmoid }},
		{"Erf", math.Erf, func(k *Table) func(d, a []float32) { return k.Erf }},
	}
	in := append([]float32(nil), vecSpecials...)
	for b := uint64(0); b < 1<<32; b += 4093 { // every 4093rd bit pattern
		in = append(in, math.Float32frombits(uint32(b)))
	}
	for i := range 400_000 { // and densely where the functions bend
		in = append(in, float32(i-200_000)/4000*0.73)
	}
	out := make([]float32, len(in))
	eachVecRow(t, func(t *testing.T, row *Table) {
		for _, f := range fns {
			f.get(row)(out, in)
			worst, at := int64(0), float32(0)
			for i, x := range in {
				want := float32(f.ref(float64(x)))
				if want != want || out[i] != out[i] {
					if (want != want) != (out[i] != out[i]) {
						t.Fatalf("%s(%g) = %g, want %g", f.name, x, out[i], want)
					}
					continue
				}
				if d := ulpIndex(out[i]) - ulpIndex(want); max(d, -d) > worst {
					worst, at = max(d, -d), x
				}
			}
			t.Logf("%s: at most %d ulp, at %g", f.name, worst, at)
			if worst > maxUlp {
				t.Errorf("%s: %d ulp at %g, want at most %d", f.name, worst, at, maxUlp)
			}
		}
	})
}

func TestVecAllocatesNothing(t *testing.T) {
	out, in := make([][]float32, 3), make([][]float32, 3)
	for i := range out {
		out[i], in[i] = make([]float32, 100), make([]float32, 100)
	}
	u, s := make([]uint8, 100), make([]int8, 100)
	eachVecRow(t, func(t *testing.T, row *Table) {
		for _, c := range vecCases {
			if n := testing.AllocsPerRun(5, func() { c.run(row, out[:c.out], in[:c.in]) }); n != 0 {
				t.Errorf("%s: %v allocations", c.name, n)
			}
		}
		if n := testing.AllocsPerRun(5, func() {
			out[0][0] = row.Sum(in[0]) + row.MaxAbs(in[1])
			row.QuantU8(u, in[0], in[1], 0, 255, 0)
			row.QuantS8(s, in[0], in[1], -128, 127)
			row.DequantU8(out[0], u, in[0], 3)
			row.DequantS8(out[0], s, in[0])
		}); n != 0 {
			t.Errorf("reductions and codes: %v allocations", n)
		}
	})
}

func TestMeasurePeaksArePositive(t *testing.T) {
	eachVecRow(t, func(t *testing.T, row *Table) {
		restore, err := Use(row.Name)
		if err != nil {
			t.Fatal(err)
		}
		defer restore()
		p := MeasurePeaks(0)
		if p.FP32GFLOPS <= 0 || p.U8S8GOPS <= 0 || p.ReadGBs <= 0 {
			t.Errorf("a peak is not positive: %+v", p)
		}
		t.Logf("%.1f GFLOP/s, %.1f GOP/s, %.1f GB/s", p.FP32GFLOPS, p.U8S8GOPS, p.ReadGBs)
	})
}
